"""Moving objects as masks: built scenes with known objects, and the bodies of the data engine."""

import pytest
import torch

from dynapoint.errors import InputError
from dynapoint.reductions.instances import MovingObjects, moving_objects, moving_regions
from dynapoint.reductions.segmentation import segment_clip
from exact_pairs import exact_clip

_AT_ORIGIN = torch.eye(4, dtype=torch.float64)
_HW = (40, 60)
_LENS = torch.tensor([[60.0, 0, 30], [0, 60, 20], [0, 0, 1]], dtype=torch.float64)
_VIEW = {"world_from_camera": _AT_ORIGIN, "intrinsics": _LENS}


def _wall() -> torch.Tensor:
    """A wall four units away, seen at (40, 60) pixels."""
    height, width = _HW
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    rays = torch.stack([(x - 30) / 60, (y - 20) / 60, torch.ones_like(x)], dim=-1)
    return 4 * rays.double()


def _box(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    mask = torch.zeros(_HW, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def _clip(things: list[tuple[torch.Tensor, list[float], float]], times: int = 4) -> torch.Tensor:
    """Points at all times of masks at a share of the wall's depth that move by so much a time."""
    points = _wall()[None].repeat(times, 1, 1, 1)
    for mask, velocity, nearness in things:
        points[:, mask] *= nearness
        for time in range(times):
            points[time, mask] += time * torch.tensor(velocity, dtype=torch.float64)
    return points


def _regions(points: torch.Tensor, **options) -> tuple[torch.Tensor, torch.Tensor]:
    found = segment_clip(points, own_time=0, world_from_camera=_AT_ORIGIN)
    regions = moving_regions(
        points, found.probability, own_time=0, world_from_camera=_AT_ORIGIN, **options
    )
    return regions.region, regions.score


def test_objects_are_told_apart_by_place_and_by_motion():
    big, beside, far = _box(5, 35, 5, 20), _box(5, 35, 20, 28), _box(10, 20, 45, 50)
    points = _clip([(big, [0.2, 0, 0], 0.6), (beside, [0, 0.2, 0], 0.6), (far, [0.2, 0.1, 0], 0.9)])
    region, score = _regions(points)
    expected = 1 * big + 2 * beside + 3 * far
    assert torch.equal(region, expected.long())
    assert (score > 0.99).all()
    assert score.dtype == torch.float64


def test_a_turning_thing_is_one_and_its_still_axis_is_in_it():
    disc = _wall()[..., :2].norm(dim=-1) < 1.0
    points = _wall()[None].repeat(3, 1, 1, 1)
    for time, angle in enumerate((0.0, 0.3, 0.6)):
        turn = torch.tensor(
            [
                [torch.tensor(angle).cos(), -torch.tensor(angle).sin(), 0],
                [torch.tensor(angle).sin(), torch.tensor(angle).cos(), 0],
                [0, 0, 1],
            ],
            dtype=torch.float64,
        )
        points[time, disc] = points[time, disc] @ turn.T
    region, score = _regions(points)
    assert torch.equal(region > 0, disc)
    assert len(score) == 1


def test_what_something_passes_in_front_of_stays_one_and_others_stay_apart():
    body, post, other = _box(10, 30, 5, 40), _box(0, 40, 20, 24), _box(10, 30, 45, 55)
    points = _clip(
        [
            (body & ~post, [0.1, 0.05, 0], 0.7),
            (other, [0.1, -0.05, 0], 0.7),
            (post, [0, 0, 0], 0.3),
        ]
    )
    region, score = _regions(points)
    assert torch.equal(region == 1, body & ~post)
    assert torch.equal(region == 2, other)
    assert len(score) == 2
    # The same motion far away is another thing.
    far = _box(15, 18, 55, 58)
    points = _clip([(_box(10, 20, 5, 10), [0.1, 0, 0], 0.7), (far, [0.1, 0, 0], 0.7)])
    assert len(_regions(points)[1]) == 2


def test_noise_and_outliers_change_little():
    generator = torch.Generator().manual_seed(0)
    first, second = _box(5, 35, 5, 25), _box(8, 30, 35, 52)
    points = _clip([(first, [0.3, 0, 0.1], 0.6), (second, [0, -0.3, 0], 0.7)])
    noise = 0.002 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    points = points * (1 + noise)
    wild = torch.rand(_HW, generator=generator) < 0.02
    points[2, wild] += 3 * torch.randn(int(wild.sum()), 3, generator=generator).double()
    region, score = _regions(points, least_share=0.01)
    assert len(score) == 2
    for number, mask in ((1, first), (2, second)):
        assert ((region == number) & mask).sum() > 0.95 * (mask & ~wild).sum()
        assert ((region == number) & ~mask).sum() == 0


def test_small_regions_are_dropped_and_unusable_pixels_belong_to_none():
    points = _clip([(_box(5, 25, 5, 25), [0.2, 0, 0], 0.6), (_box(30, 32, 40, 42), [0, 0.3, 0], 1)])
    assert len(_regions(points)[1]) == 2
    assert len(_regions(points, least_share=0.002)[1]) == 1
    found = segment_clip(points, own_time=0, world_from_camera=_AT_ORIGIN)
    confidence = torch.ones(points.shape[:3], dtype=torch.float64)
    confidence[0, :10] = 0.0
    confidence[2, 10:15] = 0.0
    points[0, :10] = torch.nan
    points[2, 10:15] = torch.inf
    regions = moving_regions(
        points,
        found.probability,
        own_time=0,
        world_from_camera=_AT_ORIGIN,
        confidence=confidence,
        least_share=0.002,
    )
    assert torch.equal(regions.region > 0, _box(10, 25, 5, 25))
    assert len(regions.score) == 1


def test_scaling_the_scene_changes_no_region():
    things = [(_box(5, 35, 5, 20), [0.2, 0, 0], 0.6), (_box(5, 35, 20, 28), [0, 0.2, 0], 0.6)]
    plain = _regions(_clip(things))[0]
    assert plain.max() == 2
    for scale in (1e-4, 1e4):
        assert torch.equal(_regions(scale * _clip(things))[0], plain)


def test_degenerate_inputs_have_defined_answers():
    still = _wall()[None].repeat(2, 1, 1, 1)
    nowhere = torch.full_like(still, torch.nan)
    for points in (still, nowhere):
        region, score = _regions(points)
        assert (region == 0).all()
        assert len(score) == 0
    none = moving_objects(
        torch.zeros(2, 4, 5).long(), torch.zeros(2, 4, 5, 3), torch.zeros(2, 4, 5), **_VIEW
    )
    assert (none.instance == 0).all()
    assert len(none.score) == len(none.pixels) == 0
    two = _clip([(_box(3, 4, 3, 5), [1.0, 0, 0], 0.5)])
    region, score = _regions(two, least_share=0.0)
    assert torch.equal(region == 1, _box(3, 4, 3, 5))
    assert len(score) == 1
    with pytest.raises(InputError, match="own_time is 5"):
        moving_regions(still, torch.ones(_HW).double(), own_time=5, world_from_camera=_AT_ORIGIN)


def _shifted_frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Regions and common-time points of three frames, numbered differently in each of them."""
    things = [(_box(5, 30, 5, 25), 0.6), (_box(10, 30, 40, 52), 0.6)]
    region, points = torch.zeros(3, *_HW).long(), _wall()[None].repeat(3, 1, 1, 1)
    for frame in range(3):
        for number, (mask, nearness) in enumerate(things):
            # Objects have moved in the image, but at the common time they are in one place.
            seen = mask.roll(2 * frame, dims=1)
            region[frame][seen] = 1 + (number + frame) % 2
            points[frame][seen] = nearness * _wall()[mask]
    return region, points


def test_ids_stay_with_objects_over_frames_and_go_by_size():
    region, points = _shifted_frames()
    found = moving_objects(region, points, torch.full((3, *_HW), 0.8, dtype=torch.float64), **_VIEW)
    assert found.pixels.tolist() == [3 * 500, 3 * 240]
    for frame in range(3):
        assert torch.equal(found.instance[frame] == 1, _box(5, 30, 5, 25).roll(2 * frame, 1))
        assert torch.equal(found.instance[frame] == 2, _box(10, 30, 40, 52).roll(2 * frame, 1))
    torch.testing.assert_close(found.score, torch.full((2,), 0.8, dtype=torch.float64))


def test_objects_in_different_places_or_one_frame_are_never_one():
    region, points = _shifted_frames()
    moving = (region > 0).double()
    points[1] += 100.0
    found = moving_objects(region, points, moving, **_VIEW)
    assert len(found.pixels) == 4
    assert found.pixels.sum() == 3 * 740
    halves = torch.where(_box(0, 40, 0, 15) & (region[0] == 1), 3, region[0])
    split = moving_objects(
        torch.stack([halves, region[1]]),
        points[:1].repeat(2, 1, 1, 1),
        moving[:2],
        **_VIEW,
    )
    assert len(split.pixels) == 3
    nowhere = torch.zeros(3, *_HW).double()
    unusable = moving_objects(region, points, moving, confidence=nowhere, **_VIEW)
    assert len(unusable.pixels) == 6


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_objects_may_be_apart_by_what_still_maps_disagree(scale):
    region, points = _shifted_frames()
    moving = (region > 0).double()
    # Objects of 25 and 20 pixels that are 22 pixels apart from frame to frame are others.
    shift = torch.tensor([0, 0.88, 0]).double()
    for frame in range(3):
        points[frame][moving[frame] > 0] += frame * shift
    assert len(moving_objects(region, scale * points, moving, **_VIEW).pixels) == 6
    region, points = _shifted_frames()
    # A frame that puts everything 20 % farther along the ray leaves all in place in the image.
    points[1] *= 1.2
    found = moving_objects(region, scale * points, moving, **_VIEW)
    assert found.pixels.tolist() == [3 * 500, 3 * 240]
    # The same of the objects alone is another place behind the first.
    region, points = _shifted_frames()
    points[1][moving[1] > 0] *= 1.5
    found = moving_objects(region, scale * points, moving, **_VIEW)
    assert sorted(found.pixels.tolist()) == [240, 480, 500, 1000]


def test_what_one_frame_alone_finds_is_dropped_if_small_or_unsure():
    region, points = _shifted_frames()
    moving = (region > 0).double()
    alone = {
        "small": _box(36, 38, 50, 54),
        "large": _box(33, 38, 2, 20),
        "unsure": _box(2, 9, 30, 38),
    }
    for number, mask in enumerate(alone.values()):
        region[1][mask] = 3 + number
        moving[1][mask] = 1.0
    moving[1][alone["unsure"]] = 0.6
    found = moving_objects(region, points, moving, **_VIEW)
    assert found.pixels.tolist() == [3 * 500, 3 * 240, 90]
    for name, mask in alone.items():
        assert bool((found.instance[1][mask] > 0).all()) == (name == "large")
    # Of two frames none can outvote the other.
    assert len(moving_objects(region[:2], points[:2], moving[:2], **_VIEW).pixels) == 5


def test_specks_in_several_frames_are_dropped():
    region, points = _shifted_frames()
    moving = (region > 0).double()
    # .05 % of three frames are 3.6 pixels.
    for mask, frames in ((_box(36, 37, 2, 4), (0, 1)), (_box(36, 37, 40, 42), (0, 1, 2))):
        for frame in frames:
            region[frame][mask] = 3 + len(frames)
            moving[frame][mask] = 1.0
    found = moving_objects(region, points, moving, **_VIEW)
    assert found.pixels.tolist() == [3 * 500, 3 * 240, 3 * 2, 2 * 2]
    region[1][_box(36, 37, 2, 3)] = 0
    found = moving_objects(region, points, moving, **_VIEW)
    assert found.pixels.tolist() == [3 * 500, 3 * 240, 3 * 2]


def test_points_behind_the_camera_join_nothing():
    region, points = _shifted_frames()
    found = moving_objects(region, -points, (region > 0).double(), **_VIEW)
    assert len(found.pixels) == 6


def _objects(seed: int, noise: float) -> tuple[MovingObjects, torch.Tensor]:
    """Found objects of an engine clip and the true bodies: 0 still, else their number."""
    frames = 4
    clip = exact_clip(seed, frames=frames, image_hw=(96, 128))
    order = torch.arange(frames)[None]
    truth, instance = clip.truth(order, order), clip.instance(order)[0]
    generator = torch.Generator().manual_seed(seed)
    points, poses = truth.points[0], clip.world_from_camera[0].float()
    points = points + noise * torch.randn(points.shape, generator=generator) * points.norm(
        dim=-1, keepdim=True
    )
    regions, probability = [], []
    for frame in range(frames):
        own = points[:, frame]
        moved = segment_clip(own, own_time=frame, world_from_camera=poses[frame])
        probability.append(moved.probability)
        regions.append(
            moving_regions(
                own, moved.probability, own_time=frame, world_from_camera=poses[frame]
            ).region
        )
    found = moving_objects(
        torch.stack(regions),
        points[1],
        torch.stack(probability),
        world_from_camera=poses[1],
        intrinsics=clip.intrinsics[0, 1],
    )
    return found, torch.where(truth.moving[0], instance + 1, 0)


@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.97), (0.0002, 0.8)])
@pytest.mark.parametrize("seed", [341, 343])
def test_bodies_of_the_data_engine_are_found(seed, noise, least):
    found, body = _objects(seed, noise)
    names, sizes = body[body > 0].unique(return_counts=True)
    compared = 0
    for name, size in zip(names, sizes, strict=True):
        if size < 0.005 * body.numel():
            continue
        mask = body == name
        overlap = [
            float(((found.instance == k) & mask).sum() / ((found.instance == k) | mask).sum())
            for k in range(1, len(found.pixels) + 1)
        ]
        assert max(overlap) > least
        compared += 1
    assert compared >= 1
