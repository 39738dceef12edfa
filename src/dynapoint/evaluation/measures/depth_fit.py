"""Lines that take predicted depth to true depth, one for all frames of a sequence.

Networks give depth up to a scale, or up to a scale and a shift; which of the two is taken away
before errors are measured, and how, moves the numbers more than most networks differ. So every
fit that tables of video depth use is here under its name, and says what it minimises.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

DepthFit = Literal["none", "median", "scale_l2", "scale_l1", "line_l2", "line_l1", "line_adam"]
"""How predicted depth is brought to the truth:

- "none": not at all;
- "median": scale, median of the truth over median of the prediction (Zhou et al., CVPR 2017);
- "scale_l2", "scale_l1": the scale of least squared, and of least absolute errors (the latter by
  ten steps of Weiszfeld, as in MonST3R's evaluation);
- "line_l2", "line_l1": scale and shift of least squared, and of least absolute errors (exact);
- "line_adam": MonST3R's search for the latter, which ends where its steps are used up.
"""

_WEISZFELD_STEPS = 10
_SMALLEST_SCALE = 1e-3
_ADAM_RATE, _ADAM_STEPS, _ADAM_STOP = 1e-4, 1000, 1e-6
_ADAM_BETAS, _ADAM_EPSILON = (0.9, 0.999), 1e-8
# More points than this only slow down the search of "line_adam" and the start of "line_l1".
_ENOUGH_POINTS = 500_000
_L1_STEPS = 200
_L1_GAP = 1e-13


@dataclass(frozen=True, kw_only=True)
class DepthLine:
    """Aligned depth is `scale * predicted + shift`."""

    scale: float = 1.0
    shift: float = 0.0

    def applied(self, predicted: Float[np.ndarray, "*pixels"]) -> Float64[np.ndarray, "*pixels"]:
        """The aligned depth."""
        return self.scale * predicted.astype(np.float64) + self.shift


def fit_depth(
    fit: DepthFit, predicted: Float[np.ndarray, " pixel"], truth: Float[np.ndarray, " pixel"]
) -> DepthLine:
    """The line of a fit; the identity where there are no pixels.

    Both sides are finite, in any unit.
    """
    if fit == "none" or not len(truth):
        return DepthLine()
    fits: dict[str, Callable[..., DepthLine]] = {
        "median": _median_scale,
        "scale_l2": _scale_of_least_squares,
        "scale_l1": weiszfeld_scale,
        "line_l2": _line_of_least_squares,
        "line_l1": least_absolute_line,
        "line_adam": adam_line,
    }
    return fits[fit](predicted.astype(np.float64), truth.astype(np.float64))


def _median_scale(
    predicted: Float64[np.ndarray, " pixel"], truth: Float64[np.ndarray, " pixel"]
) -> DepthLine:
    """The scale median(d) / median(d̂); 1 where the prediction's median is 0."""
    middle = float(np.median(predicted))
    return DepthLine(scale=float(np.median(truth)) / middle if middle != 0 else 1.0)


def _scale_of_least_squares(
    predicted: Float64[np.ndarray, " pixel"], truth: Float64[np.ndarray, " pixel"]
) -> DepthLine:
    """The scale Σ d̂ d / Σ d̂²."""
    square = float(predicted @ predicted)
    return DepthLine(scale=float(predicted @ truth) / square if square > 0 else 1.0)


def weiszfeld_scale(
    predicted: Float64[np.ndarray, " pixel"],
    truth: Float64[np.ndarray, " pixel"],
    *,
    steps: int = _WEISZFELD_STEPS,
) -> DepthLine:
    """The scale of least Σ |s d̂ − d|, by so many steps of least squares with weights 1 / |s d̂ − d|.

    Starts at the ratio of means and is at least .001, as in MonST3R's evaluation, whose ten steps
    come near the optimum (the weighted median of d / d̂) but do not reach it exactly. Of predictions
    in a small unit, such as millimetres, it is at least .001 of the ratio of means instead.
    """
    mean = float(predicted.mean())
    scale = float(truth.mean()) / mean if mean != 0 else 1.0
    least = _SMALLEST_SCALE * (min(1.0, scale) if scale > 0 else 1.0)
    for _ in range(steps):
        weight = 1 / (np.abs(scale * predicted - truth) + 1e-8)
        weighted = weight * predicted
        square = float(weighted @ predicted)
        if square == 0:
            break
        scale = float(weighted @ truth) / square
    return DepthLine(scale=max(scale, least))


def _line_of_least_squares(
    predicted: Float64[np.ndarray, " pixel"], truth: Float64[np.ndarray, " pixel"]
) -> DepthLine:
    """Scale and shift of least Σ (s d̂ + t − d)²; a constant prediction keeps its size in s = 0."""
    middle, target = float(predicted.mean()), float(truth.mean())
    centred = predicted - middle
    spread = float(centred @ centred)
    scale = float(centred @ (truth - target)) / spread if spread > 0 else 0.0
    return DepthLine(scale=scale, shift=target - scale * middle)


@dataclass(frozen=True, kw_only=True)
class _Tangent:
    """The least cost of a scale over all shifts, and how it changes with the scale."""

    scale: float
    shift: float
    cost: float
    slope: float


def least_absolute_line(
    predicted: Float64[np.ndarray, " pixel"], truth: Float64[np.ndarray, " pixel"]
) -> DepthLine:
    """Scale and shift of least Σ |s d̂ + t − d| (least absolute deviations).

    For a given s the best t is the median of d − s d̂, and what is left is convex in s and made of
    straight pieces. Two tangents on both sides of the optimum bound it from below where they meet,
    so the search ends when the cost found is the least one to within rounding: what a linear
    programme gives, in time linear in the pixels.
    """
    start = _line_of_least_squares(predicted, truth)
    step = max(abs(start.scale), 1e-6)
    if len(truth) > _ENOUGH_POINTS:
        every = -(-len(truth) // _ENOUGH_POINTS)
        start = least_absolute_line(predicted[::every], truth[::every])
        step = 1e-3 * max(abs(start.scale), 1e-6)
    ends = _around_the_optimum(predicted, truth, start.scale, step)
    best = min(ends, key=lambda end: end.cost)
    low, high = ends[0], ends[-1]
    tolerance = _L1_GAP * float(np.abs(truth).sum())
    for count in range(_L1_STEPS):
        if low.slope >= 0 or high.slope <= 0:
            break
        meet = (high.slope * high.scale - low.slope * low.scale + low.cost - high.cost) / (
            high.slope - low.slope
        )
        if best.cost - (low.cost + low.slope * (meet - low.scale)) <= tolerance:
            break
        # Where tangents meet is exact at the end, the middle is sure to come nearer.
        scale = meet if count % 2 == 0 else (low.scale + high.scale) / 2
        if not low.scale < scale < high.scale:
            scale = (low.scale + high.scale) / 2
            if not low.scale < scale < high.scale:
                break
        found = _tangent(predicted, truth, scale)
        best = min(best, found, key=lambda tangent: tangent.cost)
        if found.slope == 0:
            break
        low, high = (found, high) if found.slope < 0 else (low, found)
    return DepthLine(scale=best.scale, shift=best.shift)


def _around_the_optimum(
    predicted: Float64[np.ndarray, " pixel"],
    truth: Float64[np.ndarray, " pixel"],
    scale: float,
    step: float,
) -> tuple[_Tangent, ...]:
    """Tangents on both sides of the best scale, or the one that is best already."""
    found = _tangent(predicted, truth, scale)
    if found.slope == 0:
        return (found,)
    direction = -1.0 if found.slope > 0 else 1.0
    while True:
        other = _tangent(predicted, truth, found.scale + direction * step)
        if other.slope == 0:
            return (other,)
        if (other.slope > 0) != (found.slope > 0):
            return (found, other) if direction > 0 else (other, found)
        found, step = other, 2 * step


def _tangent(
    predicted: Float64[np.ndarray, " pixel"], truth: Float64[np.ndarray, " pixel"], scale: float
) -> _Tangent:
    rest = truth - scale * predicted
    shift = float(np.partition(rest, len(rest) // 2)[len(rest) // 2])
    rest -= shift
    cost = float(np.abs(rest).sum())
    signs = np.sign(rest, out=rest)
    on_the_line = signs == 0
    # Points on the line may pull either way; together they balance the others, the shift being
    # the best one.
    signs[on_the_line] = -float(signs.sum()) / np.count_nonzero(on_the_line)
    slope = -float(signs @ predicted)
    # Sums of signs times one and the same prediction differ from 0 by rounding alone.
    if abs(slope) <= 1e-12 * float(np.abs(predicted).sum()):
        slope = 0.0
    return _Tangent(scale=scale, shift=shift, cost=cost, slope=slope)


def adam_line(
    predicted: Float64[np.ndarray, " pixel"], truth: Float64[np.ndarray, " pixel"]
) -> DepthLine:
    """MonST3R's search for the line of least absolute errors: 1000 steps of Adam of size 1e-4.

    It starts at the scale of medians and a shift of 0, and ends when the summed error changes by
    less than 1e-6. A step moves scale and shift by about 1e-4 whatever the data (by 3.2e-4 at
    most), so both end within about .1 of where they began: a shift of a metre is out of its reach,
    and where the scale is large the fit is nearly that of medians. The loop works on at most half a
    million evenly spaced pixels; its steps depend on the direction of the gradient, not on its
    length.
    """
    if len(truth) > _ENOUGH_POINTS:
        every = -(-len(truth) // _ENOUGH_POINTS)
        predicted, truth = predicted[::every], truth[::every]
    line = np.array([_median_scale(predicted, truth).scale, 0.0])
    mean, square = np.zeros(2), np.zeros(2)
    cost_before = np.inf
    for step in range(1, _ADAM_STEPS + 1):
        rest = line[0] * predicted + line[1] - truth
        signs = np.sign(rest)
        gradient = np.array([signs @ predicted, signs.sum()])
        mean = _ADAM_BETAS[0] * mean + (1 - _ADAM_BETAS[0]) * gradient
        square = _ADAM_BETAS[1] * square + (1 - _ADAM_BETAS[1]) * gradient**2
        direction = mean / (1 - _ADAM_BETAS[0] ** step)
        size = np.sqrt(square / (1 - _ADAM_BETAS[1] ** step)) + _ADAM_EPSILON
        line = line - _ADAM_RATE * direction / size
        cost = float(np.abs(rest).sum())
        if abs(cost_before - cost) < _ADAM_STOP:
            break
        cost_before = cost
    return DepthLine(scale=float(line[0]), shift=float(line[1]))
