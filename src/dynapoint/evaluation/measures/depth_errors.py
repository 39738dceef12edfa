"""Errors of depth after a stated fit (Eigen et al., NeurIPS 2014, and MonST3R's evaluation).

d is true and d̂ fitted depth, over all compared pixels of all frames of a sequence together:
AbsRel = mean |d̂ − d| / d; δ < 1.25 is the share of pixels with max(d̂/d, d/d̂) < 1.25;
RMSE = √ mean (d̂ − d)².
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dynapoint.errors import ShapeError
from dynapoint.evaluation.measures.depth_fit import DepthFit, DepthLine, fit_depth

DELTA = 1.25


@dataclass(frozen=True, kw_only=True)
class DepthErrors:
    """Errors of one sequence; NaN where no pixel has a true depth.

    Attributes:
        abs_rel: Mean relative error, a share.
        delta: Pixels within a factor of 1.25, per cent.
        rmse: In the unit of the truth.
        pixels: How many were compared.
        line: The fit that was taken first.
    """

    abs_rel: float
    delta: float
    rmse: float
    pixels: int
    line: DepthLine


def depth_errors(
    truth: Float[np.ndarray, "*pixels"],
    predicted: Float[np.ndarray, "*predicted_pixels"],
    *,
    fit: DepthFit,
    farthest: float = float("inf"),
    clipped_at: float = float("inf"),
) -> DepthErrors:
    """Compare the depth of all frames of a sequence after one fit.

    Pixels are compared whose true depth is finite, above 0 and below `farthest`. A prediction that
    is not finite takes no part in the fit and counts as a depth of 0: an AbsRel of 1, outside δ.

    Args:
        truth: z along the camera's axis; NaN where it is unknown.
        predicted: The same, in any unit.
        fit: What is taken away before errors are measured.
        farthest: In the unit of the truth.
        clipped_at: Fitted depth beyond this counts as this.

    Raises:
        ShapeError: The two do not have the same shape.
    """
    if truth.shape != predicted.shape:
        raise ShapeError(
            f"predicted depth has shape {predicted.shape}; wanted that of the truth, {truth.shape}."
        )
    with np.errstate(invalid="ignore"):
        compared = (truth > 0) & (truth < farthest)
    d, said = truth[compared].astype(np.float64), predicted[compared].astype(np.float64)
    there = np.isfinite(said)
    line = fit_depth(fit, said[there], d[there])
    if not len(d):
        nothing = float("nan")
        return DepthErrors(abs_rel=nothing, delta=nothing, rmse=nothing, pixels=0, line=line)
    fitted = np.where(there, line.applied(np.where(there, said, 0.0)), 0.0)
    fitted = np.minimum(fitted, clipped_at)
    away = fitted - d
    near = (fitted < DELTA * d) & (DELTA * fitted > d)
    return DepthErrors(
        abs_rel=float((np.abs(away) / d).mean()),
        delta=100 * float(near.mean()),
        rmse=float(np.sqrt((away**2).mean())),
        pixels=len(d),
        line=line,
    )
