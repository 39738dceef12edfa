"""Fusion: each piece of surface once, exactly where the maps put it, movers at one time."""

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from dynapoint.errors import ConfigError
from dynapoint.reductions.fusion import FusedCloud, fuse, sample_spacing
from exact_pairs import exact_clip

_FRAMES = 4


@pytest.fixture(scope="module")
def truth():
    clip = exact_clip(1_000_000_061, frames=_FRAMES, image_hw=(48, 64))
    order = torch.arange(_FRAMES)[None]
    return clip.truth(order, order), clip.images[0]


def _random_maps(seed, shape=(3, 10, 12), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(*shape, 3, generator=generator, dtype=dtype)
    confidence = torch.rand(*shape, generator=generator, dtype=dtype) + 0.1
    colors = torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8)
    return points, confidence, colors


def _by_hand(points, confidence, colors, size):
    """What each voxel holds, one voxel after another, in a dictionary."""
    flat, weight = points.flatten(0, 2).double().numpy(), confidence.flatten().numpy()
    usable = np.isfinite(flat).all(1) & (weight > 0)
    corner = flat[usable].min(axis=0)
    voxels = {}
    for index in np.flatnonzero(usable):
        key = tuple(int(v) for v in np.floor((flat[index] - corner) / size))
        voxels.setdefault(key, []).append(index)
    found = []
    for key in sorted(voxels):
        members = np.array(voxels[key])
        share = weight[members] / weight[members].sum()
        mean = share @ flat[members]
        nearest = members[np.argmin(((flat[members] - mean) ** 2).sum(axis=1))]
        color = np.round(share @ colors.flatten(0, 2).numpy()[members].astype(float))
        frames = {int(m) // (points.shape[1] * points.shape[2]) for m in members}
        found.append((nearest, weight[members].sum(), color, frames))
    return found


@pytest.mark.parametrize("size", [0.3, 1.0, 40.0])
def test_every_voxel_holds_what_a_loop_finds(size):
    points, confidence, colors = _random_maps(1)
    confidence[0, :4] = 0
    points[1, 2, 3, 1] = torch.nan
    points[2, 5, 5, 0] = torch.inf
    cloud = fuse(points, confidence, colors, voxel_size=size)
    wanted = _by_hand(points, confidence, colors, size)
    assert len(cloud.points) == len(wanted)
    pixel = (cloud.frame * 10 + cloud.row) * 12 + cloud.column
    assert pixel.tolist() == [nearest for nearest, *_ in wanted]
    assert torch.equal(cloud.points, points.flatten(0, 2)[pixel])
    np.testing.assert_allclose(cloud.confidence, [total for _, total, *_ in wanted], rtol=1e-12)
    assert np.array_equal(cloud.colors, np.stack([color for *_, color, _ in wanted]))
    assert [set(row.nonzero()[:, 0].tolist()) for row in cloud.seen] == [f for *_, f in wanted]
    assert torch.equal(cloud.frame_count, cloud.seen.sum(dim=1))


def test_a_true_cloud_lies_on_the_surfaces_and_repeats_none(truth):
    sample, images = truth
    for time in range(_FRAMES):
        points, confidence = sample.points[0, time], sample.valid[0].float()
        cloud = fuse(points, confidence, images)
        assert torch.equal(points[cloud.frame, cloud.row, cloud.column], cloud.points)
        used = points[sample.valid[0]].double()
        voxel = ((cloud.points.double() - used.amin(dim=0)) / cloud.voxel_size).floor()
        assert len(torch.unique(voxel, dim=0)) == len(voxel)
        assert float(cloud.confidence.sum()) == float(confidence.sum())
        # Frames that overlap share points, and no surface is left out.
        assert len(cloud.points) < 0.7 * len(used)
        gap = KDTree(cloud.points).query(used)[0]
        assert gap.max() <= cloud.voxel_size * 3**0.5


def test_a_mover_is_in_one_place_at_one_time_and_smeared_at_own_times(truth):
    sample, images = truth
    moving = sample.moving[0].float()
    assert moving.sum() > 200
    own = torch.stack([sample.points[0, i, i] for i in range(_FRAMES)])

    def stray(points):
        """How far fused movers lie from those that the frame of time 0 sees, and it alone."""
        cloud = fuse(points, moving, images, voxel_size=0.01)
        visible = sample.visible[0, 0][cloud.frame, cloud.row, cloud.column]
        there = sample.points[0, 0, 0][sample.moving[0, 0]]
        return np.quantile(KDTree(there).query(cloud.points[visible])[0], 0.9)

    spacing = sample_spacing(sample.points[0, 0], moving)
    assert stray(sample.points[0, 0]) < 2 * spacing
    assert stray(own) > 4 * spacing


def test_the_background_alone_comes_from_maps_at_own_times(truth):
    sample, images = truth
    own = torch.stack([sample.points[0, i, i] for i in range(_FRAMES)])
    confidence = sample.valid[0].float()
    still = torch.where(sample.moving[0], 0.2, 0.8)
    cloud = fuse(own, confidence, images, still=still)
    assert not sample.moving[0][cloud.frame, cloud.row, cloud.column].any()
    at_start = fuse(sample.points[0, 0], confidence, images, still=still)
    # What stands still is at one place at all times, up to rounding across voxels' faces.
    assert abs(len(cloud.points) - len(at_start.points)) < 0.02 * len(cloud.points)
    still = float((confidence * ~sample.moving[0]).sum())
    assert float(cloud.confidence.sum()) == pytest.approx(0.8 * still, rel=1e-4)


def test_a_frame_that_saw_a_place_is_counted_there(truth):
    sample, images = truth
    # With voxels as large as the scene there is one point, seen by all.
    cloud = fuse(sample.points[0, 0], sample.valid[0].float(), images, voxel_size=1e4)
    assert cloud.seen.tolist() == [[True] * _FRAMES] and cloud.frame_count.tolist() == [_FRAMES]
    # With voxels so small that none is shared, each is seen by the frame that its point is of.
    cloud = fuse(sample.points[0, 0], sample.valid[0].float(), images, voxel_size=1e-6)
    alone = cloud.frame_count == 1
    assert alone.float().mean() > 0.9
    assert torch.equal(cloud.seen[alone].int().argmax(dim=1), cloud.frame[alone])


@pytest.mark.parametrize("most", [1, 2, 50, 333])
def test_thinning_keeps_at_most_so_many_points_and_not_far_fewer(most):
    points, confidence, colors = _random_maps(2, (4, 30, 40))
    cloud = fuse(points, confidence, colors, voxel_size=1e-3, max_points=most)
    assert len(cloud.points) <= most
    assert len(cloud.points) >= 0.5 * most
    assert float(cloud.confidence.sum()) == pytest.approx(float(confidence.sum()))
    again = fuse(points, confidence, colors, voxel_size=cloud.voxel_size)
    assert torch.equal(again.points, cloud.points)


def test_the_default_voxel_does_not_depend_on_scale():
    points, confidence, colors = _random_maps(3)
    small, large = (fuse(points * scale, confidence, colors) for scale in (2.0**-10, 2.0**10))
    assert torch.equal(small.points * 2**20, large.points)
    assert small.voxel_size * 2**20 == large.voxel_size


def test_the_same_maps_give_the_same_cloud_and_gradients_reach_its_points():
    points, confidence, colors = _random_maps(4)
    first, second = (fuse(points, confidence, colors, voxel_size=0.5) for _ in range(2))
    for name in FusedCloud.__dataclass_fields__:
        left, right = getattr(first, name), getattr(second, name)
        assert left == right if isinstance(left, float) else torch.equal(left, right)
    points.requires_grad_()
    cloud = fuse(points, confidence, colors, voxel_size=0.5)
    cloud.points.sum().backward()
    wanted = torch.zeros(points.shape[:3], dtype=torch.float64)
    wanted[cloud.frame, cloud.row, cloud.column] = 1
    assert torch.equal(points.grad, wanted[..., None].expand_as(points))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_at_the_end_of_the_world_do_not_upset_the_others(dtype):
    points, confidence, colors = _random_maps(5, dtype=dtype)
    plain = fuse(points[:, :, 1:], confidence[:, :, 1:], colors[:, :, 1:], voxel_size=0.5)
    points[:, :, 0] = torch.tensor([3e30, 2e37, 1e12], dtype=dtype)
    cloud = fuse(points, confidence, colors, voxel_size=0.5)
    assert cloud.points.dtype == dtype and cloud.confidence.dtype == dtype
    far = cloud.points.norm(dim=1) > 1e3
    assert int(far.sum()) == 1
    assert torch.equal(cloud.points[~far].sort(dim=0).values, plain.points.sort(dim=0).values)
    assert float(cloud.confidence.sum()) == pytest.approx(float(confidence.sum()), rel=1e-5)


@pytest.mark.parametrize("most", [None, 5])
def test_nothing_to_fuse_gives_an_empty_cloud(most):
    points, confidence, colors = _random_maps(6)
    for empty in (
        fuse(points, confidence * 0, colors, max_points=most),
        fuse(points * torch.nan, confidence, colors, max_points=most),
        fuse(points, confidence, colors, still=confidence * 0, max_points=most),
    ):
        assert empty.points.shape == (0, 3) and empty.seen.shape == (0, 3)
        assert empty.colors.dtype == torch.uint8 and empty.voxel_size > 0


def test_two_points_and_points_all_in_one_place():
    points, confidence, colors = _random_maps(7)
    two = torch.zeros_like(confidence)
    two[0, 0, 0], two[2, 9, 11] = 1, 3
    cloud = fuse(points, two, colors)
    assert cloud.confidence.sort().values.tolist() == [1, 3]
    assert torch.equal(cloud.seen.sum(dim=0), torch.tensor([1, 0, 1]))
    same = fuse(torch.ones_like(points), confidence, colors)
    assert len(same.points) == 1 and same.frame_count.tolist() == [3]
    assert same.points.tolist() == [[1, 1, 1]]


def test_colors_keep_their_kind():
    points, confidence, colors = _random_maps(8)
    whole = fuse(points, confidence, colors, voxel_size=1.0)
    real = fuse(points, confidence, colors.float() / 255, voxel_size=1.0)
    assert whole.colors.dtype == torch.uint8 and real.colors.dtype == torch.float32
    np.testing.assert_allclose(real.colors * 255, whole.colors.float(), atol=0.51)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_sizes_that_make_no_sense_are_refused(size):
    points, confidence, colors = _random_maps(9)
    with pytest.raises(ConfigError, match="voxel_size"):
        fuse(points, confidence, colors, voxel_size=size)
    with pytest.raises(ConfigError, match="max_points"):
        fuse(points, confidence, colors, max_points=0)


def test_maps_need_not_lie_in_one_piece_of_memory():
    points, confidence, colors = _random_maps(10)
    whole, pieces = (fuse(given, confidence, colors) for given in (points, list(points)))
    for name in FusedCloud.__dataclass_fields__:
        left, right = getattr(whole, name), getattr(pieces, name)
        assert left == right if isinstance(left, float) else torch.equal(left, right)


def test_distances_that_overflow_leave_every_voxel_a_point_of_its_own():
    points, confidence, colors = _random_maps(11)
    points[0, 0], points[1, 0] = 1e200, -1e200
    cloud = fuse(points, confidence, colors, voxel_size=0.5)
    assert torch.equal(points[cloud.frame, cloud.row, cloud.column], cloud.points)
    assert float(cloud.confidence.sum()) == pytest.approx(float(confidence.sum()))
    assert sorted(set(cloud.points[:, 0].abs().tolist()))[-1] == 1e200
