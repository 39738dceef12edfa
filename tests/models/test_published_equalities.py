"""The savings of the published networks are exact: parts equal all at once, to 1e-10 in float64.

Weights are filled as the goldens' are, so that no branch is muted.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from dynapoint.models.layers import attention, blocks
from dynapoint.models.layers.compute import ComputeOptions
from dynapoint.models.layers.config import LevelDecoderConfig
from dynapoint.models.layers.pose_encoding import camera_from_world
from dynapoint.models.protocol import EncodeRequest
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.parts import point_maps
from golden_networks import build, image_batch

BATCH, FRAMES, HW, GRID = 2, 4, (42, 28), (3, 2)
EVERY = range(FRAMES)


def assert_equal(ours, expected):
    assert_close(ours, expected, rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def network():
    config = vdpm_miniature()
    return build(replace(config, decoder=LevelDecoderConfig(depth=2, heads=2)))


@pytest.fixture(autouse=True)
def _defaults(network):
    yield
    network.use(ComputeOptions())


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(image_batch((BATCH, FRAMES, 3, *HW), seed=3)).double()


@pytest.fixture(scope="module")
def encoded(network, images):
    with torch.no_grad():
        return network.encode(images)


@pytest.fixture(scope="module")
def everything(network, encoded):
    """All frames at all times in the way of the public code: nothing is left out or divided.

    All levels of all frames go through whole decoder blocks as one batch, one target time after the
    other, and then through the head as one batch.
    """
    points, confidence = [], []
    with torch.no_grad():
        for time in EVERY:
            condition = encoded.levels[-1][:, time, network.aggregator.layout.time]
            moved = network.decoder(
                torch.cat(encoded.levels),
                condition[:, None].expand(-1, FRAMES, -1).repeat(4, 1, 1),
                specials=6,
                grid_hw=GRID,
                frames=EVERY,
            )
            patches = [level[:, :, 6:].flatten(0, 1) for level in moved.chunk(4)]
            raw = network.point_head(patches, GRID, HW).unflatten(0, (BATCH, FRAMES))
            maps = point_maps(raw)
            points.append(maps.points)
            confidence.append(maps.confidence)
    return torch.stack(points, 1), torch.stack(confidence, 1)


def test_the_cases_can_tell_times_and_frames_apart(everything):
    points, _ = everything
    for times in pairwise(EVERY):
        first, second = points[:, times[0]], points[:, times[1]]
        assert (first - second).abs().mean() > 1e-3
    for frames in pairwise(EVERY):
        first, second = points[:, :, frames[0]], points[:, :, frames[1]]
        assert (first - second).abs().mean() > 1e-3


@pytest.mark.parametrize(
    "wanted",
    [
        (EVERY, EVERY),
        ([3, 1], [0]),
        ([1, 3, 0], [2, 0, 3]),
        ([2, 2], [1, 1]),
    ],
)
@pytest.mark.parametrize("tokens_at_once", [1, 1_000_000])
def test_wanted_times_and_frames_equal_everything(
    network, encoded, everything, wanted, tokens_at_once
):
    times, frames = wanted
    network.use(ComputeOptions(decoder_tokens_at_once=tokens_at_once, head_frames_at_once=3))
    maps = network.decode_times(encoded, times=list(times), frames=list(frames))
    points, confidence = everything
    assert_equal(maps.points, points[:, list(times)][:, :, list(frames)])
    assert_equal(maps.confidence, confidence[:, list(times)][:, :, list(frames)])


@pytest.mark.parametrize("head_frames", [1, 5])
def test_heads_in_chunks_equal_heads_at_once(network, images, encoded, head_frames):
    patches = [level[:, :, 6:].flatten(0, 1) for level in encoded.levels]
    whole = point_maps(network.point_head(patches, GRID, HW).unflatten(0, (BATCH, FRAMES)))
    network.use(ComputeOptions(head_frames_at_once=head_frames))
    parts = network.encode(images).own_time
    assert_equal(parts.points, whole.points)
    assert_equal(parts.confidence, whole.confidence)


def test_levels_in_turn_equal_levels_at_once(network, encoded):
    """What the decoder makes of a level has nothing to do with the other levels."""
    condition = encoded.levels[-1][:, 1, 1][:, None].expand(-1, FRAMES, -1)
    how = {"specials": 6, "grid_hw": GRID, "frames": [2, 0]}
    at_once = network.decoder(torch.cat(encoded.levels), condition.repeat(4, 1, 1), **how)
    in_turn = [network.decoder(level, condition, **how) for level in encoded.levels]
    assert_equal(torch.cat(in_turn), at_once)


def test_attention_and_mlp_in_other_ways(network, images, encoded, everything, monkeypatch):
    monkeypatch.setattr(attention, "EXPLICIT_SOFTMAX_MAX_KEYS", 0)
    monkeypatch.setattr(blocks, "MLP_TOKENS_AT_ONCE", 7)
    again = network.encode(images)
    for ours, expected in zip(again.levels, encoded.levels, strict=True):
        assert_equal(ours, expected)
    maps = network.decode_times(again, times=[1], frames=[0, 2])
    assert_equal(maps.points[:, 0], everything[0][:, 1][:, [0, 2]])


@pytest.mark.parametrize("at_once", [5, 14, 1000])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_blocks_in_place_equal_blocks_with_gradients(monkeypatch, at_once, qk_norm, turned):
    """Parts of a sequence, several sequences in one part; what a block is given stays as it is."""
    monkeypatch.setattr(attention, "_TURNED_AT_ONCE", at_once)
    monkeypatch.setattr(blocks, "MLP_TOKENS_AT_ONCE", at_once)
    torch.manual_seed(0)
    made = blocks.Block(16, 2, mlp_ratio=2.0, scale_init=0.5, qk_norm=qk_norm).double()
    for weight in made.parameters():
        weight.copy_(torch.randn_like(weight))
    x, context = torch.randn(3, 7, 16).double(), torch.randn(3, 4, 16).double()
    places = attention.RotaryPositions.for_grid(
        specials=1, grid_hw=GRID, head_width=8, base=100.0, like=x
    )
    others = attention.RotaryPositions(places.cosine[3:], places.sine[3:])
    ways = (
        {"positions": places if turned else None},
        {
            "context": context,
            "positions": places if turned else None,
            "context_positions": others if turned else None,
        },
    )
    given = x.clone(), context.clone()
    for way in ways:
        with torch.enable_grad():
            expected = made(x, **way).detach()
        assert_equal(made(x, **way), expected)
    assert torch.equal(x, given[0]) and torch.equal(context, given[1])


def test_mlp_without_gradients_equals_its_definition():
    """In place; its input is left as it was."""
    mlp = blocks.Mlp(5, 12).double()
    x = torch.randn(11, 5, dtype=torch.float64)
    given = x.clone()
    hidden = given @ mlp.fc1.weight.T + mlp.fc1.bias
    activated = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    assert_equal(mlp(x), activated @ mlp.fc2.weight.T + mlp.fc2.bias)
    assert torch.equal(x, given)


def test_examples_of_a_batch_are_apart(network, images, encoded, everything):
    for example in range(BATCH):
        alone = network.encode(images[example : example + 1])
        assert_equal(alone.encodings[:, 0], encoded.encodings[:, example])
        assert_equal(alone.own_time.points[0], encoded.own_time.points[example])
        maps = network.decode_times(alone, times=EVERY, frames=EVERY)
        assert_equal(maps.points[0], everything[0][example])


@pytest.mark.parametrize("order", [[0, 3, 1, 2]])
def test_frames_after_the_first_have_no_order(network, images, encoded, everything, order):
    permuted = network.encode(images[:, order])
    assert_equal(permuted.encodings, encoded.encodings[:, :, order])
    assert_equal(permuted.own_time.points, encoded.own_time.points[:, order])
    assert_equal(permuted.cameras.world_from_camera, encoded.cameras.world_from_camera[:, order])
    assert_equal(permuted.cameras.intrinsics, encoded.cameras.intrinsics[:, order])
    maps = network.decode_times(permuted, times=EVERY, frames=EVERY)
    assert_equal(maps.points, everything[0][:, order][:, :, order])
    assert_equal(maps.confidence, everything[1][:, order][:, :, order])


def test_the_first_frame_is_special(network, images, encoded):
    order = [1, 0, 2, 3]
    permuted = network.encode(images[:, order]).own_time.points
    assert (permuted - encoded.own_time.points[:, order]).abs().mean() > 1e-3


def test_cameras_are_the_inverses_of_what_the_head_says(encoded):
    """The head's poses lead from the reference's camera; the reference's own is the world."""
    pose = camera_from_world(encoded.encodings[-1])
    world_from_camera = encoded.cameras.world_from_camera
    identity = torch.eye(4).double().expand(BATCH, 4, 4)
    assert_equal(world_from_camera[:, 0], identity)
    for frame in range(1, FRAMES):
        assert_equal(pose[:, frame] @ world_from_camera[:, frame], identity)


@pytest.mark.parametrize("reference", [2])
def test_another_reference_is_another_first_frame_seen_from_frame_0(network, images, reference):
    order = [reference, *(frame for frame in EVERY if frame != reference)]
    places = [order.index(frame) for frame in EVERY]
    # What the published network says of these frames, the reference's camera being the world.
    theirs = network.encode(images[:, order])
    moved = network.decode_times(theirs, times=places, frames=places)
    first_from_reference = camera_from_world(theirs.encodings[-1])[:, places[0]]

    def seen_from_frame_0(points):
        flat = points.reshape(BATCH, -1, 3)
        rotation, shift = first_from_reference[:, :3, :3], first_from_reference[:, :3, 3]
        return (torch.einsum("bij,bpj->bpi", rotation, flat) + shift[:, None]).view(points.shape)

    ours = network.encode(images, EncodeRequest(reference=reference))
    assert_equal(ours.encodings, theirs.encodings[:, :, places])
    assert_equal(ours.own_time.points, seen_from_frame_0(theirs.own_time.points[:, places]))
    assert_equal(ours.own_time.confidence, theirs.own_time.confidence[:, places])
    maps = network.decode_times(ours, times=EVERY, frames=EVERY)
    assert_equal(maps.points, seen_from_frame_0(moved.points))
    assert_equal(maps.confidence, moved.confidence)
    cameras = ours.cameras.world_from_camera
    for frame in EVERY:
        in_reference = theirs.cameras.world_from_camera[:, places[frame]]
        assert_equal(cameras[:, frame], first_from_reference @ in_reference)
    assert_equal(cameras[:, 0], torch.eye(4).double().expand(BATCH, 4, 4))
    assert_equal(ours.cameras.intrinsics, theirs.cameras.intrinsics[:, places])


def test_views_with_one_target_each_equal_times(network, encoded, everything):
    """Rows of targets may repeat the examples, each row with a time of its own."""
    targets = torch.tensor([[2] * FRAMES, [0] * FRAMES, [1] * FRAMES, [3] * FRAMES])
    maps = network.decode_views(encoded, targets, frames=[3, 0])
    for row, (example, time) in enumerate([(0, 2), (1, 0), (0, 1), (1, 3)]):
        assert_equal(maps.points[row], everything[0][example, time][[3, 0]])
