"""Metrics against hand-worked numbers, other libraries, and the identities they must keep."""

import math

import jaxtyping
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from dynapoint.errors import ShapeError
from dynapoint.evaluation.metrics import (
    MatchCounts,
    PairScores,
    finite_or_origin,
    focal_error_percent,
    match_recall,
    moving_points,
    normalised_errors,
    rotation_errors_deg,
    score_pairs,
    spearman,
    track_epe,
)

RNG = np.random.default_rng(3)


def _hand_pair():
    """Two pixels a frame: one stands at (0, 0, 1), one moves from (0, 0, 4) to (3, 0, 4)."""
    still, start, end = (0.0, 0.0, 1.0), (0.0, 0.0, 4.0), (3.0, 0.0, 4.0)
    at_time_0, at_time_1 = [still, start], [still, end]
    # Both frames see the same two points, so that maps depend on the time alone.
    return np.array([[at_time_0, at_time_0], [at_time_1, at_time_1]])


def _as_pairs(points):
    return points[None, :, :, None]


def _random_pairs(pairs=3, height=4, width=5):
    own = RNG.uniform(1, 5, (pairs, 1, 2, height, width, 3))
    motion = RNG.normal(0, 0.5, own.shape) * (RNG.random((pairs, 1, 2, height, width, 1)) < 0.4)
    points = np.concatenate([own, own], axis=1)
    for frame in (0, 1):
        points[:, 1 - frame, frame] += motion[:, 0, frame]
    return points


def test_hand_worked_motion_ratio_leak_and_epe():
    truth = _hand_pair()
    predicted = truth.copy()
    # All lengths stay, so the mean distance does: (1 + 4 + 1 + 5) * 2 / 8 = 2.75.
    predicted[1, 0, 0] = (1.0, 0.0, 0.0)  # The still pixel of frame 0 leaks by sqrt(2).
    predicted[1, 0, 1] = (0.0, 0.0, 5.0)  # The mover of frame 0 is off by sqrt(1 + 9).
    scores = score_pairs(_as_pairs(truth), _as_pairs(7.0 * predicted))
    assert scores.pairs == 1
    assert scores.own_time_epe == pytest.approx(0.0, abs=1e-12)
    assert scores.motion_ratio == pytest.approx(math.sqrt(10) / (3 + 3))
    assert scores.leak == pytest.approx((math.sqrt(2) / 2.75 + 0.0) / 2)
    assert scores.four_map_epe == pytest.approx((math.sqrt(2) + math.sqrt(10)) / 2.75 / 8)


def test_hand_worked_own_time_epe_has_its_own_scale():
    truth = np.array([[[(0.0, 0, 1), (0, 0, 3)]] * 2] * 2)
    predicted = np.array([[[(0.0, 0, 9), (0, 0, 9)]] * 2] * 2)
    predicted[1, 0] *= 10  # A decoded map, however wrong, must not touch the own-time error.
    # Truth over its mean (2) is .5 and 1.5, the prediction over its own 1 and 1.
    assert score_pairs(_as_pairs(truth), _as_pairs(predicted)).own_time_epe == pytest.approx(0.5)


def test_motion_of_less_than_one_percent_of_the_median_distance_is_still():
    truth = _hand_pair()  # Median distance (1 + 4) / 2 = 2.5: the threshold is .025.
    compared = np.ones((2, 2), dtype=bool)
    truth[1, 0, 0] += (0.0249, 0, 0)
    truth[0, 1, 0] += (0.0251, 0, 0)
    np.testing.assert_array_equal(moving_points(truth, compared), [[False, True], [True, True]])


def test_truth_is_perfect_and_any_scale_of_it():
    truth = _random_pairs()
    for scale in (1.0, 1e-6, 3e5):
        scores = score_pairs(truth, scale * truth)
        for value in (scores.own_time_epe, scores.four_map_epe, scores.motion_ratio, scores.leak):
            assert value == pytest.approx(0.0, abs=1e-12)


def test_nothing_moved_has_ratio_one_and_no_leak():
    truth = _random_pairs()
    predicted = truth.copy()
    for frame in (0, 1):
        predicted[:, 1 - frame, frame] = predicted[:, frame, frame]
    scores = score_pairs(truth, predicted)
    assert scores.motion_ratio == pytest.approx(1.0, abs=1e-12)
    assert scores.leak == 0.0
    assert scores.own_time_epe == pytest.approx(0.0, abs=1e-12)
    assert scores.four_map_epe > 0


def test_scores_do_not_change_with_the_scale_of_either_side():
    truth, predicted = _random_pairs(), _random_pairs()
    first, second = score_pairs(truth, predicted), score_pairs(40.0 * truth, 0.01 * predicted)
    for metric in ("own_time_epe", "four_map_epe", "motion_ratio", "leak"):
        assert getattr(first, metric) == pytest.approx(getattr(second, metric))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_counts_as_the_origin(broken):
    truth, predicted = _random_pairs(), _random_pairs()
    hit = RNG.random(predicted.shape[:-1]) < 0.3
    at_origin, damaged = predicted.copy(), predicted.copy()
    at_origin[hit] = 0.0
    damaged[hit, 1] = broken  # One coordinate is enough.
    assert score_pairs(truth, damaged) == score_pairs(truth, at_origin)
    everything_lost = score_pairs(truth, np.full_like(truth, broken))
    assert everything_lost.pairs == len(truth)
    assert everything_lost.motion_ratio == pytest.approx(1.0)
    assert everything_lost.own_time_epe == pytest.approx(1.0)
    np.testing.assert_array_equal(finite_or_origin(damaged), at_origin)


def test_only_points_true_at_both_times_are_compared():
    truth = _random_pairs(pairs=1)
    predicted = _random_pairs(pairs=1)
    expected = score_pairs(truth[:, :, :, :2], predicted[:, :, :, :2])
    truth[0, 0, :, 2:] = np.nan  # Sky at one of the two times.
    predicted[0, :, :, 2:] = 1e9
    assert score_pairs(truth, predicted) == expected


def test_a_pair_without_points_adds_nothing():
    truth = np.full((1, 2, 2, 3, 3, 3), np.nan)
    scores = score_pairs(truth, np.zeros_like(truth))
    assert scores == PairScores()
    assert math.isnan(scores.own_time_epe)


def test_pooling_is_exact_and_not_a_mean_of_ratios():
    truth, predicted = _random_pairs(), _random_pairs()
    one_by_one = [score_pairs(truth[i : i + 1], predicted[i : i + 1]) for i in range(3)]
    pooled = score_pairs(truth, predicted)
    total = one_by_one[0] + one_by_one[1] + one_by_one[2]
    assert total == pooled
    errors, lengths = (sum(getattr(s, k) for s in one_by_one) for k in _MOTION_SUMS)
    assert pooled.motion_ratio == pytest.approx(errors / lengths)
    assert pooled.motion_ratio != pytest.approx(np.mean([s.motion_ratio for s in one_by_one]))


_MOTION_SUMS = ("motion_error", "motion_length")


def test_torch_and_numpy_take_one_path():
    truth, predicted = _random_pairs(), _random_pairs()
    truth[0, :, 0, 1] = np.nan
    confidence = RNG.random(predicted.shape[:-1])
    tensor = torch.tensor(predicted, requires_grad=True)
    assert score_pairs(torch.tensor(truth), tensor, torch.tensor(confidence)) == score_pairs(
        truth, predicted, confidence
    )


def test_shapes_that_differ_are_refused():
    # Users do not run with the shape checks of these tests, so what they see is tested without.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ShapeError, match="wanted that of the truth"):
            score_pairs(_random_pairs(pairs=2), _random_pairs(pairs=3))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_confidence_that_ranks_the_error_has_correlation_one():
    truth, predicted = _random_pairs(), _random_pairs()
    confidence = np.zeros(predicted.shape[:-1])
    for pair in range(len(truth)):
        own = [truth[pair, i, i].reshape(-1, 3) for i in (0, 1)]
        own_predicted = [predicted[pair, i, i].reshape(-1, 3) for i in (0, 1)]
        errors = normalised_errors(np.concatenate(own), np.concatenate(own_predicted))
        for i, half in enumerate(np.split(errors, 2)):
            confidence[pair, i, i] = np.exp(-half).reshape(confidence.shape[-2:])
    scores = score_pairs(truth, predicted, confidence)
    assert scores.own_time_spearman == pytest.approx(1.0)
    assert scores.decoded_spearman == 0.0  # There it is constant, and so ranks nothing.
    assert math.isnan(score_pairs(truth, predicted).own_time_spearman)


def test_spearman_agrees_with_scipy_ties_included():
    for _ in range(20):
        first, second = RNG.integers(0, 9, (2, 50)).astype(float)
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) == 0.0
    # A confidence that is not finite ranks last.
    assert spearman(np.array([np.nan, 1.0, 2.0]), np.arange(3.0)) == pytest.approx(1.0)


def test_rotation_errors_agree_with_scipy_and_keep_small_angles():
    truth = np.tile(np.eye(4), (6, 1, 1))
    predicted = truth.copy()
    angles = np.array([0.0, 1e-5, 0.5, 40.0, 120.0, 179.0])
    for i, angle in enumerate(angles):
        start = Rotation.random(rng=RNG)
        axis = RNG.normal(size=3)
        turn = Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis))
        truth[i, :3, :3], predicted[i, :3, :3] = start.as_matrix(), (start * turn).as_matrix()
    np.testing.assert_allclose(rotation_errors_deg(truth, predicted), angles, atol=1e-9)
    predicted[0] = np.nan
    assert rotation_errors_deg(truth, predicted)[0] == 180.0


def test_focal_error_is_of_the_median():
    assert focal_error_percent(200.0, np.array([100.0, 220.0, 900.0])) == pytest.approx(10.0)
    assert focal_error_percent(200.0, np.array([np.nan, np.nan, 200.0])) == pytest.approx(100.0)


def test_tracks_share_one_scale_over_all_times():
    truth = np.array([[(0.0, 0, 2)], [(0, 0, 4)]])
    assert track_epe(truth, 5 * truth) == pytest.approx(0.0)
    still = np.array([[(0.0, 0, 2)], [(0, 0, 2)]])
    # Truth over its mean (3) is 2/3 and 4/3, the prediction over its own 1 and 1.
    assert track_epe(truth, still) == pytest.approx(1 / 3)
    lost = np.array([[(0.0, 0, 2)], [(np.nan, 0, 2)]])
    # Lost counts as the origin: the prediction over its mean (1) is 2 and 0.
    assert track_epe(truth, lost) == pytest.approx(4 / 3)
    assert math.isnan(track_epe(np.full((2, 1, 3), np.nan), truth))


def _sliding_plane(shift_cells):
    """A textured plane at depth 2 before a still camera; all of it slides right by whole cells."""
    intrinsics = np.array([[100.0, 0, 32], [0, 100.0, 32], [0, 0, 1]])
    columns, rows = np.meshgrid(np.arange(8), np.arange(8))
    grid_xy = np.stack([columns.ravel(), rows.ravel()], axis=-1) * 4 + 2.5
    shift_px = np.array([4.0 * shift_cells, 0.0])

    def lift(xy):
        return np.concatenate([(xy - 32) / 100 * 2, np.full((len(xy), 1), 2.0)], axis=1)

    own = lift(grid_xy)
    truth = np.array([[own, lift(grid_xy - shift_px)], [lift(grid_xy + shift_px), own]])
    visible = np.ones((2, 2, 64), dtype=bool)
    visible[1, 0] = columns.ravel() + shift_cells < 8
    visible[0, 1] = columns.ravel() - shift_cells >= 0
    return truth, visible, grid_xy, intrinsics


def _recall(truth, predicted, visible, grid_xy, intrinsics):
    return match_recall(
        truth_points=truth,
        predicted_points=predicted,
        visible=visible,
        grid_xy=grid_xy,
        intrinsics=intrinsics,
        world_from_camera=np.tile(np.eye(4), (2, 1, 1)),
    )


@pytest.mark.parametrize(("shift_cells", "still_recall"), [(1, 1.0), (2, 0.0)])
def test_match_recall_of_a_plane_that_slides(shift_cells, still_recall):
    truth, visible, grid_xy, intrinsics = _sliding_plane(shift_cells)
    found = _recall(truth, 3.0 * truth, visible, grid_xy, intrinsics)
    assert found.visible == found.visible_moving == 2 * 8 * (8 - shift_cells)
    assert found.recall == found.recall_moving == 1.0
    # A still prediction is off by 4 pixels a cell: one cell is just within, two are not.
    nothing_moved = np.stack([truth[[0, 1], [0, 1]]] * 2)
    nothing = _recall(truth, nothing_moved, visible, grid_xy, intrinsics)
    assert nothing.recall_moving == still_recall


def test_match_recall_pools_counts_and_takes_lost_points_as_the_origin():
    truth, visible, grid_xy, intrinsics = _sliding_plane(2)
    lost = truth.copy()
    lost[1, 0, :, 2] = np.nan
    at_origin = truth.copy()
    at_origin[1, 0] = 0.0
    found = _recall(truth, lost, visible, grid_xy, intrinsics)
    assert found == _recall(truth, at_origin, visible, grid_xy, intrinsics)
    assert found.visible == 2 * 8 * 6
    assert found.matched < found.visible
    both = found + MatchCounts(visible=10, matched=1)
    assert both.recall == (found.matched + 1) / (found.visible + 10)
