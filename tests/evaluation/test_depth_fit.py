"""Fits of depth, against linear programming, torch's Adam, scikit-learn and hand-worked cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.linear_model import LinearRegression

from dynapoint.evaluation.measures import depth_fit
from dynapoint.evaluation.measures.depth_fit import (
    DepthLine,
    adam_line,
    fit_depth,
    least_absolute_line,
    weiszfeld_scale,
)


def cost(line: DepthLine, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.abs(line.applied(x) - y).sum())


def least_cost_by_linear_programming(x: np.ndarray, y: np.ndarray) -> float:
    """min Σ u with -u <= s x + t - y <= u."""
    n = len(x)
    rows = np.column_stack([x, np.ones(n)])
    above, below = np.hstack([rows, -np.eye(n)]), np.hstack([-rows, -np.eye(n)])
    found = linprog(
        np.r_[0, 0, np.ones(n)],
        A_ub=np.vstack([above, below]),
        b_ub=np.r_[y, -y],
        bounds=[(None, None)] * 2 + [(0, None)] * n,
    )
    assert found.success
    return float(found.fun)


def noisy(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth of some shape, and truth that follows it with a few gross errors."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(0.5, 3, count)
    y = draw.uniform(0.2, 30) * x + draw.normal(0, 2) + draw.standard_t(1.5, count)
    return x, y


@pytest.mark.parametrize("count", [3, 4, 41, 80])
@pytest.mark.parametrize("seed", range(6))
def test_least_absolute_errors_are_those_of_linear_programming(seed, count):
    x, y = noisy(seed, count)
    least = least_cost_by_linear_programming(x, y)
    found = cost(least_absolute_line(x, y), x, y)
    assert found == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_least_absolute_errors_with_many_equal_numbers(seed):
    draw = np.random.default_rng(seed)
    x, y = draw.integers(1, 4, 25).astype(float), draw.integers(1, 5, 25).astype(float)
    least = least_cost_by_linear_programming(x, y)
    assert cost(least_absolute_line(x, y), x, y) == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_many_points_are_fitted_as_few_are(monkeypatch):
    x, y = noisy(3, 400)
    whole = least_absolute_line(x, y)
    monkeypatch.setattr(depth_fit, "_ENOUGH_POINTS", 50)
    thinned = least_absolute_line(x, y)
    assert cost(thinned, x, y) == pytest.approx(cost(whole, x, y), rel=1e-12)


def test_lines_that_points_lie_on_are_found():
    x = np.array([1.0, 2.0, 3.5, 7.0])
    for fit in ("line_l1", "line_l2"):
        line = fit_depth(fit, x, 2.5 * x - 1)
        assert (line.scale, line.shift) == pytest.approx((2.5, -1), rel=1e-9)
    # One gross error moves least squares, and not least absolute errors.
    y = 2.5 * x - 1
    y[1] += 40
    assert fit_depth("line_l1", x, y).scale == pytest.approx(2.5, rel=1e-9)
    assert fit_depth("line_l2", x, y).scale < 1


@pytest.mark.parametrize("fit", ["line_l1", "line_l2"])
def test_a_prediction_of_one_value_is_moved_to_the_middle(fit):
    x, y = np.full(5, 2.0), np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    middle = 3.0 if fit == "line_l1" else 22.0
    np.testing.assert_allclose(fit_depth(fit, x, y).applied(x), middle)


def test_one_pixel_is_met():
    x, y = np.array([2.0]), np.array([6.0])
    for fit in ("median", "scale_l1", "scale_l2", "line_l1", "line_l2"):
        np.testing.assert_allclose(fit_depth(fit, x, y).applied(x), y)


def test_hand_worked_scales():
    x, y = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 12.0])
    # Medians 2 and 2; Σxy = 54, Σx² = 21; ratios 2, 1, 3 with weights 1, 2, 4: the median is 3.
    assert fit_depth("median", x, y) == DepthLine(scale=1.0)
    assert fit_depth("scale_l2", x, y).scale == pytest.approx(54 / 21)
    assert weiszfeld_scale(x, y, steps=300).scale == pytest.approx(3, rel=1e-6)
    assert fit_depth("none", x, y) == DepthLine()


@pytest.mark.parametrize("seed", range(5))
def test_weiszfeld_nears_the_weighted_median(seed):
    x, y = noisy(seed, 201)
    y = np.abs(y) + 0.1
    order = np.argsort(y / x)
    weight = x[order].cumsum()
    best = (y / x)[order][np.searchsorted(weight, weight[-1] / 2)]
    least = np.abs(best * x - y).sum()
    costs = [cost(weiszfeld_scale(x, y, steps=steps), x, y) for steps in (0, 10, 1000)]
    assert costs[0] >= costs[1] >= costs[2] >= least * (1 - 1e-12)
    assert costs[1] <= 1.01 * least
    assert costs[2] <= 1.0001 * least


@pytest.mark.parametrize("seed", range(5))
def test_least_squares_are_those_of_scikit_learn(seed):
    x, y = noisy(seed, 50)
    line, oracle = fit_depth("line_l2", x, y), LinearRegression().fit(x[:, None], y)
    assert line.scale == pytest.approx(oracle.coef_[0], rel=1e-9)
    assert line.shift == pytest.approx(oracle.intercept_, rel=1e-9)
    through_origin = LinearRegression(fit_intercept=False).fit(x[:, None], y)
    assert fit_depth("scale_l2", x, y).scale == pytest.approx(through_origin.coef_[0], rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_of_monst3r_is_adam(seed):
    x, y = noisy(seed, 200)
    line = torch.tensor([np.median(y) / np.median(x), 0.0], dtype=torch.float64)
    line.requires_grad_(True)
    optimiser, before = torch.optim.Adam([line], lr=1e-4), None
    for _ in range(1000):
        optimiser.zero_grad()
        loss = (line[0] * torch.from_numpy(x) + line[1] - torch.from_numpy(y)).abs().sum()
        loss.backward()
        optimiser.step()
        if before is not None and abs(before - loss.item()) < 1e-6:
            break
        before = loss.item()
    found = adam_line(x, y)
    assert (found.scale, found.shift) == pytest.approx(tuple(line.tolist()), rel=1e-9, abs=1e-9)


def test_the_search_of_monst3r_ends_short_of_far_shifts():
    x = np.linspace(1, 3, 500)
    y = x + 5
    assert (exact := fit_depth("line_l1", x, y)).shift == pytest.approx(5, rel=1e-6)
    short = fit_depth("line_adam", x, y)
    start = np.median(y) / np.median(x)
    assert abs(short.shift) < 0.2 and abs(short.scale - start) < 0.2
    assert cost(short, x, y) > 100 * max(cost(exact, x, y), 1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    fit=st.sampled_from(["median", "scale_l1", "scale_l2", "line_l1", "line_l2"]),
    factor=st.floats(0.1, 10),
)
def test_fits_do_not_see_the_unit_of_the_prediction(seed, fit, factor):
    x, y = noisy(seed, 60)
    y = np.abs(y) + 0.5
    aligned = fit_depth(fit, x, y).applied(x)
    again = fit_depth(fit, factor * x, y).applied(factor * x)
    if fit == "line_l1":
        # Several lines may be equally good; none is better.
        assert np.abs(again - y).sum() == pytest.approx(np.abs(aligned - y).sum(), rel=1e-9)
    else:
        np.testing.assert_allclose(again, aligned, rtol=1e-5)


@pytest.mark.parametrize("per_metre", [1e3, 5e3, 1e6])
def test_the_scale_of_depth_in_a_small_unit_is_found(per_metre):
    """Millimetres, and the units of TUM's 16-bit depth, of which a metre has 5000."""
    truth = np.random.default_rng(0).uniform(0.5, 9, size=300)
    line = weiszfeld_scale(per_metre * truth, truth)
    assert line.scale == pytest.approx(1 / per_metre, rel=1e-9)


def test_nothing_is_fitted_to_nothing():
    assert fit_depth("line_l1", np.empty(0), np.empty(0)) == DepthLine()
