"""Errors of depth: hand-worked cases, and the definition written anew."""

import numpy as np
import pytest

from dynapoint.errors import ShapeError
from dynapoint.evaluation.measures.depth_errors import depth_errors

FITS = ("none", "median", "scale_l2", "scale_l1", "line_l2", "line_l1", "line_adam")


def test_hand_worked():
    truth = np.array([[1.0, 2.0], [4.0, np.nan]])
    predicted = np.array([[1.1, 2.5], [3.0, 9.0]])
    errors = depth_errors(truth, predicted, fit="none")
    assert errors.pixels == 3
    assert errors.abs_rel == pytest.approx((0.1 + 0.25 + 0.25) / 3)
    # 2.5 is just 1.25 times too far, 4 just 4/3 times too near.
    assert errors.delta == pytest.approx(100 / 3)
    assert errors.rmse == pytest.approx(np.sqrt((0.01 + 0.25 + 1) / 3))


def test_what_is_not_compared():
    truth = np.array([0.0, -1.0, np.nan, np.inf, 80.0, 70.0, 2.0])
    predicted = np.array([5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 2.0])
    errors = depth_errors(truth, predicted, fit="none", farthest=70.0)
    assert (errors.pixels, errors.abs_rel, errors.delta, errors.rmse) == (1, 0, 100, 0)
    nothing = depth_errors(truth[:4], predicted[:4], fit="line_l1", farthest=10.0)
    assert nothing.pixels == 0 and np.isnan([nothing.abs_rel, nothing.delta, nothing.rmse]).all()


@pytest.mark.parametrize("fit", FITS)
def test_predictions_that_are_not_finite_count_as_depth_0(fit):
    draw = np.random.default_rng(0)
    truth = draw.uniform(1, 5, 100)
    predicted = truth.copy()
    predicted[:10] = (np.nan, np.inf, -np.inf, np.nan, np.nan) * 2
    errors = depth_errors(truth, predicted, fit=fit)
    assert errors.pixels == 100
    assert errors.abs_rel == pytest.approx(0.1, abs=1e-9)
    assert errors.delta == pytest.approx(90)
    assert errors.rmse == pytest.approx(np.sqrt((truth[:10] ** 2).sum() / 100))


def test_predictions_are_clipped_after_the_fit():
    truth, predicted = np.array([10.0, 20.0, 60.0]), np.array([1.0, 2.0, 9.0])
    errors = depth_errors(truth, predicted, fit="median", clipped_at=70.0)
    assert errors.line.scale == 10
    assert errors.abs_rel == pytest.approx((70 - 60) / 60 / 3)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("seed", range(3))
def test_the_definition_in_other_words(fit, seed):
    draw = np.random.default_rng(seed)
    truth = draw.uniform(0.5, 20, (3, 8, 9))
    truth[draw.random(truth.shape) < 0.2] = np.nan
    predicted = truth * draw.lognormal(0, 0.3, truth.shape) * 0.3 + 0.2
    predicted[np.isnan(predicted)] = 7.0
    errors = depth_errors(truth.astype(np.float32), predicted.astype(np.float32), fit=fit)
    pairs = [
        (float(d), errors.line.scale * float(p) + errors.line.shift)
        for d, p in zip(truth.ravel(), predicted.ravel(), strict=True)
        if not np.isnan(d)
    ]
    ratios = [max(p / d, d / p) if p > 0 else np.inf for d, p in pairs]
    assert errors.pixels == len(pairs)
    assert errors.abs_rel == pytest.approx(np.mean([abs(p - d) / d for d, p in pairs]), rel=1e-5)
    assert errors.delta == pytest.approx(100 * np.mean([ratio < 1.25 for ratio in ratios]))
    assert errors.rmse == pytest.approx(np.mean([(p - d) ** 2 for d, p in pairs]) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("fit", FITS)
def test_neither_the_order_of_frames_nor_masked_pixels_matter(fit):
    draw = np.random.default_rng(5)
    truth = draw.uniform(1, 9, (4, 6, 7))
    truth[:, 0] = np.nan
    predicted = truth * draw.lognormal(0, 0.2, truth.shape)
    predicted[:, 0] = 1.0
    errors = depth_errors(truth, predicted, fit=fit)
    order = [2, 0, 3, 1]
    other = predicted[order]
    other[:, 0] = draw.uniform(-5, 5, other[:, 0].shape)
    again = depth_errors(truth[order], other, fit=fit)
    assert again.abs_rel == pytest.approx(errors.abs_rel, rel=1e-6)
    assert (again.delta, again.pixels) == pytest.approx((errors.delta, errors.pixels))


def test_shapes_must_fit():
    with pytest.raises(ShapeError, match="wanted that of the truth"):
        depth_errors(np.ones((2, 3)), np.ones((3, 2)), fit="none")
