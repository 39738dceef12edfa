"""Errors of point maps relative to the distance of each point, under one median scale.

DPM (arXiv 2503.16318, section 5, table 3): both sides are divided by the median distance Z of their
own stack [P1(t1, camera 1); P2(t2, camera 1)], the maps of both images at their own times; then
L_rel = (1/|M|) sum over M of ||P^ - P|| / ||P||, for each of the four maps.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64

from dynapoint.evaluation.measures.normalised import true_pixels
from dynapoint.evaluation.metrics import finite_or_origin


def median_distance(
    points: Float[np.ndarray, "map grid xyz=3"], compared: Bool[np.ndarray, "map grid"]
) -> float:
    """The median distance from the origin; 1 where it is 0 or nothing is compared.

    What is not finite counts as the origin.
    """
    if not compared.any():
        return 1.0
    distances = np.linalg.norm(finite_or_origin(points[compared].astype(np.float64)), axis=-1)
    middle = float(np.median(distances))
    return middle if middle > 0 else 1.0


def relative_map_errors(
    truth: Float[np.ndarray, "map grid xyz=3"],
    predicted: Float[np.ndarray, "map grid xyz=3"],
    *,
    scale_maps: Sequence[int],
) -> Float64[np.ndarray, "map grid"]:
    """||P^ / Z^ - P / Z|| / ||P / Z|| for every pixel.

    Args:
        truth: In one camera for all maps, any unit; NaN where it is unknown.
        predicted: In the same camera, its own unit; what is not finite counts as the origin, which
            is an error of 1.
        scale_maps: The maps that Z is the median distance of: those at their own times.

    Returns:
        NaN where there is no true point, or where it is the camera's centre, which no error is
        relative to.
    """
    compared = true_pixels(truth)
    chosen = list(scale_maps)
    true_unit = median_distance(truth[chosen], compared[chosen])
    said_unit = median_distance(predicted[chosen], compared[chosen])
    true = truth.astype(np.float64) / true_unit
    said = finite_or_origin(predicted.astype(np.float64)) / said_unit
    length = np.linalg.norm(true, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.linalg.norm(said - true, axis=-1) / length
    return np.where(compared & (length > 0), errors, np.nan)
