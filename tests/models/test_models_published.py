"""The published networks beyond their golden numbers: ablations, VGGT, options, short memory."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from dynapoint.errors import ConfigError, ModelError, ShapeError
from dynapoint.models import catalog
from dynapoint.models.layers.compute import ComputeOptions, default_options, in_parts
from dynapoint.models.layers.config import LevelDecoderConfig
from dynapoint.models.protocol import EncodeRequest
from dynapoint.models.vggt import weights as vggt_weights
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import save_published

HW = (42, 56)


def network_with(decoder: LevelDecoderConfig | None, **changes) -> PublishedNetwork:
    torch.manual_seed(5)
    config = replace(vdpm_miniature(), decoder=decoder, **changes)
    return PublishedNetwork(config).double().eval()


@pytest.fixture
def images():
    torch.manual_seed(6)
    return torch.rand(1, 3, 3, *HW, dtype=torch.float64)


def decoded(network, images, *, times=(0, 1, 2), frames=(0, 1, 2)):
    with torch.no_grad():
        encoded = network.encode(images)
        return encoded, network.decode_times(encoded, times=times, frames=frames)


@pytest.mark.parametrize("conditioning", ["adaln", "additive"])
def test_target_times_differ_and_frames_stay_apart(conditioning, images):
    network = network_with(LevelDecoderConfig(depth=2, heads=2, conditioning=conditioning))
    encoded, maps = decoded(network, images)
    assert maps.points.shape == (1, 3, 3, *HW, 3)
    assert (maps.points[:, 0] - maps.points[:, 1]).abs().mean() > 1e-6
    alone = network.decode_times(encoded, times=[1], frames=[2])
    assert torch.allclose(alone.points[:, 0, 0], maps.points[:, 1, 2], atol=1e-12)


def test_a_deeper_decoder_has_more_blocks():
    shallow = network_with(LevelDecoderConfig(depth=1, heads=2))
    deep = network_with(LevelDecoderConfig(depth=3, heads=2))
    sizes = [sum(p.numel() for p in n.decoder.parameters()) for n in (shallow, deep)]
    assert sizes[1] == 3 * sizes[0]


def test_a_conditioned_head_starts_as_a_copy_of_the_point_head(images):
    network = network_with(LevelDecoderConfig(depth=0, conditioning="head"))
    encoded, maps = decoded(network, images)
    assert torch.allclose(maps.points[:, 1], encoded.own_time.points, atol=1e-12)
    with torch.no_grad():
        torch.nn.init.normal_(network.time_head.modulation.weight, std=0.3)
    _, maps = decoded(network, images)
    assert (maps.points[:, 0] - maps.points[:, 1]).abs().mean() > 1e-6
    assert (maps.points[:, 1] - encoded.own_time.points).abs().mean() > 1e-3


def test_a_conditioned_head_has_no_blocks():
    with pytest.raises(ConfigError, match="depth 4"):
        LevelDecoderConfig(conditioning="head")


def test_vggt_knows_a_still_world_only(images):
    config = vdpm_miniature()
    network = network_with(
        None, depth_head=True, aggregator=replace(config.aggregator, time_token=False)
    )
    with torch.no_grad():
        encoded = network.encode(images)
        moved = network.decode(encoded, time=2, frames=[0, 1])
    assert torch.equal(moved.points, encoded.own_time.points[:, :2])
    assert encoded.depth.depth.shape == (1, 3, *HW)
    assert (encoded.depth.depth > 0).all()
    with pytest.raises(ModelError, match="cannot place points at other times"):
        network.decode_times(encoded, times=[0], frames=[0])


def test_decode_puts_own_time_maps_on_the_diagonal(images):
    network = network_with(LevelDecoderConfig(depth=1, heads=2))
    encoded, maps = decoded(network, images)
    with torch.no_grad():
        moved = network.decode(encoded, time=1, frames=[2, 1, 0])
        own = network.decode_times(encoded, times=[1], frames=[1])
    assert torch.equal(moved.points[:, 1], encoded.own_time.points[:, 1])
    assert torch.allclose(moved.points[:, 0], maps.points[:, 1, 2], atol=1e-12)
    assert torch.allclose(moved.confidence[:, 2], maps.confidence[:, 1, 0], atol=1e-12)
    assert torch.allclose(own.points[:, 0], maps.points[:, 1, 1:2], atol=1e-12)


def test_every_view_may_have_its_own_target_time(images):
    # With no global block, a frame's map depends on its own condition alone.
    network = network_with(LevelDecoderConfig(depth=1, heads=2))
    network.decoder.global_blocks[0] = torch.nn.Identity()
    network.decoder._run = lambda block, x, c, positions, wanted=None: (
        x
        if isinstance(block, torch.nn.Identity)
        else block(x, c, positions=positions, segments=c.shape[1], wanted=wanted)
    )
    encoded, maps = decoded(network, images)
    targets = torch.tensor([[2, 0, 1]])
    views = network.decode_views(encoded, targets, frames=[0, 1, 2])
    for frame, time in enumerate(targets[0].tolist()):
        assert torch.allclose(views.points[:, frame], maps.points[:, time, frame], atol=1e-12)


def test_a_single_frame_works(images):
    network = network_with(LevelDecoderConfig(depth=1, heads=2))
    encoded, maps = decoded(network, images[:, :1], times=[0], frames=[0])
    assert maps.points.shape == (1, 1, 1, *HW, 3)
    assert torch.equal(encoded.cameras.world_from_camera[0, 0], torch.eye(4).double())


@pytest.mark.parametrize("hw", [(40, 56), (42, 50), (0, 14)])
def test_sides_must_fit_the_patches(hw):
    network = network_with(LevelDecoderConfig(depth=1, heads=2))
    with pytest.raises(ShapeError, match="multiples of 14"):
        network.encode(torch.rand(1, 2, 3, *hw, dtype=torch.float64))


def test_there_must_be_such_a_reference(images):
    network = network_with(LevelDecoderConfig(depth=1, heads=2))
    with pytest.raises(ShapeError, match="frames are 0 to 2"):
        network.encode(images, EncodeRequest(reference=3))


def test_half_precision_changes_little():
    network = network_with(LevelDecoderConfig(depth=1, heads=2)).float()
    images = torch.rand(1, 2, 3, *HW)
    _, exact = decoded(network, images, times=[1], frames=[0])
    network.use(ComputeOptions(precision="bfloat16", head_precision="bfloat16"))
    _, half = decoded(network, images, times=[1], frames=[0])
    assert half.points.dtype == torch.float32
    change = (half.points - exact.points).std() / exact.points.std()
    assert 1e-5 < change < 0.05


def test_gpus_compute_as_the_public_code_does():
    assert default_options("cuda").precision == "bfloat16"
    assert default_options("cuda").head_precision == "float32"
    assert default_options("cpu").precision == "float32"


def short_of_memory(most: int, kind: type[Exception], words: str):
    sizes = []

    def compute(part: range) -> list[int]:
        sizes.append(len(part))
        if len(part) > most:
            raise kind(words)
        return [k * k for k in part]

    return compute, sizes


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        (MemoryError, ""),
    ],
)
def test_parts_are_halved_until_they_fit(kind, words):
    compute, sizes = short_of_memory(3, kind, words)
    results = list(in_parts(10, 8, compute))
    assert [k for part, _ in results for k in part] == list(range(10))
    assert [v for _, values in results for v in values] == [k * k for k in range(10)]
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_no_memory_for_one_thing_is_an_error_of_one_line():
    compute, _ = short_of_memory(0, torch.OutOfMemoryError, "CUDA out of memory")
    with pytest.raises(ModelError, match="fewer frames"):
        list(in_parts(4, 4, compute))


def test_parts_of_parts_are_halved_where_the_inner_ones_cannot_be():
    """A target time less at once helps where one level of several times is too much."""
    network = PublishedNetwork(vdpm_miniature()).eval()
    network.use(ComputeOptions(decoder_tokens_at_once=10**6))
    head, sizes = network.point_head.forward, []

    def cramped(levels, *rest):
        sizes.append(len(levels[0]))
        if len(levels[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return head(levels, *rest)

    with torch.no_grad():
        encoded = network.encode(torch.rand(1, 3, 3, 28, 42))
        at_once = network.decode_times(encoded, times=[0, 1, 2], frames=[1])
        network.point_head.forward = cramped
        in_turn = network.decode_times(encoded, times=[0, 1, 2], frames=[1])
    assert sizes == [3, 2, 1, 1, 1]
    assert torch.allclose(at_once.points, in_turn.points, atol=1e-5)


def test_other_errors_are_passed_on():
    compute, _ = short_of_memory(0, RuntimeError, "sizes do not match")
    with pytest.raises(RuntimeError, match="sizes do not match"):
        list(in_parts(4, 4, compute))


@pytest.fixture
def miniature_file(tmp_path, monkeypatch):
    monkeypatch.setattr(vggt_weights, "vdpm", vdpm_miniature)
    path = tmp_path / "vdpm.pt"
    save_published(PublishedNetwork(vdpm_miniature()), path)
    return path


def test_models_load_with_the_options_asked_for(miniature_file):
    network = catalog.load_model("vdpm", weights=miniature_file, device="cpu")
    assert network.options == default_options("cpu")
    assert network.info.weights_sha256 is not None
    other = catalog.load_model(
        "vdpm", weights=miniature_file, decoder_weights="int8", precision="bfloat16", device="cpu"
    )
    assert other.options.precision == "bfloat16"
    assert other.decoder.frame_blocks[0].mlp.fc1.weight.dtype == torch.int8
    assert other.aggregator.frame_blocks[0].mlp.fc1.weight.dtype == torch.float32


def test_a_small_network_has_one_precision():
    with pytest.raises(ModelError, match="float32, uncompiled"):
        catalog.load_model("nano", precision="bfloat16")


def test_what_has_no_decoder_keeps_none_in_fewer_bits(tmp_path, monkeypatch):
    still = replace(vdpm_miniature(), name="vggt", decoder=None)
    monkeypatch.setattr(vggt_weights, "vggt", lambda: still)
    save_published(PublishedNetwork(still), tmp_path / "vggt.pt")
    assert catalog.load_model("vggt", weights=tmp_path / "vggt.pt", device="cpu").decoder is None
    with pytest.raises(ModelError, match="vggt has no time decoder"):
        catalog.load_model(
            "vggt", weights=tmp_path / "vggt.pt", decoder_weights="int8", device="cpu"
        )


@pytest.mark.parametrize("device", ["toaster", "cuda:77", "meta"])
def test_a_device_that_is_not_there_is_an_error_of_one_line(device):
    with pytest.raises(ModelError, match="cannot be used"):
        catalog.load_model("nano", device=device)


@pytest.mark.parametrize(
    ("times", "frames"), [([3], [0]), ([-1], [0]), ([0], [3]), ([0], [-1]), ([], [0]), ([0], [])]
)
def test_times_and_frames_must_be_there(images, times, frames):
    network = network_with(LevelDecoderConfig(depth=1, heads=2))
    encoded = network.encode(images)
    with pytest.raises(ShapeError, match="at least one"):
        network.decode_times(encoded, times=times, frames=frames)


COMPARE_COMPILED = """
import torch
from dynapoint.models.layers.compute import ComputeOptions
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.config import vdpm_miniature
torch.manual_seed(5)
network, images = PublishedNetwork(vdpm_miniature()).eval(), torch.rand(1, 3, 3, 42, 56)
def decoded():
    with torch.no_grad():
        return network.decode_times(network.encode(images), times=[1, 2], frames=[0, 2]).points
plain = decoded()
network.use(ComputeOptions(compile_blocks=True))
compiled = decoded()
assert not torch.equal(compiled, plain), "nothing was compiled"
assert torch.allclose(compiled, plain, atol=1e-5)
network.use(ComputeOptions())
assert torch.equal(decoded(), plain)
"""


@pytest.mark.slow
def test_compiled_blocks_give_the_same_answers():
    # In a process of its own, without the shape checks of tests, which cannot be compiled.
    command = [sys.executable, "-c", COMPARE_COMPILED]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
