"""Rigid motions of things and their boxes: closed forms, engine truth, noise, outliers, lines."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.errors import InputError
from dynapoint.reductions.boxes import box_corners, fit_box
from dynapoint.reductions.rigid_objects import RigidObject, rigid_object
from exact_pairs import exact_clip, turn_between_deg

_TIMES = 5


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _motions(seed: int, *, scaled: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Rigid motions from time 0 to every time, and scales."""
    generator = np.random.default_rng(seed)
    matrix = torch.eye(4, dtype=torch.float64).repeat(_TIMES, 1, 1)
    for t in range(1, _TIMES):
        turn = Rotation.from_rotvec(generator.normal(size=3) * 0.7)
        matrix[t, :3, :3] = torch.from_numpy(turn.as_matrix())
        matrix[t, :3, 3] = torch.from_numpy(generator.normal(size=3) * 2)
    scale = torch.ones(_TIMES, dtype=torch.float64)
    if scaled:
        scale[1:] = torch.from_numpy(generator.uniform(0.5, 2, _TIMES - 1))
    return matrix, scale


def _moved(points: torch.Tensor, matrix: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    turned = points @ matrix[:, :3, :3].transpose(1, 2)
    return scale[:, None, None] * turned + matrix[:, None, :3, 3]


def _block(count: int = 400, seed: int = 0) -> torch.Tensor:
    """Points on the surface of a block of 3 x 2 x 1 about (0, 0, 6), its corners among them."""
    generator = np.random.default_rng(seed)
    size = np.array([3.0, 2, 1])
    inner = generator.uniform(-0.5, 0.5, (count, 3))
    inner[np.arange(count), generator.integers(3, size=count)] = generator.choice(
        [-0.5, 0.5], count
    )
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), -1).reshape(-1, 3)
    return torch.from_numpy(np.concatenate([corners, inner]) * size + [0, 0, 6])


def _fit(points: torch.Tensor, **options: bool) -> RigidObject:
    return rigid_object(
        points, torch.ones(points.shape[:2], dtype=points.dtype), source_time=0, **options
    )


def _angle(found: RigidObject, matrix: torch.Tensor) -> torch.Tensor:
    return turn_between_deg(found.target_from_source[:, :3, :3], matrix[:, :3, :3])


@pytest.mark.parametrize("scaled", [False, True])
def test_exact_motions_are_found_exactly(scaled: bool) -> None:
    matrix, scale = _motions(1, scaled=scaled)
    points = _moved(_block(), matrix, scale)
    found = _fit(points, fit_scale=scaled)
    torch.testing.assert_close(found.target_from_source, matrix, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.scale, scale, rtol=1e-9, atol=0)
    assert found.residual.max() < 1e-9 and found.relative_residual.max() < 1e-9
    assert found.inlier.all() and found.determined.all() and found.inlier_share.eq(1).all()


def test_the_box_holds_the_block_and_follows_it() -> None:
    matrix, scale = _motions(2, scaled=True)
    block = _block()
    found = _fit(_moved(block, matrix, scale), fit_scale=True)
    size = torch.tensor([3.0, 2, 1], dtype=torch.float64)
    torch.testing.assert_close(found.box_size, scale[:, None] * size)
    centre = _moved(block[:8].mean(0, keepdim=True), matrix, scale)[:, 0]
    torch.testing.assert_close(found.box_centre, centre)
    corners = _moved(block[:8], matrix, scale)
    distance = torch.cdist(found.box_corners, corners)
    assert distance.min(dim=1).values.max() < 1e-8 and distance.min(dim=2).values.max() < 1e-8
    unit = found.box_axes @ found.box_axes.transpose(1, 2)
    torch.testing.assert_close(unit, torch.eye(3, dtype=unit.dtype).expand_as(unit))
    assert torch.linalg.det(found.box_axes).min() > 0.999
    # Corner 4i + 2j + k: its offset from the centre along side 0 is that of i.
    offset = (found.box_corners - found.box_centre[:, None]) @ found.box_axes.transpose(1, 2)
    sign = torch.tensor([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    torch.testing.assert_close(offset, sign * found.box_size[:, None] / 2)


@pytest.mark.parametrize("coherent", [False, True])
def test_forty_percent_of_outliers_do_no_harm(coherent: bool) -> None:
    matrix, scale = _motions(3)
    clean = _moved(_block(1500), matrix, scale)
    out = torch.rand(clean.shape[1], generator=_generator(1)) < 0.4
    other, _ = _motions(4)
    wrong = (
        _moved(clean[0], other, scale)
        if coherent
        else clean + 3 * torch.randn(clean.shape, generator=_generator(2), dtype=clean.dtype)
    )
    points = torch.where(out[:, None] & (torch.arange(_TIMES) > 0)[:, None, None], wrong, clean)
    found = _fit(points)
    torch.testing.assert_close(found.target_from_source, matrix, rtol=0, atol=1e-9)
    assert torch.equal(found.inlier[1:], (~out).expand(_TIMES - 1, -1))
    noisy = points + 0.01 * torch.randn(points.shape, generator=_generator(3), dtype=points.dtype)
    found = _fit(noisy)
    assert _angle(found, matrix).max() < 0.1
    assert (found.target_from_source - matrix)[:, :3, 3].norm(dim=-1).max() < 0.01
    assert found.inlier[1:, ~out].double().mean() > 0.98
    assert found.inlier[1:, out].double().mean() < 0.05
    # Noise of .01 at both times in x, y and z.
    torch.testing.assert_close(
        found.residual[1:], torch.full((4,), 0.0245).double(), rtol=0.1, atol=0
    )
    torch.testing.assert_close(
        found.box_size[0], torch.tensor([3.0, 2, 1]).double(), rtol=0.1, atol=0
    )


def test_engine_bodies_move_rigidly_to_a_millionth() -> None:
    checked = 0
    for seed in (3, 4):
        clip = exact_clip(seed, frames=4, image_hw=(72, 96))
        order = torch.arange(4)[None]
        truth = clip.truth(order, order)
        instance = clip.instance(order)[0]
        for i in (1,):
            for body in instance[i][truth.moving[0, i]].unique():
                mask = instance[i] == body
                points = truth.points[0, :, i][:, mask]
                if len(points[0]) < 50:
                    continue
                found = rigid_object(points, torch.ones(points.shape[:2]), source_time=i)
                # Spans between points tell without a fit whether a body is rigid.
                some = points[:, :: max(1, points.shape[1] // 50)].double()
                spans = torch.cdist(some, some)
                if (spans - spans[i]).abs().max() > 1e-5 * spans.max():
                    continue
                checked += 1
                assert found.relative_residual.max() < 1e-5
                assert found.residual.max() < 2e-6 * points.abs().max()
                assert found.inlier_share.min() > 0.99
                inside = (points - found.box_centre[:, None]) @ found.box_axes.transpose(1, 2)
                excess = inside.abs() - found.box_size[:, None] / 2
                assert (excess <= 1e-4 * found.box_size.max()).all(-1).double().mean() > 0.95
    assert checked >= 2


def test_without_motion_nothing_moves() -> None:
    still = _block().expand(_TIMES, -1, -1)
    found = _fit(still, fit_scale=True)
    eye = torch.eye(4, dtype=torch.float64).expand(_TIMES, 4, 4)
    torch.testing.assert_close(found.target_from_source, eye, rtol=0, atol=1e-12)
    assert found.residual.max() < 1e-12 and found.determined.all()
    torch.testing.assert_close(found.box_corners, found.box_corners[:1].expand(_TIMES, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_answers_repeat(dtype: torch.dtype) -> None:
    points = _moved(_block(), *_motions(5)).to(dtype)
    first, second = _fit(points), _fit(points)
    for field in fields(RigidObject):
        value = getattr(first, field.name)
        assert torch.equal(value, getattr(second, field.name))
        assert value.dtype == (torch.bool if field.name in ("inlier", "determined") else dtype)
    assert _angle(first, _motions(5)[0]).max() < 1e-3


def test_points_of_a_plane_determine_a_motion_and_a_flat_box() -> None:
    matrix, scale = _motions(6)
    flat = torch.rand(300, 3, generator=_generator(4), dtype=torch.float64) * torch.tensor(
        [4, 1, 0]
    )
    flat[:4, :2] = torch.tensor([[0.0, 0], [4, 0], [0, 1], [4, 1]])
    tilt = torch.from_numpy(Rotation.from_rotvec([0.4, -1, 0.3]).as_matrix())
    found = _fit(_moved(flat @ tilt.T + 3, matrix, scale))
    torch.testing.assert_close(found.target_from_source, matrix, rtol=0, atol=1e-9)
    assert found.determined.all()
    expected = torch.tensor([4.0, 1, 0]).double()
    torch.testing.assert_close(found.box_size[0], expected, rtol=0, atol=1e-6)


def test_points_of_a_line_turn_as_little_as_they_can() -> None:
    along = torch.linspace(0, 2, 40, dtype=torch.float64)[:, None]
    line = along * torch.tensor([[0.6, 0.0, 0.8]])
    turn = torch.from_numpy(Rotation.from_rotvec([0, 0.5, 0]).as_matrix())
    moved = torch.stack([line, line + 1, line @ turn.T])
    found = _fit(moved)
    assert not found.determined.any()
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(found.target_from_source[:2, :3, :3], eye.expand(2, 3, 3))
    # The line turns about y, at a right angle to it, and nothing about itself.
    torch.testing.assert_close(found.target_from_source[2, :3, :3], turn, rtol=0, atol=1e-3)
    assert found.residual.max() < 1e-9
    torch.testing.assert_close(
        found.box_size[0], torch.tensor([2.0, 0, 0]).double(), atol=1e-6, rtol=0
    )


def test_one_two_and_three_points_are_answered() -> None:
    matrix, scale = _motions(7)
    points = _moved(_block()[:3], matrix, scale)
    three = _fit(points)
    torch.testing.assert_close(three.target_from_source, matrix, rtol=0, atol=1e-9)
    assert three.determined.all()
    two = _fit(points[:, :2])
    assert not two.determined.any() and two.residual.max() < 1e-9
    assert two.box_size[0, 1:].max() < 1e-9
    one = _fit(points[:, :1])
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(one.target_from_source[:, :3, :3], eye.expand(_TIMES, 3, 3))
    torch.testing.assert_close(one.box_centre, points[:, 0])
    assert one.box_size.eq(0).all() and not one.determined.any()


def test_points_in_one_place_are_answered() -> None:
    found = _fit(torch.ones(_TIMES, 30, 3), fit_scale=True)
    eye = torch.eye(4).expand(_TIMES, 4, 4)
    torch.testing.assert_close(found.target_from_source, eye)
    # Sums of thirty ones over thirty are one up to rounding, which differs between processors.
    assert found.residual.abs().max() < 1e-12 and found.relative_residual.abs().max() < 1e-6
    assert not found.determined.any() and found.box_size.abs().max() < 1e-6


def test_unusable_points_and_times_are_left_out() -> None:
    matrix, scale = _motions(8)
    points = _moved(_block(), matrix, scale)
    confidence = torch.ones(points.shape[:2])
    spoilt = points.clone()
    spoilt[2, :50], spoilt[3, 60, 1], confidence[1, :30] = torch.nan, torch.inf, 0
    spoilt[1, :30] = 99
    confidence[4] = 0
    found = rigid_object(spoilt, confidence, source_time=0)
    torch.testing.assert_close(found.target_from_source[:4], matrix[:4], rtol=0, atol=1e-9)
    assert not found.inlier[2, :50].any() and not found.inlier[1, :30].any()
    assert not found.inlier[3, 60] and found.inlier_share[:4].eq(1).all()
    assert found.target_from_source[4].isnan().all() and found.box_corners[4].isnan().all()
    assert found.inlier_share[4] == 0 and not found.determined[4] and not found.inlier[4].any()


def test_a_thing_without_any_point_has_no_motion_and_no_box() -> None:
    for points in (torch.ones(_TIMES, 30, 3), torch.ones(_TIMES, 0, 3)):
        found = rigid_object(points, torch.zeros(points.shape[:2]), source_time=1)
        assert found.target_from_source.isnan().all() and found.box_size.isnan().all()
        assert not found.inlier.any() and found.inlier_share.eq(0).all()


def test_a_time_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="0 to 4"):
        rigid_object(torch.ones(_TIMES, 3, 3), torch.ones(_TIMES, 3), source_time=5)


@pytest.mark.parametrize("seed", range(4))
def test_the_box_of_two_or_three_seen_sides_is_that_of_the_block(seed: int) -> None:
    generator = np.random.default_rng(seed)
    inner = generator.uniform(0, 1, (600, 3))
    inner[np.arange(600), generator.integers(2 + seed % 2, size=600)] = 0
    ends = np.stack(np.meshgrid(*[[0.0, 1]] * 3), -1).reshape(-1, 3)
    seen = np.concatenate([ends[(ends[:, : 2 + seed % 2] == 0).any(1)], inner]) * [3, 2, 1]
    turn = Rotation.random(random_state=seed).as_matrix()
    box = fit_box(seen @ turn.T * 1e-3 + 5)
    np.testing.assert_allclose(box.size, np.array([3, 2, 1]) * 1e-3, rtol=1e-4)
    np.testing.assert_allclose(np.abs(box.axes @ turn), np.eye(3), atol=1e-3)
    corners = box_corners(box.centre, box.axes, box.size)
    np.testing.assert_allclose(corners.mean(0), box.centre)


def test_no_turned_box_around_a_cloud_is_much_smaller() -> None:
    points = np.random.default_rng(9).normal(size=(300, 3)) * [2, 1, 0.5]
    points /= np.linalg.norm(points / [2, 1, 0.5], axis=1, keepdims=True)
    box = fit_box(points)

    def surface(size: np.ndarray) -> np.ndarray:
        return (
            size[..., 0] * size[..., 1] + size[..., 1] * size[..., 2] + size[..., 2] * size[..., 0]
        )

    turns = Rotation.random(4_000, random_state=0).as_matrix()
    others = surface(np.ptp(points @ turns.swapaxes(1, 2), axis=1))
    assert surface(box.size) <= others.min() * 1.01
    assert (np.abs((points - box.centre) @ box.axes.T) <= box.size / 2 + 1e-9).all()


def test_stray_points_do_not_make_the_box_larger() -> None:
    block = _block(3000).numpy()
    stray = np.array([[30.0, 0, 6], [0, 40, 6], [-9, 2, 50]])
    np.testing.assert_allclose(fit_box(np.concatenate([block, stray])).size, [3, 2, 1], rtol=1e-9)
