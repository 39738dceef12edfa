"""Motion segmentation on exact truth, on known noise, and where it cannot know."""

import pytest
import torch

from dynapoint.errors import InputError
from dynapoint.reductions.segmentation import segment_clip, segment_pair
from exact_pairs import exact_clip

_FRAMES = 4
_HW = (48, 64)


@pytest.fixture(scope="module")
def scenes():
    """Exact clips: points[time, frame], moving, valid and cameras, all in float64."""
    order = torch.arange(_FRAMES)[None]
    found = []
    for seed in range(40, 46):
        clip = exact_clip(seed, frames=_FRAMES, image_hw=_HW)
        truth = clip.truth(order, order)
        found.append(
            (
                truth.points[0].double(),
                truth.moving[0],
                truth.valid[0],
                clip.world_from_camera[0].double(),
            )
        )
    return found


def _iou(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found & true).sum() / (found | true).sum().clamp_min(1))


def _wall(height: int = 40, width: int = 50, seed: int = 0) -> torch.Tensor:
    """A bumpy wall two to three units away, in the camera."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    depth = 2 + torch.rand(height, width, generator=generator)
    return (torch.stack([x, y, torch.ones_like(x)], dim=-1) * depth[..., None]).double()


_AT_ORIGIN = torch.eye(4, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_maps_tell_every_motion_beyond_a_thousandth_of_distance(scenes, dtype):
    compared = 0
    for points, moving, valid, poses in scenes:
        for frame in range(_FRAMES):
            own = points[frame, frame]
            found = segment_clip(
                points[:, frame].to(dtype),
                own_time=frame,
                world_from_camera=poses[frame].to(dtype),
            )
            assert found.probability.dtype == dtype
            assert torch.equal(found.valid, valid[frame])
            distance = (own - poses[frame, :3, 3]).norm(dim=-1)
            motion = (points[:, frame] - own).norm(dim=-1).square().sum(0) / (_FRAMES - 1)
            clear = moving[frame] & (motion.sqrt() > 1e-3 * distance)
            still = valid[frame] & ~moving[frame]
            assert (found.probability[clear] > 0.5).all()
            assert (found.probability[still] < 1e-6).all()
            compared += int(clear.sum())
            if clear.any():
                assert _iou(found.probability > 0.5, clear) > 0.98
            torch.testing.assert_close(
                found.displacement[valid[frame]].double(),
                motion.sqrt()[valid[frame]],
                rtol=1e-4,
                atol=1e-5,
            )
    assert compared > 4000


def test_a_pair_is_a_clip_of_two_times(scenes):
    points, moving, _, poses = scenes[3]
    pair = segment_pair(points[1, 1], points[3, 1], world_from_camera=poses[1])
    clip = segment_clip(points[[3, 1], 1], own_time=1, world_from_camera=poses[1])
    assert torch.equal(pair.probability, clip.probability)
    moved = (points[3, 1] - points[1, 1]).norm(dim=-1)
    clear = moving[1] & (moved > 1e-3 * points[1, 1].norm(dim=-1))
    assert clear.sum() > 100
    assert _iou(pair.probability > 0.5, clear) > 0.98


def test_scaling_the_scene_changes_no_probability(scenes):
    points, _, valid, poses = scenes[0]
    noise = torch.randn(
        points.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    noisy = points + 0.003 * noise
    plain = segment_clip(noisy[:, 0], own_time=0, world_from_camera=poses[0])
    for scale in (1e-6, 37.0, 1e6):
        pose = poses[0].clone()
        pose[:3, 3] *= scale
        scaled = segment_clip(scale * noisy[:, 0], own_time=0, world_from_camera=pose)
        torch.testing.assert_close(scaled.probability, plain.probability, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(scaled.expected_error, scale * plain.expected_error)
    assert ((plain.probability > 0.1) & (plain.probability < 0.9) & valid[0]).any()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_most_pixels_may_move(share, noise):
    own = _wall()
    generator = torch.Generator().manual_seed(1)
    moving = torch.rand(own.shape[:2], generator=generator) < share
    shift = torch.tensor([0.2, -0.1, 0.15], dtype=torch.float64)
    there = own + shift * moving[..., None]
    errors = torch.randn(own.shape, generator=generator, dtype=torch.float64)
    there = there + noise * own.norm(dim=-1, keepdim=True) * errors
    found = segment_pair(own, there, world_from_camera=_AT_ORIGIN)
    assert torch.equal(found.probability > 0.5, moving)


def test_noise_alone_does_not_move_and_outliers_are_only_themselves():
    own = _wall(80, 100)
    generator = torch.Generator().manual_seed(2)
    errors = torch.randn(6, *own.shape, generator=generator, dtype=torch.float64)
    points = own + 0.01 * own.norm(dim=-1, keepdim=True) * errors
    points[2] = own
    found = segment_clip(points, own_time=2, world_from_camera=_AT_ORIGIN)
    assert not (found.probability > 0.5).any()
    wild = torch.rand(own.shape[:2], generator=generator) < 0.2
    points[4][wild] += 5.0
    found = segment_clip(points, own_time=2, world_from_camera=_AT_ORIGIN)
    assert torch.equal(found.probability > 0.5, wild)


def test_a_known_error_finds_what_an_estimated_one_is_too_careful_for():
    own = _wall(80, 100)
    generator = torch.Generator().manual_seed(3)
    sigma = 0.01 * own.norm(dim=-1)
    moving = torch.zeros(own.shape[:2], dtype=torch.bool)
    moving[20:60, 30:70] = True
    there = own + sigma[..., None] * torch.randn(
        own.shape, generator=generator, dtype=torch.float64
    )
    there = there + moving[..., None] * torch.tensor([0.0, 0.33, 0.0], dtype=torch.float64)
    known = segment_pair(own, there, world_from_camera=_AT_ORIGIN, expected_error=3**0.5 * sigma)
    guessed = segment_pair(own, there, world_from_camera=_AT_ORIGIN)
    assert _iou(known.probability > 0.5, moving) > 0.99
    assert _iou(guessed.probability > 0.5, moving) < 0.5
    assert torch.equal(known.expected_error, 3**0.5 * sigma)


def test_more_motion_is_never_less_probable():
    own = _wall(20, 20).expand(30, 20, 20, 3).clone()
    there = own.clone()
    there[:, 5, 5, 0] += torch.linspace(0, 0.05, 30, dtype=torch.float64)
    there[:, :, 10:] += 1e-4
    found = segment_pair(own, there, world_from_camera=_AT_ORIGIN.expand(30, 4, 4))
    probability = found.probability[:, 5, 5]
    assert (probability.diff() >= 0).all()
    assert probability[0] < 1e-6
    assert probability[-1] > 0.9


def test_everything_moving_alike_passes_for_error():
    own = _wall()
    there = own * 1.1
    assert not (segment_pair(own, there, world_from_camera=_AT_ORIGIN).probability > 0.5).any()
    small = torch.full(own.shape[:2], 0.01, dtype=torch.float64)
    found = segment_pair(own, there, world_from_camera=_AT_ORIGIN, expected_error=small)
    assert (found.probability > 0.5).all()


def test_what_is_unusable_takes_part_in_nothing():
    own, generator = _wall(), torch.Generator().manual_seed(4)
    points = own + 0.001 * torch.randn(4, *own.shape, generator=generator, dtype=torch.float64)
    points[:, 10:20, 10:20] += torch.arange(4.0, dtype=torch.float64)[:, None, None, None]
    confidence = torch.ones(points.shape[:3], dtype=torch.float64)
    confidence[1, :5] = 0.0
    confidence[:, 30:] = 0.0
    confidence[0, 15, 15] = 0.0
    damaged = points.clone()
    damaged[1, :5] = 1e6
    damaged[:, 30:] = torch.nan
    damaged[0, 15, 15] = torch.inf
    clean = segment_clip(points, own_time=0, world_from_camera=_AT_ORIGIN, confidence=confidence)
    found = segment_clip(damaged, own_time=0, world_from_camera=_AT_ORIGIN, confidence=confidence)
    assert torch.equal(found.probability, clean.probability)
    expected = torch.ones(own.shape[:2], dtype=torch.bool)
    expected[30:] = expected[15, 15] = False
    assert torch.equal(found.valid, expected)
    moving = torch.zeros_like(expected)
    moving[10:20, 10:20] = True
    assert torch.equal(found.probability > 0.5, moving & expected)


def test_degenerate_inputs_have_defined_answers():
    nothing = torch.full((3, 4, 5, 3), torch.nan)
    found = segment_clip(nothing, own_time=1, world_from_camera=torch.eye(4))
    assert not found.valid.any()
    for value in (found.probability, found.displacement, found.expected_error):
        assert (value == 0).all()
    for empty in (nothing[:, :0], nothing[:, :, :0]):
        found = segment_clip(empty, own_time=1, world_from_camera=torch.eye(4))
        assert found.probability.shape == found.valid.shape == empty.shape[1:3]
    unsure = segment_pair(
        nothing[0].nan_to_num(1.0),
        nothing[0].nan_to_num(2.0),
        world_from_camera=torch.eye(4),
        confidence_from=torch.ones(4, 5),
        confidence_to=torch.zeros(4, 5),
    )
    assert not unsure.valid.any()
    assert (unsure.probability == 0).all()
    own = _wall()
    single = segment_clip(own[None], own_time=0, world_from_camera=_AT_ORIGIN)
    assert (single.probability == 0).all()
    still = segment_pair(own, own, world_from_camera=_AT_ORIGIN)
    assert (still.probability < 1e-6).all()
    assert still.valid.all()
    two = segment_pair(own[:1, :2], own[:1, :2] + 1.0, world_from_camera=_AT_ORIGIN)
    assert two.probability.isfinite().all()
    eye = segment_pair(own * 0, own * 0, world_from_camera=_AT_ORIGIN)
    assert (eye.probability < 1e-6).all()
    with pytest.raises(InputError, match="own_time is 2"):
        segment_clip(own[None].repeat(2, 1, 1, 1), own_time=2, world_from_camera=_AT_ORIGIN)


def test_clips_go_in_batches_and_gradients_are_finite():
    generator = torch.Generator().manual_seed(5)
    own = torch.stack([_wall(seed=1), _wall(seed=2)])
    points = own[:, None].repeat(1, 3, 1, 1, 1)
    points[:, 1:] += 0.01 * torch.randn(2, 2, *own.shape[1:], generator=generator).double()
    points[1, 2, :10] += 0.5
    points[0, :, 0, 0] = own[0, 0, 0]
    poses = _AT_ORIGIN.repeat(2, 1, 1)
    points.requires_grad_()
    both = segment_clip(points, own_time=0, world_from_camera=poses)
    for i in range(2):
        alone = segment_clip(points[i], own_time=0, world_from_camera=poses[i])
        torch.testing.assert_close(both.probability[i], alone.probability)
    (both.probability.sum() + both.displacement.sum()).backward()
    assert points.grad.isfinite().all()
    assert points.grad[1, 2, :10].abs().max() > 0
