"""The network's promises: encode once, decode any time, in any order, in any company."""

import dataclasses
from typing import Literal

import pytest
import torch
from conftest import images, toy_truth

from dynapoint.errors import ConfigError, ModelError, ShapeError
from dynapoint.models.cards import CARDS, known_models
from dynapoint.models.catalog import load_model
from dynapoint.models.layers.config import AggregatorConfig, QueryConfig, TimeDecoderConfig
from dynapoint.models.nano.config import (
    NetworkConfig,
    comparison,
    comparison_dept3r,
    comparison_dpm,
    nano_1,
    nano_2,
    tiny,
)
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.protocol import EncodeRequest
from dynapoint.training.losses import LossWeights
from dynapoint.training.objective import sample_loss


def conditioned(how: Literal["adaln", "additive", "head"]) -> NetworkConfig:
    """A tiny network of V-DPM's kind by the way its decoder is told the time."""
    decoder = TimeDecoderConfig(heads=2, depth=0 if how == "head" else 1, conditioning=how)
    return dataclasses.replace(tiny(), decoder=decoder)


def told(into: Literal["frame", "camera_token"]) -> NetworkConfig:
    """A tiny network of DePT3R's kind."""
    return dataclasses.replace(tiny(), decoder=None, query=QueryConfig(into=into))


VARIANTS = {
    "adaln": conditioned("adaln"),
    "additive": conditioned("additive"),
    "head": conditioned("head"),
    "query frame": told("frame"),
    "query token": told("camera_token"),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())


def all_maps(network, video):
    """Everything a user can ask for: (time, batch, frame, height, width, 3) points."""
    frames = range(video.shape[1])
    encoded = network.encode(video)
    maps = [network.decode(encoded, time=t, frames=list(frames)).points for t in frames]
    return encoded, torch.stack(maps)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    return bool(((a - b).abs().max() <= tolerance * b.abs().max()).item())


def test_fresh_network_decodes_exactly_its_own_time_maps():
    network = VideoPointMapNetwork(tiny()).eval()
    encoded, maps = all_maps(network, images(3))
    for time in range(3):
        assert torch.equal(maps[time], encoded.own_time.points)
        own = network.decode_pairs(encoded, sources=[time], targets=[time])
        assert not own.displacement.any()


@every_variant
def test_shaken_network_moves_points(shaken, config):
    # Without this, every equality below would also hold for a decoder that does nothing.
    encoded, maps = all_maps(shaken(config), images(3))
    for time in range(3):
        shift = (maps[time] - encoded.own_time.points).norm(dim=-1).mean(dim=(0, 2, 3))
        assert (shift[[i for i in range(3) if i != time]] > 0.02).all()


@every_variant
def test_target_frame_is_exactly_its_own_time_map(shaken, config):
    network = shaken(config)
    encoded = network.encode(images(3))
    for frame in range(3):
        maps = network.decode(encoded, time=frame, frames=[frame])
        assert torch.equal(maps.points, encoded.own_time.points[:, [frame]])
        assert torch.equal(maps.confidence, encoded.own_time.confidence[:, [frame]])
        # The decoder by itself would move it.
        apart = network.decode_pairs(encoded, sources=[frame], targets=[frame])
        assert apart.displacement.abs().max() > 1e-3


@every_variant
@pytest.mark.parametrize("chunk", [1, 2])
def test_decoding_in_chunks_is_decoding_at_once(shaken, config, chunk):
    network = shaken(config).double()
    encoded = network.encode(images(4).double())
    whole = network.decode(encoded, time=1, frames=[3, 1, 0, 2])
    parts = network.decode(encoded, time=1, frames=[3, 1, 0, 2], chunk=chunk)
    assert close(parts.points, whole.points, 1e-12)
    assert close(parts.confidence, whole.confidence, 1e-12)


@every_variant
@pytest.mark.parametrize("frames", [[0], [2, 1], [3, 0, 2], [1, 1]])
def test_decoding_some_frames_is_a_slice_of_decoding_all(shaken, config, frames):
    network = shaken(config).double()
    encoded = network.encode(images(4).double())
    for time in (0, 2):
        every = network.decode(encoded, time=time, frames=[0, 1, 2, 3])
        some = network.decode(encoded, time=time, frames=frames)
        assert close(some.points, every.points[:, frames], 1e-9)
        assert close(some.confidence, every.confidence[:, frames], 1e-9)


def test_decoding_leaves_the_encoding_as_it_was(shaken):
    network = shaken()
    encoded = network.encode(images(3))
    before = encoded.own_time.points.clone(), encoded.own_time.confidence.clone()
    network.decode(encoded, time=1, frames=[0, 1, 2])
    assert torch.equal(encoded.own_time.points, before[0])
    assert torch.equal(encoded.own_time.confidence, before[1])


@every_variant
def test_order_of_later_frames_does_not_matter(shaken, config):
    # Frame 0 is the world; the others may come in any order. The ego-motion solver in between
    # picks best cells and medians, so float64 leaves rounding far below what could flip them.
    network = shaken(config).double()
    video = images(4).double()
    order = [0, 3, 1, 2]
    encoded, maps = all_maps(network, video)
    encoded_after, maps_after = all_maps(network, video[:, order])
    assert close(encoded_after.own_time.points, encoded.own_time.points[:, order], 1e-6)
    poses, poses_after = (e.cameras.world_from_camera for e in (encoded, encoded_after))
    assert close(poses_after, poses[:, order], 1e-6)
    assert close(maps_after, maps[order][:, :, order], 1e-6)
    # Frame 0 is special: another first frame gives another answer.
    _, moved = all_maps(network, video[:, [1, 0, 2, 3]])
    assert not close(moved, maps[[1, 0, 2, 3]][:, :, [1, 0, 2, 3]], 1e-2)


@every_variant
def test_batch_entries_are_independent(shaken, config):
    network = shaken(config).double()
    video = images(3, batch=3).double()
    encoded, maps = all_maps(network, video)
    for entry in range(3):
        alone, maps_alone = all_maps(network, video[entry : entry + 1])
        assert close(alone.cameras.intrinsics[0], encoded.cameras.intrinsics[entry], 1e-9)
        assert close(maps_alone[:, 0], maps[:, entry], 1e-8)


def _with_other_frame(encoded, frame: int):
    """The encoding with all that the decoder reads of one frame replaced by something else."""

    def changed(values: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        values[:, frame] = values[:, frame].flip(-1) * 0.9
        return values

    return dataclasses.replace(
        encoded,
        tokens=changed(encoded.tokens),
        descriptors=changed(encoded.descriptors),
        log_distance=changed(encoded.log_distance),
    )


@pytest.mark.parametrize("how", ["adaln", "additive"])
def test_decoder_reads_only_its_two_frames(shaken, how):
    network = shaken(conditioned(how))
    encoded = network.encode(images(4))
    asked = {"time": 1, "frames": [0]}
    maps = network.decode(encoded, **asked)
    after = network.decode(_with_other_frame(encoded, 3), **asked)
    assert torch.equal(after.points, maps.points)
    target_changed = network.decode(_with_other_frame(encoded, 1), **asked)
    assert not close(target_changed.points, maps.points, 1e-3)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_world_is_exactly_camera_0(shaken, frames):
    encoded = shaken().encode(images(frames, batch=2))
    assert torch.equal(encoded.cameras.world_from_camera[:, 0], torch.eye(4).expand(2, 4, 4))
    rotation = encoded.cameras.world_from_camera[..., :3, :3]
    assert torch.allclose(
        rotation @ rotation.transpose(-1, -2), torch.eye(3).expand_as(rotation), atol=1e-5
    )
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(2, frames), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (32, 16), (24, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_own_time_maps_reproject_to_their_pixels(shaken, height, width, dtype):
    network = shaken().to(dtype)
    encoded = network.encode(images(3, height, width).to(dtype))
    assert encoded.own_time.points.dtype == dtype
    error = reprojection_error(encoded)
    assert error < (1e-9 if dtype == torch.float64 else 2e-4 * max(height, width))


def reprojection_error(encoded) -> float:
    """Pixels between the own-time points, projected by the returned cameras, and pixel centres."""
    points = encoded.own_time.points.detach().double()
    height, width = points.shape[2:4]
    camera_from_world = (
        encoded.cameras.world_from_camera.detach().double().inverse()[:, :, None, None]
    )
    camera = (camera_from_world[..., :3, :3] @ points[..., None]).squeeze(-1)
    camera = camera + camera_from_world[..., :3, 3]
    assert (camera[..., 2] > 0).all()
    image = encoded.cameras.intrinsics.detach().double()[:, :, None, None] @ camera[..., None]
    xy = image[..., :2, 0] / image[..., 2:, 0]
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return float((xy - centres).abs().max())


def test_half_precision_autocast_leaves_geometry_exact(shaken):
    network = shaken()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = network.encode(images(3))
        maps = network.decode(encoded, time=1, frames=[0])
    assert maps.points.dtype == torch.float32
    assert reprojection_error(encoded) < 5e-3


@pytest.mark.parametrize(("height", "width"), [(20, 24), (16, 30), (8, 24), (15, 15)])
def test_odd_sizes_are_refused(height, width):
    network = VideoPointMapNetwork(tiny())
    with pytest.raises(ShapeError, match=f"multiples of 8.*got {height} × {width}"):
        network.encode(torch.rand(1, 2, 3, height, width))


@pytest.mark.parametrize(("height", "width"), [(32, 16), (16, 40), (16, 16)])
def test_every_aspect_gives_maps_of_its_own_size(shaken, height, width):
    network = shaken()
    encoded, maps = all_maps(network, images(2, height, width))
    assert maps.shape == (2, 1, 2, height, width, 3)
    assert torch.isfinite(maps).all()
    assert (encoded.own_time.confidence > 1).all()
    centre = encoded.cameras.intrinsics[0, :, :2, 2]
    assert torch.equal(centre, torch.tensor([width / 2, height / 2]).expand(2, 2))


@every_variant
def test_gradients_reach_every_parameter(shaken, config):
    network = shaken(config).train()
    sample = toy_truth(frames=3)
    known = EncodeRequest(intrinsics=sample.intrinsics if config.query else None)
    encoded = network.encode(sample.images, known)
    parts = sample_loss(
        network,
        encoded,
        sample,
        LossWeights(),
        sources=[0, 1, 2],
        targets=[1, 2, 0],
        generator=torch.Generator(),
    )
    parts.total.backward()
    without = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_first_step_of_a_fresh_network_has_finite_gradients():
    network = VideoPointMapNetwork(tiny())
    sample = toy_truth()
    encoded = network.encode(sample.images)
    drawn = torch.Generator()
    parts = sample_loss(
        network, encoded, sample, LossWeights(), sources=[0], targets=[1], generator=drawn
    )
    parts.total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())
    # The zero-initialised last layer must be able to start moving.
    assert network.motion_head.out.weight.grad.abs().max() > 0


def test_float32_agrees_with_float64(shaken):
    network = shaken()
    video = images(2)
    single = network.encode(video).own_time
    double = network.double().encode(video.double()).own_time
    relative = (single.points - double.points).norm(dim=-1) / double.points.norm(dim=-1)
    assert relative.median() < 1e-4


@pytest.mark.parametrize(
    "config", [tiny(), nano_1(), nano_2(), *VARIANTS.values(), comparison_dpm("x")]
)
def test_configuration_survives_json(config):
    assert NetworkConfig.from_json(config.to_json()) == config
    assert isinstance(NetworkConfig.from_json(config.to_json()).camera.start_encoding, tuple)


@pytest.mark.parametrize(
    "text", ['{"name": "x"}', tiny().to_json().replace('"depth"', '"deepness"')]
)
def test_configuration_of_another_version_is_refused(text):
    with pytest.raises(ConfigError, match="does not fit this version"):
        NetworkConfig.from_json(text)


def test_impossible_head_size_is_refused():
    with pytest.raises(ConfigError, match="width 30 over 4 heads"):
        AggregatorConfig(width=30, heads=4)


def test_nano_has_the_size_its_card_says():
    with torch.device("meta"):
        network = VideoPointMapNetwork(nano_2())
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == CARDS["nano-2"].parameters
    assert 6e6 <= count <= 7e6
    # Shipped in bf16, the file has to stay below 24 MB.
    assert 2 * count < 24e6 - 100_000


@pytest.mark.parametrize("depth", [0, 1])
def test_decoder_depth_that_does_not_fit_its_conditioning_is_refused(depth):
    with pytest.raises(ConfigError, match=f"depth {depth} with conditioning"):
        TimeDecoderConfig(depth=depth, conditioning="adaln" if depth == 0 else "head")


def test_decoder_and_query_exclude_each_other():
    with pytest.raises(ConfigError, match="a time decoder and a query embedding"):
        dataclasses.replace(tiny(), query=QueryConfig())


@pytest.mark.parametrize("make", [comparison, comparison_dpm, comparison_dept3r])
def test_compared_networks_have_one_size(make):
    with torch.device("meta"):
        network = build_network(make("x"))
    assert 1.5e6 < sum(parameter.numel() for parameter in network.parameters()) < 1.7e6


def test_unknown_model_is_answered_by_the_known_ones():
    assert {"nano", "nano-2"} <= set(known_models())
    with pytest.raises(ModelError, match=r"unknown model 'nanno'.*nano, nano-2"):
        load_model("nanno")


def test_retired_model_is_answered_by_its_successor(monkeypatch):
    monkeypatch.setattr("dynapoint.models.cards.RETIRED", {"nano-0": "nano-2"})
    with pytest.raises(ModelError, match=r"'nano-0' has been replaced.*'nano-2'"):
        load_model("nano-0")
