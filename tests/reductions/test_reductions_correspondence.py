"""Correspondence against brute force, closed forms and the exact truth of engine clips."""

import time
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from dynapoint.geometry.pinhole import pixel_centres, project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.reductions.correspondence import Correspondence, match_pixels, match_places
from dynapoint.reductions.map_surface import _nearest_on_piece, map_surface
from exact_pairs import exact_clip

_HW = (24, 32)
_FOCAL_PX = 30.0


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _wave(xy: torch.Tensor) -> torch.Tensor:
    """Points of a gently curved surface seen at pixels."""
    depth = 3 + 0.2 * torch.sin(xy[..., 0] / 9) + 0.1 * torch.cos(xy[..., 1] / 7)
    slope = (xy - torch.tensor([_HW[1] / 2, _HW[0] / 2], dtype=xy.dtype)) / _FOCAL_PX
    return torch.cat([slope, torch.ones_like(slope[..., :1])], dim=-1) * depth[..., None]


def _plane(xy: torch.Tensor) -> torch.Tensor:
    """Points of a plane on a grid that is neither square nor rectangular; exact between pixels."""
    across = torch.tensor([[0.1, 0.02, 0.05], [-0.03, 0.15, 0.02]], dtype=xy.dtype)
    return xy @ across + torch.tensor([-1.0, -2, 5], dtype=xy.dtype)


def _grid(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return pixel_centres(_HW, dtype=dtype)


def _ones(points: torch.Tensor) -> torch.Tensor:
    return torch.ones(points.shape[:-1], dtype=points.dtype)


def _match(points_a: torch.Tensor, points_b: torch.Tensor) -> Correspondence:
    return match_pixels(points_a, _ones(points_a), points_b, _ones(points_b))


def _inner(border: int = 2) -> torch.Tensor:
    inner = torch.zeros(_HW, dtype=torch.bool)
    inner[border:-border, border:-border] = True
    return inner


@pytest.fixture(scope="module", params=[103, 104])
def pairs(request: pytest.FixtureRequest) -> list[dict[str, torch.Tensor]]:
    """Maps of two frames at the time of the second, and where the points of the first truly are."""
    clip = exact_clip(request.param, frames=4, image_hw=(72, 96))
    order = torch.arange(4)[None]
    truth = clip.truth(order, order)
    found = []
    for a, b in ((0, 1), (1, 0), (0, 3), (3, 1)):
        camera_from_world = invert_rigid(clip.world_from_camera[0, b].double())
        camera = transform_points(camera_from_world, truth.points[0, b, a].double().view(-1, 3))
        true_xy = project(camera, clip.intrinsics[0, b].double()).view(72, 96, 2)
        found.append(
            {
                "a": truth.points[0, b, a],
                "b": truth.points[0, b, b],
                "valid_a": truth.valid[0, a],
                "valid_b": truth.valid[0, b],
                "visible": truth.visible[0, b, a],
                "moving": truth.moving[0, a],
                "true_xy": true_xy,
            }
        )
    return found


def test_the_nearest_pixel_is_that_of_brute_force() -> None:
    generator = _generator(0)
    points = torch.randn(13, 17, 3, generator=generator, dtype=torch.float64)
    confidence = (torch.rand(13, 17, generator=generator) > 0.3).double()
    points[4, 5, 1], points[6, 7, 0] = torch.nan, torch.inf
    queries = torch.randn(400, 3, generator=generator, dtype=torch.float64) * 1.5
    pixel, found = map_surface(points, confidence).nearest_pixel(queries.numpy(), workers=2)
    usable = (confidence > 0) & points.isfinite().all(-1)
    distance = torch.cdist(queries, torch.where(usable[..., None], points, 1e9).view(-1, 3))
    assert found.all()
    assert torch.equal(torch.from_numpy(pixel), distance.argmin(1))


def test_the_nearest_place_of_a_piece_is_that_of_bounded_least_squares() -> None:
    generator = np.random.default_rng(1)
    offset, a, b = generator.normal(size=(3, 200, 3))
    reach_a, reach_b = generator.choice([0.5, 1.0], size=(2, 200))
    b[:20] = 0
    u, v = _nearest_on_piece(offset, a, b, reach_a, reach_b)
    assert ((u >= 0) & (u <= reach_a) & (v >= 0) & (v <= reach_b)).all()
    left = np.linalg.norm(offset - u[:, None] * a - v[:, None] * b, axis=1)
    for k in range(200):
        exact = lsq_linear(
            np.stack([a[k], b[k]], 1), offset[k], bounds=(0, [reach_a[k], reach_b[k]]), tol=1e-14
        )
        assert left[k] <= np.sqrt(2 * exact.cost) * (1 + 1e-6) + 1e-9


def test_a_plane_is_matched_exactly_between_pixels_and_half_a_pixel_beyond_them() -> None:
    xy = torch.rand(300, 2, generator=_generator(2), dtype=torch.float64)
    xy = xy * torch.tensor([_HW[1], _HW[0]])
    points = _plane(_grid())
    queries = _plane(xy).view(15, 20, 3)
    found = _match(queries, points)
    torch.testing.assert_close(found.xy_px.view(-1, 2), xy, rtol=0, atol=1e-9)
    assert found.valid.all()
    assert found.distance.max() < 1e-9


def test_distance_is_that_from_the_plane() -> None:
    points = _plane(_grid())
    normal = torch.linalg.cross(points[0, 1] - points[0, 0], points[1, 0] - points[0, 0])
    normal = normal / normal.norm()
    for height in (1e-3, 0.3):
        found = _match(points + height * normal, points)
        torch.testing.assert_close(found.distance, torch.full(_HW, height, dtype=torch.float64))
        torch.testing.assert_close(found.xy_px, _grid())
    # One frame that floats over all of another looks like noise between maps; a part does not.
    part = points.clone()
    part[:, 20:] += 0.3 * normal
    valid = _match(part, points).valid
    assert valid[:, :20].all() and not valid[:, 20:].any()


def test_engine_truth_is_matched_within_a_tenth_of_a_pixel(pairs: list[dict]) -> None:
    errors, moving = [], []
    for pair in pairs:
        found = match_pixels(pair["a"], pair["valid_a"].float(), pair["b"], pair["valid_b"].float())
        seen = pair["visible"]
        errors.append((found.xy_px - pair["true_xy"]).norm(dim=-1)[seen])
        moving.append(pair["moving"][seen])
    error, moves = torch.cat(errors), torch.cat(moving)
    assert len(error) > 5000 and moves.sum() > 100
    assert error.median() < 0.01
    assert error[moves].median() < 0.1
    # Match recall: the nearest pixel alone is right within 4 px for .97 of a coarse grid's points.
    assert (error <= 4).double().mean() > 0.995
    assert (error <= 1).double().mean() > 0.98


def test_valid_tells_what_is_visible(pairs: list[dict]) -> None:
    seen, kept = [], []
    for pair in pairs:
        found = match_pixels(pair["a"], pair["valid_a"].float(), pair["b"], pair["valid_b"].float())
        seen.append(pair["visible"][pair["valid_a"]])
        kept.append((found.valid & found.mutual)[pair["valid_a"]])
    visible, sure = torch.cat(seen), torch.cat(kept)
    assert (~visible).sum() > 1000
    assert visible[sure].double().mean() > 0.95
    assert sure[visible].double().mean() > 0.97
    # What remains lies beside outlines, within the size of a pixel of what is seen.
    assert sure[~visible].double().mean() < 0.2


def test_noise_makes_errors_of_its_size_and_keeps_points_valid() -> None:
    spacing = 3 / _FOCAL_PX
    a, b = (_wave(_grid()) for _ in range(2))
    for relative, largest_px in ((0.1, 0.25), (1.0, 2.0), (5.0, 8.0)):
        noise = torch.randn((2, *a.shape), generator=_generator(3), dtype=a.dtype)
        noisy_a, noisy_b = a + relative * spacing * noise[0], b + relative * spacing * noise[1]
        found = _match(noisy_a, noisy_b)
        assert (found.xy_px - _grid()).norm(dim=-1).median() < largest_px
        assert found.valid.double().mean() > 0.9


def test_outliers_are_not_valid_and_harm_nothing_else() -> None:
    points = _wave(_grid())
    shifted = _wave(_grid() + torch.tensor([0.3, -0.2]))
    lost = torch.rand(_HW, generator=_generator(4)) < 0.2
    far = points + 5 * torch.randn(points.shape, generator=_generator(5), dtype=points.dtype)
    wild = torch.where(lost[..., None], far, shifted)
    found = _match(wild, points)
    assert found.valid[lost].double().mean() < 0.08
    kept = _inner() & ~lost
    true_xy = _grid() + torch.tensor([0.3, -0.2])
    assert (found.xy_px - true_xy)[kept].abs().max() < 0.02
    assert (found.valid & found.mutual)[kept].all()
    # Beside an outlier of b the nearest pixel is still there, only less exactly placed.
    found = _match(shifted, torch.where(lost[..., None], far, points))
    error = (found.xy_px - true_xy).norm(dim=-1)[_inner()]
    assert error.median() < 0.02 and error.quantile(0.95) < 1.5


def test_nothing_is_continued_from_one_surface_to_another() -> None:
    points = _grid().new_zeros(*_HW, 3)
    points[..., :2] = _grid() * 0.1
    points[..., 2] = torch.where(_grid()[..., 0] > 16, 9.0, 3.0)
    # Points in the air between the wall and what stands before it.
    between = points[:, 15:16] + torch.linspace(0, 1, 21)[1:-1, None] * (
        points[:, 16:17] - points[:, 15:16]
    )
    found = _match(between, points)
    offset = (found.xy_px[..., 0] - 16).abs()
    assert (torch.minimum((offset - 0.5).abs(), offset) < 0.5 + 1e-9).all()
    ends = map_surface(points, _ones(points)).closest(between.reshape(-1, 3).numpy(), 1).points
    assert (np.minimum(np.abs(ends[:, 2] - 3), np.abs(ends[:, 2] - 9)) < 1e-9).all()


def test_places_agree_with_pixels_and_lie_between_them() -> None:
    a, b = _wave(_grid()), _wave(_grid() + torch.tensor([1.4, 0.6]))
    confidence = _ones(a)
    confidence[3, 4] = 0
    everywhere = match_pixels(a, confidence, b, _ones(b))
    centres = _grid().view(-1, 2)
    at_centres = match_places(centres, a, confidence, b, _ones(b))
    for field in fields(Correspondence):
        dense, sparse = (getattr(found, field.name) for found in (everywhere, at_centres))
        torch.testing.assert_close(sparse, dense.flatten(0, 1), equal_nan=True, rtol=0, atol=1e-12)
    places = 4 + 14 * torch.rand(200, 2, generator=_generator(6), dtype=torch.float64)
    found = match_places(places, a, _ones(a), b, _ones(b))
    assert (found.xy_px - (places - torch.tensor([1.4, 0.6]))).abs().max() < 0.02
    assert (found.valid & found.mutual).all()
    nowhere = torch.tensor([[-1.0, 5], [5, 99], [torch.nan, 5], [4.5, 3.5]], dtype=torch.float64)
    found = match_places(nowhere, a, confidence, b, _ones(b))
    assert found.xy_px.isnan().all() and found.distance.isnan().all()
    assert not (found.valid | found.mutual).any() and found.score.eq(0).all()
    assert match_places(places[:0], a, confidence, b, _ones(b)).xy_px.shape == (0, 2)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_and_the_world_do_not_matter(scale: float) -> None:
    a, b = _wave(_grid()), _wave(_grid() + torch.tensor([3.3, -2.1]))
    rotation = torch.from_numpy(Rotation.from_rotvec([0.3, -1, 2]).as_matrix())
    moved = _match(*((points @ rotation.T + 0.7) * scale for points in (a, b)))
    found = _match(a, b)
    torch.testing.assert_close(moved.xy_px, found.xy_px, rtol=0, atol=1e-6)
    torch.testing.assert_close(moved.distance, found.distance * scale, rtol=1e-3, atol=1e-9 * scale)
    assert torch.equal(moved.valid, found.valid) and torch.equal(moved.mutual, found.mutual)


def test_a_frame_that_sees_other_pixels_of_the_surface_is_matched_where_both_see_it() -> None:
    shift = torch.tensor([8.0, 0.0], dtype=torch.float64)
    found = _match(_wave(_grid()), _wave(_grid() + shift))
    seen = _grid()[..., 0] > 8.5
    assert (found.valid & found.mutual)[seen].all()
    assert not found.valid[:, :7].any() and not found.mutual[:, :6].any()
    torch.testing.assert_close(found.xy_px[seen], (_grid() - shift)[seen], rtol=0, atol=0.02)
    assert found.score[seen].min() > found.score[:, :7].max()


def test_frames_that_see_nothing_in_common_do_not_match() -> None:
    """Without overlap only borders meet, and their distance must not pass for noise."""
    points = _wave(_grid())
    for away in ((40.0, 0.0), (0.0, 60.0), (100.0, 100.0)):
        found = _match(points, _wave(_grid() + torch.tensor(away)))
        assert not found.valid.any()
        assert found.mutual.double().mean() < 0.1


def test_maps_of_two_sizes_match() -> None:
    fine = torch.stack(
        torch.meshgrid(torch.arange(64) / 2 + 0.25, torch.arange(48) / 2 + 0.25, indexing="xy"), -1
    ).double()
    found = _match(_wave(_grid()), _wave(fine))
    torch.testing.assert_close(found.xy_px, _grid() * 2, rtol=0, atol=0.05)
    assert (found.valid & found.mutual).all()
    found = _match(_wave(fine), _wave(_grid()))
    torch.testing.assert_close(found.xy_px, fine, rtol=0, atol=0.05)
    assert (found.valid & found.mutual).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_more_threads_change_nothing(dtype: torch.dtype) -> None:
    a, b = (_wave(_grid(dtype) + shift) for shift in (0.0, 0.4))
    one, two = (match_pixels(a, _ones(a), b, _ones(b), workers=workers) for workers in (1, 2))
    assert one.xy_px.dtype == one.distance.dtype == one.score.dtype == dtype
    assert one.valid.dtype == one.mutual.dtype == torch.bool
    for field in fields(Correspondence):
        assert torch.equal(getattr(one, field.name), getattr(two, field.name))


def test_a_map_without_points_matches_nothing() -> None:
    points, none = _wave(_grid()), torch.zeros(_HW, dtype=torch.float64)
    lost = torch.full_like(points, torch.nan)
    for found in (
        match_pixels(points, none, points, _ones(points)),
        match_pixels(points, _ones(points), points, none),
        match_pixels(points, none, points, none),
        _match(lost, points),
        _match(points, lost),
    ):
        assert found.xy_px.isnan().all() and found.distance.isnan().all()
        assert not found.valid.any() and not found.mutual.any() and found.score.eq(0).all()


def test_points_without_use_take_part_in_nothing() -> None:
    points = _wave(_grid())
    spoilt, confidence = points.clone(), _ones(points)
    spoilt[5, 6], spoilt[9, 3, 1], confidence[12, 20] = torch.nan, torch.inf, 0
    spoilt[12, 20] = 0.0
    found = match_pixels(spoilt, confidence, points, _ones(points))
    out = torch.zeros(_HW, dtype=torch.bool)
    out[5, 6] = out[9, 3] = out[12, 20] = True
    assert torch.equal(found.xy_px.isnan().all(-1), out) and torch.equal(~found.valid, out)
    found = match_pixels(points, _ones(points), spoilt, confidence)
    assert found.xy_px.isfinite().all()
    # At the gaps the neighbours' surface reaches half a pixel far.
    assert (found.xy_px - _grid()).abs().amax(-1)[~out].max() < 1e-9
    assert (found.xy_px - _grid()).norm(dim=-1)[out].min() >= 0.5 - 1e-9


def test_two_points_match_each_other() -> None:
    points = torch.tensor([[[0.0, 0, 1], [2.0, 0, 1]]])
    found = _match(points, points)
    torch.testing.assert_close(found.xy_px, torch.tensor([[[0.5, 0.5], [1.5, 0.5]]]))
    assert found.valid.all() and found.mutual.all() and found.distance.eq(0).all()
    lone = _match(points[:, :1], points[:, 1:])
    assert lone.distance.item() == 2 and not lone.valid.any()
    apart = match_pixels(points, torch.tensor([[1.0, 0]]), points, torch.tensor([[0.0, 1]]))
    assert apart.xy_px[0, 0].tolist() == [1.5, 0.5] and not apart.valid.any()


def test_points_that_are_all_one_match_at_no_distance() -> None:
    points = torch.ones(*_HW, 3)
    found = _match(points, points)
    assert found.xy_px.isfinite().all() and found.distance.eq(0).all() and found.valid.all()
    off = _match(points + 1, points)
    assert off.xy_px.isfinite().all() and not off.valid.any()


def test_huge_and_tiny_values_are_answered() -> None:
    points = _wave(_grid())
    for scale in (1e-140, 1e140, 1e200):
        found = _match(points * scale, points)
        assert found.xy_px.isfinite().all() == (scale < 1e150)
        assert found.score.isfinite().all()


@pytest.mark.slow
def test_a_pair_of_large_maps_takes_less_than_two_seconds_of_one_core() -> None:
    xy = pixel_centres((294, 518), dtype=torch.float32) / 16
    a, b = _wave(xy), _wave(xy + 0.13)
    start = time.process_time()
    found = _match(a, b)
    assert time.process_time() - start < 2
    assert found.valid.double().mean() > 0.98
