"""Weight files: what is written is read, anything else gives one clear error."""

import json

import pytest
import torch
from conftest import images
from safetensors import safe_open
from safetensors.torch import save_file

from dynapoint.errors import ModelError, OutputError
from dynapoint.models.catalog import load_model
from dynapoint.models.nano.config import NetworkConfig, tiny
from dynapoint.models.nano.weights import FORMAT, load_network, save_network
from dynapoint.whole_file import sha256_of


@pytest.fixture
def saved(shaken, tmp_path):
    network = shaken()
    path = tmp_path / "tiny.safetensors"
    save_network(network, path, record={"recipe": "test", "samples": "3"}, dtype=torch.float32)
    return network, path


def test_weights_survive_the_file(saved):
    network, path = saved
    loaded = load_network(path)
    assert loaded.config == network.config
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    video = images(2)
    assert torch.equal(loaded.encode(video).own_time.points, network.encode(video).own_time.points)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_file_tells_how_the_weights_came_about(saved):
    with safe_open(saved[1], framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == FORMAT
    assert (metadata["recipe"], metadata["samples"]) == ("test", "3")
    assert NetworkConfig.from_json(metadata["network"]) == tiny()


def test_half_precision_halves_the_file_and_hardly_changes_the_weights(saved, tmp_path):
    network, path = saved
    half = tmp_path / "half.safetensors"
    save_network(network, half, record={})
    assert half.stat().st_size < 0.6 * path.stat().st_size
    for name, value in load_network(half).state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, network.state_dict()[name], rtol=2**-8, atol=1e-6)


def test_own_weights_are_loaded_by_path(saved):
    assert load_model("nano", weights=saved[1]).config.name == "tiny"


def test_hash(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # The test vector of FIPS 180-4.
    assert sha256_of(path).startswith("ba7816bf8f01cfea414140de5dae2223")


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="no weights file at"):
        load_network(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="no weights file at"):
        load_network(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "random", "cut", "header"])
def test_damaged_file(saved, damage):
    path = saved[1]
    good = path.read_bytes()
    bad = {
        "empty": b"",
        "random": bytes(range(256)) * 40,
        "cut": good[: len(good) // 2],
        "header": b"\xff" * 16 + good[16:],
    }
    path.write_bytes(bad[damage])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        load_network(path)


def rewrite(path, *, tensors=None, metadata=None):
    with safe_open(path, framework="pt") as file:
        old_metadata = file.metadata()
        old_tensors = {name: file.get_tensor(name) for name in file.keys()}
    save_file(
        old_tensors if tensors is None else tensors(old_tensors),
        path,
        metadata=old_metadata if metadata is None else metadata(old_metadata),
    )


@pytest.mark.parametrize("found", [{}, {"format": "other-1"}])
def test_weights_of_another_format(saved, found):
    rewrite(saved[1], metadata=lambda _: found)
    with pytest.raises(ModelError, match="of format"):
        load_network(saved[1])


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"name": "x"})])
def test_unusable_configuration(saved, text):
    rewrite(
        saved[1],
        metadata=lambda old: {"format": FORMAT} | ({} if text is None else {"network": text}),
    )
    with pytest.raises(ModelError, match=r"tiny\.safetensors describes no network"):
        load_network(saved[1])


def test_configuration_of_sizes_that_no_layer_can_have(saved):
    def without_heads(old):
        config = json.loads(old["network"])
        config["decoder"]["heads"] = 0
        return old | {"network": json.dumps(config)}

    rewrite(saved[1], metadata=without_heads)
    with pytest.raises(ModelError, match=r"tiny\.safetensors describes no network"):
        load_network(saved[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: t[k] for k in t if k != "stem.to_half.0.weight"}, r"1 missing \(stem"),
        (lambda t: t | {"extra": torch.zeros(1)}, r"1 too many \(extra"),
        (lambda t: t | {"matcher.out.bias": torch.zeros(2)}, r"1 of another shape \(matcher"),
    ],
)
def test_tensors_that_do_not_fit(saved, change, message):
    rewrite(saved[1], tensors=change)
    with pytest.raises(ModelError, match=message):
        load_network(saved[1])


def test_failed_write_leaves_the_old_file(saved, monkeypatch):
    network, path = saved
    before = path.read_bytes()

    def broken(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dynapoint.models.tensor_files.save_file", broken)
    with pytest.raises(OutputError, match="No space left"):
        save_network(network, path, record={})
    assert path.read_bytes() == before
