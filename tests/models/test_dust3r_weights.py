"""Checkpoints of pair networks: DUSt3R's and MonST3R's containers, our own files, what is wrong."""

import argparse
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dynapoint.errors import ModelError, OutputError
from dynapoint.models.cards import CARDS
from dynapoint.models.catalog import load_model
from dynapoint.models.dust3r import weights as dust3r_weights
from dynapoint.models.dust3r.config import Dust3rConfig, dpm, dpm_miniature, dust3r
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.dust3r.weights import load_dpm, read_dpm, save_dpm
from dynapoint.models.pairwise import PairwiseVideo
from dynapoint.models.vggt.key_maps import dust3r_from_ours, ours_from_dust3r
from dynapoint.whole_file import sha256_of
from golden_cases import DEFAULT_FOLDER
from golden_dust3r import (
    build_pair_network,
    check_pair_case,
    public_entries,
    read_pair_case,
)
from test_models_dust3r import frames_of, linear_config, random_network


def dust3r_miniature() -> Dust3rConfig:
    own = dpm_miniature()
    return Dust3rConfig(
        name="dust3r-miniature",
        encoder=own.encoder,
        decoder=own.decoder,
        head=own.head,
        heads_per_image=1,
    )


def public_state(network: DpmNetwork) -> dict[str, torch.Tensor]:
    """A state dict as the public code holds it: some tensors twice, some of no use."""
    state = network.state_dict()
    tensors = {}
    for name, shape in public_entries(network).items():
        ours = ours_from_dust3r(name)
        tensors[name] = torch.full(shape, 7.0) if ours is None else state[ours]
    return tensors


def command_line() -> argparse.Namespace:
    """What the public training scripts keep beside the weights."""
    return argparse.Namespace(
        model="AsymmetricCroCo3DStereo(pos_embed='RoPE100', head_type='dpt')",
        lr=5e-05,
        epochs=50,
        pretrained=None,
        amp=1,
        disable_cudnn_benchmark=True,
        freeze=["encoder"],
    )


def write_published(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    torch.save({"args": command_line(), "model": tensors, "epoch": 49}, path)
    return path


@pytest.fixture(scope="module")
def single() -> DpmNetwork:
    """DUSt3R in small, in float32 as files are."""
    return random_network(dust3r_miniature()).float()


@pytest.fixture(scope="module")
def double() -> DpmNetwork:
    """DPM in small, whose four heads all differ."""
    return random_network(dpm_miniature(), seed=1).float()


@pytest.fixture
def published(tmp_path, single) -> Path:
    return write_published(tmp_path / "dust3r.pth", public_state(single))


def assert_same_state(found: DpmNetwork, wanted: DpmNetwork) -> None:
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def maps_of(network: DpmNetwork):
    with torch.inference_mode():
        encoded = network.encode_frames(frames_of(2).float())
        return network.decode_frame_pairs(encoded, firsts=[0, 1], seconds=[1, 0])


def test_a_published_container_holds_what_the_miniature_says(published):
    # The file is of the kind that torch refuses to read as tensors only.
    with pytest.raises(Exception, match=r"Unsupported global.*Namespace"):
        torch.load(published, weights_only=True)
    names = torch.load(published, weights_only=False)["model"]
    assert "mask_token" in names
    assert "downstream_head2.dpt.scratch.layer_rn.3.weight" in names
    assert "downstream_head1.dpt.scratch.refinenet4.resConfUnit1.conv2.bias" in names
    assert not any("_t1" in name or "_t2" in name for name in names)


def test_published_files_are_read(published, single):
    loaded = load_dpm(dust3r_miniature(), published)
    assert_same_state(loaded, single)
    assert not loaded.training
    assert not any(value.is_meta for value in [*loaded.parameters(), *loaded.buffers()])
    assert torch.equal(maps_of(loaded).points, maps_of(single).points)


def test_one_head_for_each_image_becomes_two(published, single):
    loaded = load_dpm(dpm_miniature(), published)
    ours, theirs = maps_of(loaded), maps_of(single)
    # Right after loading DPM is DUSt3R: its maps of an image are equal at both times.
    assert torch.equal(ours.points, theirs.points)
    assert torch.equal(ours.points[:, 0], ours.points[:, 1])
    assert torch.equal(ours.confidence, theirs.confidence)
    # What is trained afterwards is trained apart.
    with torch.no_grad():
        for parameter in loaded.downstream_head1_t2.parameters():
            parameter.mul_(1.1)
    trained = maps_of(loaded)
    assert torch.equal(trained.points[:, 0], ours.points[:, 0])
    assert torch.equal(trained.points[:, 1, 1], ours.points[:, 1, 1])
    assert not torch.equal(trained.points[:, 1, 0], ours.points[:, 1, 0])
    assert sum(p.requires_grad for p in loaded.parameters()) == len(list(loaded.parameters()))


def test_training_leaves_the_file_alone(published):
    before = sha256_of(published)
    loaded = load_dpm(dpm_miniature(), published)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
    assert sha256_of(published) == before


def test_linear_heads_have_names_of_their_own(tmp_path):
    network = random_network(linear_config(1)).float()
    state = public_state(network)
    assert "downstream_head1.proj.weight" in state and "mask_token" in state
    path = write_published(tmp_path / "linear.pth", state)
    assert_same_state(load_dpm(linear_config(1), path), network)
    loaded = load_dpm(linear_config(2), path)
    assert torch.equal(loaded.downstream_head2_t1.proj.weight, network.downstream_head2.proj.weight)


@pytest.mark.parametrize("layout", ["bare", "once", "aliases"])
def test_other_layouts_of_the_same_tensors(tmp_path, single, layout):
    state = public_state(single)
    twice = re.compile(r"scratch\.layer(\d_rn|_rn\.\d)\.")
    if layout == "once":
        # safetensors holds nothing twice: one of the names goes, and the unused may go too.
        state = {k: v for k, v in state.items() if ".layer_rn." not in k and k != "mask_token"}
    elif layout == "aliases":
        state = {k: v for k, v in state.items() if not twice.search(k) or ".layer_rn." in k}
    path = tmp_path / ("x.pt" if layout == "bare" else "x.safetensors")
    if layout == "bare":
        torch.save(state, path)
    else:
        save_file({name: value.clone() for name, value in state.items()}, path)
    assert_same_state(load_dpm(dust3r_miniature(), path), single)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_own_files_come_back_bit_for_bit(tmp_path, double, suffix):
    path = tmp_path / f"dpm{suffix}"
    save_dpm(double, path, record={"recipe": "test"})
    assert_same_state(load_dpm(dpm_miniature(), path), double)
    assert torch.equal(
        load_dpm(dpm_miniature(), path, dtype=torch.float64).enc_norm.weight,
        double.enc_norm.weight.double(),
    )
    # DUSt3R takes no file of four heads.
    with pytest.raises(ModelError, match=r"too many \(downstream_head1_t2\.dpt\."):
        load_dpm(dust3r_miniature(), path)


def test_own_names_are_the_published_ones_and_two_more_heads(double):
    names = {dust3r_from_ours(name) for name in double.state_dict()}
    inner = {
        head: {name.removeprefix(head) for name in names if name.startswith(f"{head}.")}
        for head in (
            "downstream_head1",
            "downstream_head1_t2",
            "downstream_head2",
            "downstream_head2_t1",
        )
    }
    assert len(inner["downstream_head1"]) > 40
    assert len({frozenset(each) for each in inner.values()}) == 1
    assert all(name.startswith(".dpt.") for name in inner["downstream_head1"])


@pytest.mark.parametrize("config", [dust3r(), dpm(), linear_config()], ids=lambda c: c.name)
def test_names_map_both_ways(config):
    with torch.device("meta"):
        names = list(DpmNetwork(config).state_dict())
    theirs = [dust3r_from_ours(name) for name in names]
    assert [ours_from_dust3r(name) for name in theirs] == names
    assert len(set(theirs)) == len(names)


def test_names_that_are_not_ours():
    unused = "downstream_head2.dpt.scratch.refinenet4.resConfUnit1.conv1.weight"
    assert ours_from_dust3r(unused) is None and ours_from_dust3r("mask_token") is None
    # Only the coarsest block does without, and only in its first unit.
    for other in (unused.replace("net4", "net3"), unused.replace("Unit1", "Unit2")):
        assert ours_from_dust3r(other) == other.replace(".dpt.", ".")
    alias = "downstream_head1.dpt.scratch.layer_rn.2.weight"
    assert ours_from_dust3r(alias) == "downstream_head1.scratch.layer3_rn.weight"


def test_sizes_of_the_true_networks():
    with torch.device("meta"):
        full, published = DpmNetwork(dpm()), DpmNetwork(dust3r())
    entries = public_entries(published)
    # The counts of the official network: 1009 entries of which 8 are there twice.
    assert len(entries) == 1009
    once = {k: v for k, v in entries.items() if ".layer_rn." not in k}
    assert sum(torch.Size(shape).numel() for shape in once.values()) == 571_171_208
    count = sum(parameter.numel() for parameter in full.parameters())
    assert count == CARDS["dpm"].parameters
    # Two more heads, none with what is not used of DUSt3R's two; mask_token has 768.
    unused = 571_171_208 - sum(parameter.numel() for parameter in published.parameters())
    assert count == 571_171_208 + 2 * 20_201_668 - unused - (unused - 768)


QKV = "enc_blocks.0.attn.qkv.weight"
CROSS = "dec_blocks2.1.cross_attn.projk.bias"
SHARED = "downstream_head1.dpt.scratch.layer1_rn.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != CROSS}, rf"1 missing \({CROSS}\); use"),
        (lambda t: t | {"head_local.bias": torch.zeros(1)}, r"1 too many \(head_local\.bias\)"),
        (
            lambda t: t | {QKV: torch.zeros(3, 48)},
            rf"1 of another shape \({QKV} \[3, 48\] instead of \[144, 48\]\)",
        ),
        (
            lambda t: {k: v for k, v in t.items() if "downstream_head2" not in k},
            r"missing \(downstream_head2\.dpt\.act_postprocess\.0\.0\.weight, ",
        ),
        (
            lambda t: t | {"downstream_head1_t2.dpt.head.0.bias": torch.zeros(8)},
            r"missing \(downstream_head1_t2\.",
        ),
        (lambda t: t | {SHARED: t[SHARED] + 1}, rf"{SHARED} twice, with different values"),
        (lambda t: t | {SHARED: t[SHARED].double()}, rf"{SHARED} twice"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, single, change, message):
    path = write_published(tmp_path / "odd.pth", change(public_state(single)))
    with pytest.raises(ModelError, match=message) as caught:
        load_dpm(dpm_miniature(), path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class _Hostile:
    """What runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("place", ["beside", "inside the command line", "among the tensors"])
def test_pickles_that_run_code_are_refused(tmp_path, single, place):
    marker, path = tmp_path / "marker", tmp_path / "hostile.pth"
    content = {"args": command_line(), "model": public_state(single)}
    if place == "beside":
        content["extra"] = _Hostile(marker)
    elif place == "inside the command line":
        content["args"].output = _Hostile(marker)
    else:
        content["model"]["mask_token"] = _Hostile(marker)
    torch.save(content, path)
    with pytest.raises(ModelError, match="can be read safely") as caught:
        load_dpm(dust3r_miniature(), path)
    assert "\n" not in str(caught.value) and not marker.exists()
    # The same file does run code where it is trusted, so that the test can fail.
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_namespaces_stay_refused_elsewhere(published):
    load_dpm(dust3r_miniature(), published)
    with pytest.raises(Exception, match=r"Unsupported global.*Namespace"):
        torch.load(published, weights_only=True)


def test_damaged_and_missing_files(tmp_path, published):
    cut = tmp_path / "cut.pth"
    cut.write_bytes(published.read_bytes()[:3000])
    for path, message in ((cut, "can be read safely"), (tmp_path / "none.pth", "no weights file")):
        with pytest.raises(ModelError, match=message):
            read_dpm(dust3r_miniature(), path)


def test_other_suffixes_are_not_written(tmp_path, double):
    with pytest.raises(OutputError, match=r"neither a \.pt nor"):
        save_dpm(double, tmp_path / "dpm.pth")


def test_model_by_name(monkeypatch, published, single):
    with pytest.raises(ModelError, match="no code or weights of DPM are public") as caught:
        load_model("dpm")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(dust3r_weights, "dpm", dpm_miniature)
    loaded = load_model("dpm", weights=published, precision="float32")
    assert isinstance(loaded, PairwiseVideo)
    assert loaded.info.weights_sha256 == sha256_of(published)
    assert loaded.pair_model.config == dpm_miniature()
    assert torch.equal(maps_of(loaded.pair_model).points, maps_of(single).points)


@pytest.mark.slow
@pytest.mark.skipif(not DEFAULT_FOLDER.is_dir(), reason="no goldens")
def test_a_file_of_full_size_gives_the_official_numbers(tmp_path):
    case = read_pair_case(DEFAULT_FOLDER / "dust3r" / "full_A.npz")
    network = build_pair_network(case.config, dtype=torch.float32)
    path = write_published(tmp_path / "dust3r.pth", public_state(network))
    assert path.stat().st_size > 4 * 571_171_208
    del network
    loaded = load_dpm(dpm(), path)
    report = check_pair_case(case, loaded)
    assert report.passed and len(report.comparisons) == 12
