"""Similarities between clouds, medians, focal lengths and the second camera of a pair."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.geometry.similarity import (
    fit_similarity,
    fit_similarity_robustly,
    move,
    shared_focal,
    split_similarity,
    weighted_median,
)
from dynapoint.models.pairwise.pose import scale_between, second_camera
from exact_pairs import turn_between_deg


def random_similarity(rng: np.random.Generator, *, far: float = 3.0) -> torch.Tensor:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(rng=rng).as_matrix() * np.exp(rng.normal())
    matrix[:3, 3] = rng.normal(size=3) * far
    return torch.from_numpy(matrix)


def cloud(rng: np.random.Generator, count: int = 60) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=(count, 3)) * [1, 2, 0.5] + [0, 1, 4])


def test_similarities_are_recovered_whatever_their_rotation():
    rng = np.random.default_rng(0)
    true = torch.stack([random_similarity(rng) for _ in range(20)])
    source = torch.stack([cloud(rng) for _ in range(20)])
    weight = torch.from_numpy(rng.uniform(0.1, 1, (20, 60)))
    for fit in (fit_similarity, fit_similarity_robustly):
        found = fit(source, move(true, source), weight)
        torch.testing.assert_close(found, true, atol=1e-10, rtol=1e-10)
    scale, rigid = split_similarity(true)
    torch.testing.assert_close(torch.linalg.det(rigid[:, :3, :3]), torch.ones(20).double())
    rebuilt = rigid.clone()
    rebuilt[:, :3, :3] *= scale[:, None, None]
    torch.testing.assert_close(rebuilt, true)


@pytest.mark.parametrize("mirrored", [False, True])
def test_no_similarity_near_the_fitted_one_is_better(mirrored):
    """Nor for a mirror image, which is met by a proper rotation."""
    rng = np.random.default_rng(1)
    source = cloud(rng)[None]
    target = source * torch.tensor([-1.0, 1, 1]) if mirrored else cloud(rng)[None]
    weight = torch.from_numpy(rng.uniform(0, 1, (1, 60)))
    found = fit_similarity(source, target, weight)
    assert torch.linalg.det(found[0, :3, :3]) > 0

    def cost(matrix):
        return float((weight * (move(matrix, source) - target).square().sum(-1)).sum())

    # Turns are about the middle of the points, so that they do not move them as well.
    middle = ((weight[..., None] * target).sum(1) / weight.sum()).numpy()[0]
    for turned, scaled, shifted in [*np.eye(3), np.ones(3)] * 15:
        change = np.eye(4)
        turn = Rotation.from_rotvec(turned * rng.normal(size=3) * 1e-2).as_matrix()
        change[:3, :3] = turn * np.exp(1e-2 * scaled * rng.normal())
        change[:3, 3] = middle - change[:3, :3] @ middle
        change[:3, 3] += shifted * rng.normal(size=3) * 1e-2
        assert cost(torch.from_numpy(change)[None] @ found) > cost(found)


def test_the_robust_fit_passes_over_outliers():
    rng = np.random.default_rng(2)
    true = random_similarity(rng)[None]
    source = cloud(rng, 200)[None]
    target = move(true, source)
    target[:, :60] += torch.from_numpy(rng.normal(size=(60, 3))) * 5
    even = torch.ones(1, 200)
    plain, robust = (fit(source, target, even) for fit in (fit_similarity, fit_similarity_robustly))
    assert (plain - true).abs().max() > 0.1
    assert (robust - true).abs().max() < 0.05


def test_clouds_without_extent_give_finite_similarities():
    one_place = torch.ones(1, 9, 3)
    found = fit_similarity_robustly(one_place, one_place + 2, torch.ones(1, 9))
    torch.testing.assert_close(found[0, :3, :3], torch.eye(3).double())
    torch.testing.assert_close(move(found, one_place), one_place.double() + 2)
    unweighted = fit_similarity_robustly(one_place, one_place, torch.zeros(1, 9))
    assert unweighted.isfinite().all()


def test_weighted_medians_are_those_of_repeated_values():
    rng = np.random.default_rng(3)
    for count in (1, 2, 5, 30):
        values = torch.from_numpy(rng.normal(size=(4, count)))
        repeats = torch.from_numpy(rng.integers(0, 4, size=(4, count)))
        repeats[:, 0] += 1
        expected = [
            v.repeat_interleave(r).sort().values[(int(r.sum()) - 1) // 2]
            for v, r in zip(values, repeats, strict=True)
        ]
        torch.testing.assert_close(weighted_median(values, repeats.double()), torch.stack(expected))
    assert float(weighted_median(torch.tensor([1.0, 9, 4]), torch.zeros(3))) == 4


def test_focal_lengths_of_maps():
    rng = np.random.default_rng(4)
    for _ in range(10):
        focal = float(rng.uniform(20, 2000))
        xy = torch.from_numpy(rng.uniform(-300, 300, (400, 2)))
        depth = torch.from_numpy(rng.uniform(0.5, 9, (400, 1)))
        points = torch.cat([xy / focal * depth, depth], 1)
        assert float(shared_focal(points, xy, torch.ones(400))) == pytest.approx(focal, rel=1e-9)
        # A fifth of the pixels is wrong, and some points lie behind the camera.
        points[:80, :2] *= torch.from_numpy(rng.uniform(0.3, 3, (80, 1)))
        points[80:90] *= -1
        found = float(shared_focal(points, xy, torch.ones(400)))
        assert found == pytest.approx(focal, rel=0.02)
    assert shared_focal(-points[:5].abs(), xy[:5], torch.ones(5)).isnan()


def test_scales_between_maps():
    rng = np.random.default_rng(5)
    points = torch.from_numpy(rng.uniform(1, 2, (99, 3)))
    other = 1.7 * points
    other[:20] = -1
    other[20:50] *= 3
    weight = torch.ones(99)
    weight[20:50] = 0.1
    assert float(scale_between(points, other, weight)) == pytest.approx(1.7)
    assert float(scale_between(-points, other, weight)) == 1


class PairOfMaps:
    """A map seen from its own camera and from another one, whatever the turn between them."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.focal = float(rng.uniform(60, 200))
        rows, columns = np.mgrid[:24, :32] + 0.5
        self.xy = torch.from_numpy(np.stack([columns - 16, rows - 12], -1).reshape(-1, 2))
        smooth = 3 + np.sin(columns / 9 + rng.uniform(0, 6)) + np.cos(rows / 5)
        depth = torch.from_numpy(smooth.reshape(-1, 1) + rng.uniform(0, 1, (768, 1)))
        self.own = torch.cat([self.xy / self.focal, torch.ones(768, 1)], 1) * depth
        self.pair_from_own = random_similarity(rng)
        self.seen = move(self.pair_from_own[None], self.own[None])[0]
        self.bend = torch.from_numpy(1 + 0.05 * np.sin(rows / 6 + columns / 11)).reshape(-1, 1)

    def solve(self, own: torch.Tensor, seen: torch.Tensor, focal: float | None = None):
        found = second_camera(seen, own, torch.ones(768), self.xy, focal or self.focal)
        return split_similarity(found[None])[1][0], found

    @property
    def pose(self) -> torch.Tensor:
        return split_similarity(self.pair_from_own[None])[1][0]


@pytest.mark.parametrize("seed", range(5))
def test_second_cameras_are_found_from_any_turn(seed):
    maps = PairOfMaps(seed)
    _, found = maps.solve(maps.own, maps.seen)
    torch.testing.assert_close(found, maps.pair_from_own, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_smooth_errors_along_the_rays_do_not_turn_the_camera(seed):
    maps = PairOfMaps(seed)
    procrustes, _ = (
        split_similarity(
            fit_similarity_robustly(
                (maps.own * maps.bend)[None], maps.seen[None], torch.ones(1, 768)
            )
        )[1],
        None,
    )
    pose, _ = maps.solve(maps.own * maps.bend, maps.seen)
    assert turn_between_deg(procrustes[0, :3, :3], maps.pose[:3, :3]) > 0.1
    assert turn_between_deg(pose[:3, :3], maps.pose[:3, :3]) < 1e-5
    torch.testing.assert_close(pose[:3, 3], maps.pose[:3, 3], atol=1e-6, rtol=1e-6)


def test_a_wrong_focal_length_leaves_a_sensible_camera():
    maps = PairOfMaps(7)
    for factor in (0.5, 0.9, 1.1, 3.0, 1e9):
        pose, found = maps.solve(maps.own, maps.seen, factor * maps.focal)
        assert found.isfinite().all()
        assert turn_between_deg(pose[:3, :3], maps.pose[:3, :3]) < 25
