"""Published checkpoints: names both ways, every entry in place, one line for what is wrong."""

import argparse
import math
import pickle
import re
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dynapoint.errors import ModelError, OutputError
from dynapoint.models import tensor_files
from dynapoint.models.cards import CARDS
from dynapoint.models.catalog import load_model
from dynapoint.models.vggt import weights as vggt_weights
from dynapoint.models.vggt.config import vdpm, vdpm_miniature, vggt
from dynapoint.models.vggt.key_maps import (
    known_but_not_built,
    ours_from_published,
    published_from_ours,
)
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import load_published, read_published, save_published
from dynapoint.whole_file import sha256_of
from folders import DATA

MANIFESTS = DATA / "published_manifests.txt"
CONTAINERS = ["bare.pt", "bare.safetensors", "wrapped.pt"]


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published checkpoint, its track head left out."""
    entries = {}
    section = MANIFESTS.read_text().split(f"[{name}]\n")[1].split("[")[0]
    for line in section.splitlines():
        pattern, _, sides = line.partition(": ")
        shape = tuple(int(side) for side in sides.split())
        counted = re.search(r"\{(\d+)-(\d+)\}", pattern)
        if counted is None:
            entries[pattern] = shape
        else:
            for index in range(int(counted[1]), int(counted[2]) + 1):
                entries[pattern.replace(counted[0], str(index))] = shape
    return entries


def random_network(seed: int = 0) -> PublishedNetwork:
    network = PublishedNetwork(vdpm_miniature())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> PublishedNetwork:
    return random_network()


@pytest.fixture(scope="module")
def published(network) -> dict[str, torch.Tensor]:
    """The miniature's tensors as the authors would have saved them."""
    return {
        published_from_ours(name): value.clone() for name, value in network.state_dict().items()
    }


def write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"model": tensors, "epoch": 3} if "wrapped" in path.name else tensors, path)
    return path


def assert_same_state(found: PublishedNetwork, wanted: PublishedNetwork) -> None:
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("config", [vdpm(), vggt()], ids=lambda config: config.name)
def test_networks_have_the_published_entries(config):
    wanted = manifest(config.name)
    with torch.device("meta"):
        network = PublishedNetwork(config)
    found = {
        published_from_ours(name): tuple(value.shape)
        for name, value in network.state_dict().items()
    }
    assert sorted(wanted.keys() - found.keys()) == []
    assert sorted(found.keys() - wanted.keys()) == []
    assert {name: found[name] for name in wanted if found[name] != wanted[name]} == {}
    elements = sum(math.prod(shape) for shape in wanted.values())
    assert elements == CARDS[config.name].parameters
    assert sum(parameter.numel() for parameter in network.parameters()) == elements


def test_manifests_are_the_published_ones():
    # Counts and sums that the official networks were found to have.
    sums = {name: sum(map(math.prod, manifest(name).values())) for name in ("vdpm", "vggt")}
    assert (len(manifest("vdpm")), sums["vdpm"]) == (1478, 1_661_508_918)
    assert (len(manifest("vggt")), sums["vggt"]) == (1797 - 394, 1_256_537_516 - 65_941_396)


@pytest.mark.parametrize("name", ["vdpm", "vggt"])
def test_names_map_both_ways(name):
    names = list(manifest(name))
    ours = [ours_from_published(key) for key in names]
    assert [published_from_ours(key) for key in ours] == names
    assert len(set(ours)) == len(names)


def test_names_that_differ():
    pairs = {
        "patch_embed.patch_embed.proj.bias": "aggregator.patch_embed.patch_embed.proj.bias",
        "patch_embed.blocks.3.ls1.gamma": "aggregator.patch_embed.blocks.3.ls1.gamma",
        "decoder.frame_blocks.0.norm2.bias": "decoder.frame_blocks.0.0.norm2.bias",
        "decoder.global_blocks.12.attn.qkv.weight": "decoder.global_blocks.0.12.attn.qkv.weight",
        "aggregator.frame_blocks.2.ls2.gamma": "aggregator.frame_blocks.2.ls2.gamma",
        "aggregator.camera_token": "aggregator.camera_token",
        "camera_head.trunk.0.norm1.weight": "camera_head.trunk.0.norm1.weight",
    }
    for ours, theirs in pairs.items():
        assert published_from_ours(ours) == theirs
        assert ours_from_published(theirs) == ours


@pytest.mark.parametrize("file", CONTAINERS)
def test_published_containers_are_read(network, published, tmp_path, file):
    loaded = load_published(vdpm_miniature(), write(tmp_path / file, published))
    assert_same_state(loaded, network)
    assert not loaded.training
    assert not any(value.is_meta for value in [*loaded.parameters(), *loaded.buffers()])
    images = torch.rand(1, 2, 3, 28, 42)
    with torch.inference_mode():
        found, wanted = loaded.encode(images), network.encode(images)
    assert torch.equal(found.own_time.points, wanted.own_time.points)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_are_given_in_the_type_that_was_asked_for(network, published, tmp_path, dtype):
    loaded = load_published(
        vdpm_miniature(), write(tmp_path / "bare.pt", published), dtype=dtype
    ).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded[name], value.to(dtype)), name


def test_half_precision_files_are_read(network, published, tmp_path):
    halves = {name: value.bfloat16() for name, value in published.items()}
    loaded = load_published(vdpm_miniature(), write(tmp_path / "half.safetensors", halves))
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.bfloat16().float()), name


@pytest.mark.parametrize("first", [".pt", ".safetensors"])
@pytest.mark.parametrize("second", [".pt", ".safetensors"])
def test_saved_weights_are_published_ones_bit_for_bit(network, published, tmp_path, first, second):
    save_published(network, tmp_path / f"first{first}")
    # What is saved the second time lies in the first file.
    loaded = load_published(vdpm_miniature(), tmp_path / f"first{first}")
    path = tmp_path / f"second{second}"
    save_published(loaded, path)
    again = load_file(path) if second == ".safetensors" else torch.load(path, weights_only=True)
    assert again.keys() == published.keys()
    for name, value in published.items():
        assert torch.equal(again[name].view(torch.int32), value.view(torch.int32)), name
    bytes_of_tensors = 4 * sum(value.numel() for value in published.values())
    assert path.stat().st_size < bytes_of_tensors + 400 * len(published)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_network_may_be_saved_over_its_own_file(network, published, tmp_path):
    for suffix in (".pt", ".safetensors"):
        path = write(tmp_path / f"bare{suffix}", published)
        loaded = load_published(vdpm_miniature(), path)
        save_published(loaded, path)
        assert_same_state(loaded, network)
        assert_same_state(load_published(vdpm_miniature(), path), network)


@pytest.mark.parametrize("file", CONTAINERS[:2])
def test_training_leaves_the_file_alone(network, published, tmp_path, file):
    path = write(tmp_path / file, published)
    before = sha256_of(path)
    loaded = load_published(vdpm_miniature(), path)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, value in loaded.named_parameters() if value.requires_grad}
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
    assert sha256_of(path) == before


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found
    return 1024 * int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("file", CONTAINERS)
def test_tensors_stay_in_their_file(published, tmp_path, file):
    # The largest matrix is made large, and wrong, so that only reading it is measured.
    name = "decoder.frame_blocks.0.0.mlp.fc1.weight"
    big = torch.ones(8000, 2000)
    size = 4 * big.numel()
    path = write(tmp_path / file, published | {name: big})
    del big
    shapes = {ours_from_published(key): value.shape for key, value in published.items()}
    shapes[ours_from_published(name)] = torch.Size([8000, 2000])
    before = anonymous_bytes()
    state = read_published(vdpm_miniature(), path, shapes=shapes)
    assert float(sum(value.sum() for value in state.tensors.values())) > 0
    assert anonymous_bytes() - before < 0.2 * size


def test_parts_that_are_not_built_are_known(network, published, tmp_path):
    extra = {"track_head.updateformer.flow_head.bias": torch.zeros(3)} | {
        f"depth_head.norm.{leaf}": torch.zeros(8) for leaf in ("weight", "bias")
    }
    path = write(tmp_path / "bare.pt", published | extra)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    state = read_published(vdpm_miniature(), path, shapes=shapes)
    assert state.not_built == {"track_head": 1, "depth_head": 2}
    assert_same_state(load_published(vdpm_miniature(), path), network)
    # VGGT's depth head is built, so that its tensors are never left out.
    assert known_but_not_built(vggt()) == ("track_head.",)


QKV = "aggregator.frame_blocks.0.attn.qkv.weight"


@pytest.mark.parametrize("file", CONTAINERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != QKV}, rf"1 missing \({QKV}\); use"),
        (
            lambda t: {k: v for k, v in t.items() if "decoder.frame_blocks" not in k},
            r"17 missing \(decoder\.frame_blocks\.0\.0\.\S+, \S+, \S+, \.\.\.\); use",
        ),
        (lambda t: t | {"more.bias": torch.zeros(1)}, r"1 too many \(more\.bias\); use"),
        (
            lambda t: t | {QKV: torch.zeros(3, 64)},
            rf"1 of another shape \({QKV} \[3, 64\] instead of \[192, 64\]\); use",
        ),
        (
            lambda t: {k: v for k, v in t.items() if k != QKV} | {"patch_embed.x": torch.ones(2)},
            rf"1 missing \({QKV}\); 1 too many \(patch_embed\.x\); use",
        ),
        # A state dict of ours is not one of theirs.
        (lambda t: {ours_from_published(k): v for k, v in t.items()}, "missing.*too many"),
        (lambda t: t | {QKV: torch.zeros(192, 64, dtype=torch.int32)}, rf"1 entries .*{QKV}"),
    ],
)
def test_tensors_that_do_not_fit(published, tmp_path, file, change, message):
    path = write(tmp_path / file, change(published))
    with pytest.raises(ModelError, match=message) as caught:
        load_published(vdpm_miniature(), path)
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
        with pytest.raises(ModelError, match="can be read safely") as caught:
            load_published(vdpm_miniature(), tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not marker.exists()
    # The same file does run code where it is trusted, so that the test can fail.
    torch.load(tmp_path / "hostile.pt", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds no state dict but a list"),
        ({}, "holds no state dict but a dict"),
        (torch.zeros(3), "holds no state dict but a Tensor"),
        ({"model": {}}, "holds no state dict"),
        ({"epoch": 3, "loss": 0.5}, "2 entries that are no dense floating-point tensors"),
        ({"x": torch.eye(3).to_sparse()}, "1 entries that are no dense"),
        ({"x": torch.zeros(3, device="meta")}, "1 entries that are no dense"),
        ({3: torch.zeros(3)}, r"1 entries that are no dense .*'3'"),
        ({"model": {"x": torch.zeros(2)}, "args": timedelta(1)}, "objects other than"),
        ({"model": {"x": torch.zeros(2)}, "args": argparse.Namespace(lr=1)}, "does not fit"),
    ],
)
def test_odd_pickles(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=message) as caught:
        load_published(vdpm_miniature(), tmp_path / "odd.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "random", "cut", "text"])
def test_damaged_files(published, tmp_path, suffix, damage):
    path = write(tmp_path / f"bare{suffix}", published)
    good = path.read_bytes()
    bad = {
        "empty": b"",
        "random": bytes(range(256)) * 40,
        "cut": good[: len(good) // 2],
        "text": b"<html>404</html>",
    }
    path.write_bytes(bad[damage])
    with pytest.raises(ModelError, match="bare") as caught:
        load_published(vdpm_miniature(), path)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(ModelError, match="no weights file at"):
            load_published(vdpm_miniature(), path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("No space left\n.")])
def test_failed_write_leaves_the_old_file(network, tmp_path, monkeypatch, suffix, error):
    path = tmp_path / f"old{suffix}"
    path.write_bytes(b"old")

    def broken(_tensors, partial, **_options):
        Path(partial).write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", broken)
    monkeypatch.setattr(tensor_files, "save_file", broken)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left\)"):
        save_published(network, path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_other_suffixes_are_not_written(network, tmp_path):
    with pytest.raises(OutputError, match=r"neither a \.pt nor a \.safetensors"):
        save_published(network, tmp_path / "weights.bin")


def test_models_by_name_read_the_format_of_their_card(network, published, tmp_path, monkeypatch):
    path = write(tmp_path / "bare.pt", published)
    monkeypatch.setattr(vggt_weights, "vdpm", vdpm_miniature)
    loaded = load_model("vdpm", weights=path)
    assert isinstance(loaded, PublishedNetwork)
    assert_same_state(loaded, network)
    assert loaded.info.weights_sha256 == sha256_of(path)
    with pytest.raises(ModelError, match="does not fit the network 'vggt'"):
        load_model("vggt", weights=path)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        load_model("nano", weights=path)
