"""Pairs of poses, against VGGT's formulas on quaternions, and the path against the package evo."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dynapoint.errors import ShapeError
from dynapoint.evaluation.measures.pose_pairs import area_under_curve, pair_angles


def poses(seed: int, count: int = 7) -> np.ndarray:
    draw = np.random.default_rng(seed)
    made = np.tile(np.eye(4), (count, 1, 1))
    made[:, :3, :3] = Rotation.from_rotvec(draw.normal(0, 0.5, (count, 3))).as_matrix()
    made[:, :3, 3] = draw.normal(size=(count, 3))
    return made


def shaken(truth: np.ndarray, seed: int, size: float = 0.1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    other = truth.copy()
    turns = Rotation.from_rotvec(draw.normal(0, size, (len(truth), 3))).as_matrix()
    other[:, :3, :3] = truth[:, :3, :3] @ turns
    other[:, :3, 3] += draw.normal(0, size, (len(truth), 3))
    return other


def published_angles(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses camera from world; angles from quaternions and squared cosines, in degrees."""
    cameras = [np.linalg.inv(each) for each in (truth, predicted)]
    rotations, directions = [], []
    for i in range(len(truth)):
        for j in range(i + 1, len(truth)):
            true, said = (each[i] @ np.linalg.inv(each[j]) for each in cameras)
            q = [Rotation.from_matrix(each[:3, :3]).as_quat() for each in (true, said)]
            rotations.append(np.arccos(1 - 2 * (1 - (q[0] @ q[1]) ** 2)))
            t = [each[:3, 3] / np.linalg.norm(each[:3, 3]) for each in (true, said)]
            directions.append(np.arccos(np.sqrt((t[0] @ t[1]) ** 2)))
    return np.degrees(rotations), np.degrees(directions)


@pytest.mark.parametrize("seed", range(4))
def test_angles_are_the_published_ones(seed):
    truth = poses(seed)
    predicted = shaken(truth, seed + 10, 0.5)
    found = pair_angles(truth, predicted)
    rotation, direction = published_angles(truth, predicted)
    np.testing.assert_allclose(found.rotation_deg, rotation, atol=1e-5)
    np.testing.assert_allclose(found.direction_deg, direction, atol=1e-5)
    signed = pair_angles(truth, predicted, signed=True).direction_deg
    np.testing.assert_allclose(np.minimum(signed, 180 - signed), direction, atol=1e-5)


@pytest.mark.parametrize("threshold", [3, 30])
def test_area_is_the_published_histogram(threshold):
    draw = np.random.default_rng(threshold)
    errors = np.r_[draw.uniform(0, 40, 200), 0.0, 1.0, 2.0, 3.0, 30.0, 180.0]
    histogram, _ = np.histogram(errors, bins=np.arange(threshold + 1))
    published = np.mean(np.cumsum(histogram / len(errors)))
    assert area_under_curve(errors, threshold) == pytest.approx(100 * published, rel=1e-12)


def test_area_by_hand():
    # Below 1: one of four; below 2: two; up to 3: three.
    assert area_under_curve(np.array([0.5, 1.0, 3.0, 3.1]), 3) == pytest.approx(100 * 6 / 12)
    assert area_under_curve(np.zeros(3), 30) == 100
    assert np.isnan(area_under_curve(np.empty(0), 3))


def test_the_world_and_its_unit_do_not_matter():
    truth = poses(1)
    predicted = shaken(truth, 2)
    world = poses(5, 1)[0]
    other = world @ predicted
    other[:, :3, 3] = 4 * other[:, :3, 3]
    for signed in (False, True):
        found, again = (pair_angles(truth, each, signed=signed) for each in (predicted, other))
        np.testing.assert_allclose(again.worse_deg, found.worse_deg, atol=1e-9)


def test_mirrored_paths_differ_only_with_signs():
    truth = np.tile(np.eye(4), (3, 1, 1))
    truth[:, 0, 3] = (0, 1, 2)
    predicted = truth.copy()
    predicted[:, 0, 3] *= -1
    assert pair_angles(truth, predicted).worse_deg.max() == 0
    assert (pair_angles(truth, predicted, signed=True).direction_deg == 180).all()


def test_cameras_that_stand_still_have_no_direction():
    truth = np.tile(np.eye(4), (3, 1, 1))
    predicted = poses(0, 3)
    predicted[:, :3, :3] = np.eye(3)
    assert pair_angles(truth, predicted).worse_deg.max() == 0
    truth[2, :3, 3] = (0, 0, 1.0)
    still = pair_angles(truth, np.tile(np.eye(4), (3, 1, 1)))
    assert still.direction_deg.tolist() == [0, 90, 90]


def test_poses_that_are_not_finite_are_as_wrong_as_can_be():
    truth = poses(3, 4)
    predicted = truth.copy()
    predicted[1, 0, 3] = np.nan
    worse = pair_angles(truth, predicted).worse_deg
    # Pairs (0,1) (0,2) (0,3) (1,2) (1,3) (2,3).
    np.testing.assert_allclose(worse, [180, 0, 0, 180, 180, 0], atol=1e-6)
    with pytest.raises(ShapeError):
        pair_angles(truth, predicted[:3])
