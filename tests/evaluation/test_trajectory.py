"""Errors of camera paths and tracks, against the package evo, an optimiser and exact cases."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from dynapoint.errors import ShapeError
from dynapoint.evaluation.trajectory import (
    aligned_path,
    local_scales,
    motion_errors,
    path_errors,
    relative_errors,
    revisits,
    track_errors,
)


def poses_of(turns: np.ndarray, places: np.ndarray) -> np.ndarray:
    poses = np.tile(np.eye(4), (len(places), 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(turns).as_matrix()
    poses[:, :3, 3] = places
    return poses


def waves(count: int, seed: int) -> np.ndarray:
    """Numbers of size one that no generator's version changes."""
    k = np.arange(3 * count).reshape(count, 3)
    return np.asarray(np.sin(1.7 * k**1.3 + seed))


def paths() -> tuple[np.ndarray, np.ndarray]:
    """A true path, and one in another world and unit with errors."""
    truth = poses_of(0.3 * waves(40, 1), waves(40, 2).cumsum(axis=0))
    other = poses_of(np.array([[0.3, 1.0, -0.5]]), np.array([[3.0, 4.0, 5.0]]))[0]
    predicted = other @ truth
    predicted[:, :3, :3] = (
        predicted[:, :3, :3] @ poses_of(0.05 * waves(40, 3), waves(40, 0))[:, :3, :3]
    )
    predicted[:, :3, 3] = 0.37 * (predicted[:, :3, 3] + 0.1 * waves(40, 4))
    return truth, predicted


def moved(poses: np.ndarray, scale: float) -> np.ndarray:
    other = poses_of(np.array([[-0.7, 0.2, 0.4]]), np.array([[1.0, -2.0, 0.5]]))[0]
    poses = other @ poses
    poses[:, :3, 3] *= scale
    return poses


def test_errors_are_those_of_evo() -> None:
    # evo 1.38.1 with align=True, correct_scale=True, all_pairs=True, RMSE, on the same two paths.
    errors = path_errors(*paths(), far=10)
    found = (
        errors.ate,
        errors.rpe_translation,
        errors.rpe_rotation_deg,
        errors.far_translation,
        errors.far_rotation_deg,
    )
    np.testing.assert_allclose(
        found,
        (
            0.12442950854107955,
            0.17227790603808038,
            4.764692211993161,
            0.23203355951382043,
            4.964556120567404,
        ),
        rtol=1e-9,
    )


def test_no_similarity_fits_better() -> None:
    truth, predicted = paths()

    def cost(x: np.ndarray) -> float:
        turned = predicted[:, :3, 3] @ Rotation.from_rotvec(x[:3]).as_matrix().T
        return float(((np.exp(x[6]) * turned + x[3:6] - truth[:, :3, 3]) ** 2).sum())

    fits = [minimize(cost, start).fun for start in np.random.default_rng(0).normal(size=(6, 7))]
    assert np.sqrt(min(fits) / 40) == pytest.approx(path_errors(truth, predicted).ate, rel=1e-6)


def test_a_path_in_another_world_has_no_error() -> None:
    truth, _ = paths()
    errors = path_errors(truth, moved(truth, 5.0), far=10)
    assert errors.scale == pytest.approx(0.2)
    for name in ("ate_largest", "rpe_translation", "far_translation", "scale_drift"):
        assert getattr(errors, name) < 1e-9, name
    assert max(errors.rpe_rotation_deg, errors.far_rotation_deg) < 1e-6


def test_a_still_camera_has_errors_all_the_same() -> None:
    truth = np.tile(np.eye(4), (5, 1, 1))
    errors = path_errors(truth, moved(truth, 2.0))
    assert errors.ate < 1e-9
    assert np.isnan(errors.far_translation)
    assert np.isnan(errors.scale_drift)


def test_different_lengths_are_refused() -> None:
    truth, predicted = paths()
    with pytest.raises(ShapeError, match="same frames"):
        aligned_path(truth, predicted[1:])


def test_relative_errors_see_only_what_lies_between() -> None:
    truth, _ = paths()
    predicted = truth.copy()
    step = poses_of(np.array([[0.0, np.radians(3.0), 0.0]]), np.array([[0.0, 0.0, 0.2]]))[0]
    predicted[20:] = truth[20] @ step @ np.linalg.inv(truth[20]) @ truth[20:]
    distance, angle = relative_errors(truth, predicted, delta=5)
    touched = (np.arange(35) < 20) & (np.arange(5, 40) >= 20)
    np.testing.assert_allclose(angle, np.where(touched, 3.0, 0.0), atol=1e-6)
    assert (distance[~touched] < 1e-9).all()
    # The turn is about frame 20's own place, so that what looks from there is off by the step.
    assert distance[15] == pytest.approx(0.2)


def test_revisits_find_where_a_loop_closes() -> None:
    angle = np.linspace(0, 4 * np.pi, 80, endpoint=False)
    turns = np.stack([0 * angle, angle, 0 * angle], 1)
    truth = poses_of(turns, np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1))
    pairs = revisits(truth, least_frames=20, within=0.02, within_deg=1.0)
    np.testing.assert_array_equal(pairs, [(late - 40, late) for late in range(40, 80)])
    distance, degrees = motion_errors(truth, truth, pairs)
    assert max(distance.max(), degrees.max()) < 1e-6
    turned = truth @ poses_of(0.01 * np.arange(80)[:, None] * [[1, 0, 0]], np.zeros((80, 3)))
    assert motion_errors(truth, turned, pairs)[1] == pytest.approx(np.degrees(0.4))


def test_local_scales_follow_a_scale_that_drifts() -> None:
    truth, _ = paths()
    step = np.diff(truth[:, :3, 3], axis=0, prepend=0.0)
    drifting = truth.copy()
    drifting[:, :3, 3] = (step * np.where(np.arange(40) < 20, 1.0, 2.0)[:, None]).cumsum(axis=0)
    scales = local_scales(truth, drifting, stretches=8)
    assert scales[0] == pytest.approx(1.0)
    assert scales[-1] == pytest.approx(0.5)
    assert path_errors(truth, drifting).scale_drift == pytest.approx(np.log(2.0))


def test_track_errors_are_medians_over_depth() -> None:
    rng = np.random.default_rng(1)
    camera = moved(np.eye(4)[None], 1.0)[0]
    local = np.concatenate([rng.uniform(-1, 1, (200, 2)), rng.uniform(2, 6, (200, 1))], axis=1)
    truth = local @ camera[:3, :3].T + camera[:3, 3]
    moves = np.arange(200) < 60
    own = truth - np.where(moves, 0.2, 0.0)[:, None] * [1.0, 0.0, 0.0]
    share = np.where(moves, 0.03, 0.01)
    push = rng.normal(size=(200, 3))
    push *= (share * local[:, 2] / np.linalg.norm(push, axis=1))[:, None]
    predicted, visible = truth + push, np.ones(200, bool)
    visible[100:110], predicted[100:110] = False, np.nan
    truth[110:115] = np.nan
    found = track_errors(
        truth=truth, own_truth=own, predicted=predicted, visible=visible, camera=camera
    )
    assert (found.still_points, found.moving_points) == (125, 60)
    assert found.still == pytest.approx(0.01)
    assert found.moving == pytest.approx(0.03)
    predicted[:40] = np.nan
    found = track_errors(
        truth=truth, own_truth=own, predicted=predicted, visible=visible, camera=camera
    )
    assert found.moving == 1.0
