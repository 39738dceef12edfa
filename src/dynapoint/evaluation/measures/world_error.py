"""Errors of points in the world after one scale for a sequence (WorldTrack).

The protocol of St4RTrack (ICCV 2025), in which DePT3R (Tables 2 and 3) reports: points are in the
camera of the first frame, and predicted ones are multiplied by
s = median ‖X‖ / median ‖X̂‖ over all compared points of all frames (DePT3R, eq. 8).
APD is the mean over δ in {.1, .3, .5, 1} metres of the share of points with ‖s X̂ − X‖ <= δ, in per
cent; EPE = mean ‖s X̂ − X‖, in metres.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from dynapoint.errors import ShapeError
from dynapoint.evaluation.metrics import finite_or_origin

THRESHOLDS_M = (0.1, 0.3, 0.5, 1.0)
MOVING_PATH_M = 0.01


@dataclass(frozen=True, kw_only=True)
class WorldErrors:
    """Errors of one sequence; NaN where no point has a truth.

    Attributes:
        apd: Points within the thresholds, mean over these, per cent.
        epe: Mean distance, in the unit of the truth.
        scale: What predictions were multiplied by.
        points: How many were compared.
    """

    apd: float
    epe: float
    scale: float
    points: int


def world_errors(
    truth: Float[np.ndarray, "*points xyz=3"],
    predicted: Float[np.ndarray, "*predicted_points xyz=3"],
    *,
    thresholds: tuple[float, ...] = THRESHOLDS_M,
) -> WorldErrors:
    """Compare points of all frames after one scale.

    Args:
        truth: In metres, in the camera of the first frame; NaN where there is none.
        predicted: In the same camera and any unit. What is not finite counts as the origin, in the
            scale too. (St4RTrack's code leaves infinite distances out of the EPE.)
        thresholds: In the unit of the truth.

    Raises:
        ShapeError: The two do not have the same shape.
    """
    if truth.shape != predicted.shape:
        raise ShapeError(
            f"predicted points have shape {predicted.shape}; wanted that of the truth, "
            f"{truth.shape}."
        )
    compared = np.isfinite(truth).all(axis=-1)
    true = truth[compared].astype(np.float64)
    said = finite_or_origin(predicted[compared].astype(np.float64))
    if not len(true):
        nothing = float("nan")
        return WorldErrors(apd=nothing, epe=nothing, scale=nothing, points=0)
    scale = scale_of_medians(true, said)
    distance = np.linalg.norm(scale * said - true, axis=-1)
    within = [float((distance <= threshold).mean()) for threshold in thresholds]
    return WorldErrors(
        apd=100 * float(np.mean(within)),
        epe=float(distance.mean()),
        scale=scale,
        points=len(true),
    )


def scale_of_medians(
    truth: Float64[np.ndarray, "point xyz=3"], predicted: Float64[np.ndarray, "point xyz=3"]
) -> float:
    """The scale median ‖X‖ / median ‖X̂‖; 1 where half of the predicted points lie at the origin."""
    middle, said = (
        float(np.median(np.linalg.norm(points, axis=-1))) for points in (truth, predicted)
    )
    return middle / said if said > 0 else 1.0


def moving_tracks(truth: Float[np.ndarray, "frame track xyz=3"]) -> Bool[np.ndarray, " track"]:
    """Which tracks go a way of more than 1 cm in all (St4RTrack's dynamic points).

    Steps from or to a frame without a truth are not counted.
    """
    steps = np.linalg.norm(np.diff(truth.astype(np.float64), axis=0), axis=-1)
    return np.nansum(steps, axis=0) > MOVING_PATH_M
