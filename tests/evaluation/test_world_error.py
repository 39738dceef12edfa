"""Errors of points after the scale of medians: hand-worked, in other words, and invariances."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dynapoint.errors import ShapeError
from dynapoint.evaluation.measures.world_error import moving_tracks, world_errors


def cloud(seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=(5, 40, 3)) + np.array([0, 0, 4.0])
    return truth, 0.4 * (truth + 0.3 * draw.normal(size=truth.shape))


def test_hand_worked():
    truth = np.array([[0, 0, 1.0], [0, 0, 2.0], [0, 0, 4.0], [0, np.nan, 4.0]])
    predicted = np.array([[0, 0, 0.5], [0, 0, 1.0], [0, 0.2, 2.0], [9.0, 9.0, 9.0]])
    errors = world_errors(truth, predicted)
    # The scale is 2, the distances are 0, 0 and .4: two thirds, two thirds, 1, 1.
    assert (errors.scale, errors.points) == (2, 3)
    assert errors.epe == pytest.approx(0.4 / 3)
    assert errors.apd == pytest.approx(100 * (2 / 3 + 2 / 3 + 1 + 1) / 4)


@pytest.mark.parametrize("seed", range(4))
def test_the_definition_in_other_words(seed):
    truth, predicted = cloud(seed)
    errors = world_errors(truth, predicted)
    true, said = truth.reshape(-1, 3), predicted.reshape(-1, 3)
    lengths = [sorted((p @ p) ** 0.5 for p in points) for points in (true, said)]
    middles = [(each[99] + each[100]) / 2 for each in lengths]
    distances = [
        float(np.sqrt(((middles[0] / middles[1] * q - p) ** 2).sum()))
        for p, q in zip(true, said, strict=True)
    ]
    within = [np.mean([d <= near for d in distances]) for near in (0.1, 0.3, 0.5, 1.0)]
    assert errors.epe == pytest.approx(np.mean(distances), rel=1e-9)
    assert errors.apd == pytest.approx(100 * np.mean(within), rel=1e-9)
    assert 5 < errors.apd < 95


def test_scale_turns_and_order_do_not_matter():
    truth, predicted = cloud(1)
    errors = world_errors(truth, predicted)
    turn = Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix()
    again = world_errors(truth[::-1] @ turn, 7 * predicted[::-1] @ turn)
    assert (again.apd, again.epe) == pytest.approx((errors.apd, errors.epe), rel=1e-9)
    assert again.scale == pytest.approx(errors.scale / 7, rel=1e-9)


def test_a_shift_is_no_scale():
    """Every point is moved by v: what is left is what the formula says."""
    truth, _ = cloud(2)
    v = np.array([0.2, 0, 0])
    errors = world_errors(truth, truth + v)
    lengths = [np.median(np.linalg.norm(points, axis=-1)) for points in (truth, truth + v)]
    left = np.linalg.norm(lengths[0] / lengths[1] * (truth + v) - truth, axis=-1)
    assert errors.epe == pytest.approx(left.mean(), rel=1e-12)
    assert 0.1 < errors.epe < 0.3


def test_what_is_not_finite_is_the_origin():
    truth, predicted = cloud(3)
    bad, origin = predicted.copy(), predicted.copy()
    bad[0, :4] = (np.nan, np.inf, -np.inf)
    bad[1, 2, 1] = np.inf
    origin[0, :4], origin[1, 2] = 0, 0
    assert world_errors(truth, bad) == world_errors(truth, origin)
    assert world_errors(truth, np.full_like(truth, np.nan)).scale == 1


def test_nothing_to_compare():
    errors = world_errors(np.full((2, 3), np.nan), np.ones((2, 3)))
    assert errors.points == 0 and np.isnan([errors.apd, errors.epe]).all()
    with pytest.raises(ShapeError):
        world_errors(np.ones((2, 3)), np.ones((3, 3)))


def test_moving_tracks():
    truth = np.zeros((3, 4, 3))
    truth[:, 1, 0] = (0, 0.006, 0)  # 12 mm there and back
    truth[:, 2, 0] = (0, 0.004, 0)  # 8 mm
    truth[:, 3, 0] = (0, np.nan, 5)  # nobody saw it go
    assert moving_tracks(truth).tolist() == [False, True, False, False]
