"""Checkpoints of Depth Anything 3: names both ways, strictly read, one line for what is wrong."""

import math
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dynapoint.errors import ModelError, OutputError
from dynapoint.models.cards import CARDS, check_reconstructs
from dynapoint.models.catalog import load_model
from dynapoint.models.da3 import weights as da3_weights
from dynapoint.models.da3.config import Da3Config, da3_miniature
from dynapoint.models.da3.network import Da3Metric, Da3Network, Da3Parts
from dynapoint.models.da3.weights import (
    da3_from_ours,
    is_unused,
    load_da3,
    load_da3_metric,
    save_da3,
)
from dynapoint.models.weight_files import describe
from dynapoint.whole_file import sha256_of
from golden_da3 import PUBLISHED, build_da3_network, da3_skeleton, published_tensors

NORM = "model.head.scratch.output_conv2_aux.0.2.weight"
QKV = "model.backbone.pretrained.blocks.0.attn.qkv.weight"
CONTAINERS = ["bare.pt", "bare.safetensors", "wrapped.pt"]
METRIC = replace(da3_miniature(), name="metric", across_from=None)


@pytest.fixture(scope="module")
def network() -> Da3Network:
    return build_da3_network(da3_miniature(), dtype=torch.float32)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return published_tensors(da3_miniature())


def write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    else:
        torch.save({"model": tensors, "epoch": 3} if "wrapped" in path.name else tensors, path)
    return path


def assert_same_state(found: Da3Parts, wanted: Da3Parts) -> None:
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("name", ["da3-small", "da3-base", "da3metric-large"])
def test_cards_say_what_is_built_and_stored(name):
    config = PUBLISHED[name]
    card = CARDS[config.name]
    network, entries = da3_skeleton(config, None)
    again = r".*output_conv2_aux\.[123]\.2\."
    stored = sum(math.prod(shape) for key, shape in entries.items() if not re.match(again, key))
    assert sum(each.numel() for each in network.parameters()) == card.parameters
    # Counts of the official classes, each tensor once.
    official = {"da3-small": 34_299_463, "da3-base": 135_366_599, "da3metric-large": 334_171_394}
    assert stored == official[name] and card.bytes == 4 * stored
    assert card.free and card.licence == "Apache-2.0"


def test_what_the_command_shows_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAPOINT_HOME", str(tmp_path))
    said = describe(CARDS["da3-small"])
    assert "da3-small: 33,993,874 parameters, 137.2 MB" in said and "Apache-2.0" in said
    assert "dynapoint models get da3-small`" in said and "accept" not in said
    assert "depth-anything/DA3-SMALL" in said


def test_names_are_told_apart():
    for config in (da3_miniature(), METRIC):
        network, entries = da3_skeleton(config, None)
        theirs = [da3_from_ours(name) for name in network.state_dict()]
        assert len(set(theirs)) == len(theirs)
        assert {name for name in entries if not is_unused(name)} == set(theirs)
    with pytest.raises(KeyError):
        da3_from_ours("other.weight")


@pytest.mark.parametrize("file", CONTAINERS)
def test_published_containers_are_read(network, published, tmp_path, file):
    loaded = load_da3(da3_miniature(), write(tmp_path / file, published))
    assert_same_state(loaded, network)
    assert not loaded.training
    assert not any(value.is_meta for value in [*loaded.parameters(), *loaded.buffers()])
    images = torch.rand(1, 3, 3, 42, 56)
    with torch.inference_mode():
        found, wanted = loaded.encode(images), network.encode(images)
    assert torch.equal(found.own_time.points, wanted.own_time.points)


def test_metric_networks_are_read(tmp_path):
    tensors = published_tensors(METRIC)
    loaded = load_da3_metric(METRIC, write(tmp_path / "metric.safetensors", tensors))
    assert isinstance(loaded, Da3Metric)
    assert_same_state(loaded, build_da3_network(METRIC, dtype=torch.float32))
    with pytest.raises(ModelError, match=r"does not fit .* missing .* too many"):
        load_da3(da3_miniature(), tmp_path / "metric.safetensors")


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_shared_norm_may_have_any_of_its_names(network, published, tmp_path, level):
    renamed = {
        re.sub(r"(output_conv2_aux\.)0(\.2\.)", rf"\g<1>{level}\2", name): value
        for name, value in published.items()
    }
    assert NORM not in renamed
    loaded = load_da3(da3_miniature(), write(tmp_path / "a.safetensors", renamed))
    assert_same_state(loaded, network)


def test_a_state_dict_that_has_all_four_names_is_read(network, published, tmp_path):
    four = {
        NORM.replace("aux.0.2.weight", f"aux.{k}.2.{leaf}"): published[NORM.replace("weight", leaf)]
        for k in range(4)
        for leaf in ("weight", "bias")
    }
    assert_same_state(
        load_da3(da3_miniature(), write(tmp_path / "a.pt", published | four)), network
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_are_given_in_the_type_that_was_asked_for(network, published, tmp_path, dtype):
    path = write(tmp_path / "a.safetensors", published)
    loaded = load_da3(da3_miniature(), path, dtype=dtype).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded[name], value.to(dtype)), name


@pytest.mark.parametrize("first", [".pt", ".safetensors"])
@pytest.mark.parametrize("second", [".pt", ".safetensors"])
def test_saved_weights_are_published_ones_bit_for_bit(network, published, tmp_path, first, second):
    save_da3(network, tmp_path / f"first{first}")
    loaded = load_da3(da3_miniature(), tmp_path / f"first{first}")
    path = tmp_path / f"second{second}"
    save_da3(loaded, path)
    again = load_file(path) if second == ".safetensors" else torch.load(path, weights_only=True)
    assert again.keys() == {name for name in published if not is_unused(name)}
    for name, value in again.items():
        assert torch.equal(value.view(torch.int32), published[name].view(torch.int32)), name
    assert_same_state(load_da3(da3_miniature(), path), network)


def test_a_network_may_be_saved_over_its_own_file(network, published, tmp_path):
    path = write(tmp_path / "bare.safetensors", published)
    loaded = load_da3(da3_miniature(), path)
    save_da3(loaded, path)
    assert_same_state(loaded, network)
    assert_same_state(load_da3(da3_miniature(), path), network)


def test_other_suffixes_are_not_written(network, tmp_path):
    with pytest.raises(OutputError, match=r"neither a \.pt nor a \.safetensors"):
        save_da3(network, tmp_path / "weights.bin")


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_tensors_stay_in_their_file(tmp_path):
    # With what the file takes of the page cache this is the bound of 1.2 times its size.
    wide: Da3Config = replace(da3_miniature(), width=512, heads=8, depth=4, layers=(0, 1, 2, 3))
    path = write(tmp_path / "wide.safetensors", published_tensors(wide))
    size = path.stat().st_size
    assert size > 60e6
    before = anonymous_bytes()
    loaded = load_da3(wide, path)
    with torch.no_grad():
        assert float(sum(value.sum().abs() for value in loaded.parameters())) > 0
    assert anonymous_bytes() - before < 0.2 * size


@pytest.mark.parametrize("file", CONTAINERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != QKV}, rf"1 missing \({QKV}\); use"),
        (lambda t: {k: v for k, v in t.items() if k != NORM}, rf"1 missing \({NORM}\); use"),
        (
            lambda t: {k: v for k, v in t.items() if "cam_enc" not in k},
            r"64 missing \(model\.cam_enc\.\S+, \S+, \S+, \.\.\.\); use",
        ),
        (lambda t: t | {"model.more.bias": torch.zeros(1)}, r"1 too many \(model\.more\.bias\)"),
        (
            lambda t: t | {QKV: torch.zeros(3, 64)},
            rf"1 of another shape \({QKV} \[3, 64\] instead of \[192, 64\]\); use",
        ),
        # Names without the published class's own.
        (lambda t: {k.removeprefix("model."): v for k, v in t.items()}, "missing.*too many"),
        (lambda t: t | {QKV: torch.zeros(192, 64, dtype=torch.int32)}, rf"1 entries .*{QKV}"),
    ],
)
def test_tensors_that_do_not_fit(published, tmp_path, file, change, message):
    path = write(tmp_path / file, change(published))
    with pytest.raises(ModelError, match=message) as caught:
        load_da3(da3_miniature(), path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class _Hostile:
    """What runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_pickles_that_run_code_are_refused(published, tmp_path):
    marker = tmp_path / "marker"
    torch.save(published | {"x": _Hostile(marker)}, tmp_path / "hostile.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(_Hostile(marker)))
    for name in ("hostile.pt", "bare.pt"):
        with pytest.raises(ModelError, match="can be read safely"):
            load_da3(da3_miniature(), tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_files(published, tmp_path, damage):
    path = write(tmp_path / "bare.safetensors", published)
    good = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "cut": good[: len(good) // 2], "text": b"<html>404</html>"}[damage]
    )
    with pytest.raises(ModelError, match="bare") as caught:
        load_da3(da3_miniature(), path)
    assert "\n" not in str(caught.value)


def test_models_by_name_read_the_format_of_their_card(network, published, tmp_path, monkeypatch):
    path = write(tmp_path / "bare.safetensors", published)
    monkeypatch.setattr(da3_weights, "da3_small", da3_miniature)
    loaded = load_model("da3-small", weights=path)
    assert isinstance(loaded, Da3Network)
    assert_same_state(loaded, network)
    assert loaded.info.weights_sha256 == sha256_of(path)
    for name in ("da3-base", "da3-metric"):
        with pytest.raises(ModelError, match=f"does not fit the network '{name}'"):
            load_model(name, weights=path)
    with pytest.raises(ModelError, match="has no time decoder"):
        load_model("da3-small", weights=path, decoder_weights="int8")


def test_the_metric_network_is_loaded_but_reconstructs_nothing(tmp_path, monkeypatch):
    path = write(tmp_path / "metric.safetensors", published_tensors(METRIC))
    monkeypatch.setattr(da3_weights, "da3_metric", lambda: METRIC)
    assert isinstance(load_model("da3-metric", weights=path), Da3Metric)
    with pytest.raises(
        ModelError, match=r"depth in metres of single pictures.*use nano-2,"
    ) as said:
        check_reconstructs("da3-metric")
    assert "da3-small" in str(said.value) and "vggt" not in str(said.value)
