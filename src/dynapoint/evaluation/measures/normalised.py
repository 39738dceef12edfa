"""Errors of point maps after each side is divided by its mean distance from the camera.

V-DPM (arXiv 2601.09499, tables 1 and 2): X~ = X / mean ||X||, for the prediction and the truth
apart, over the pixels M that have a true point; EPE = (1/|M|) sum over M of ||P^~ - P~||. The paper
leaves open what one mean is taken over; both readings are here:

- "joint": over all maps of a question, as the training losses of DPM and V-DPM stack them. Maps
  then have to agree in scale, or a method could answer every map in another unit.
- "each": over every map for itself.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64

from dynapoint.evaluation.metrics import normalised_errors

Normaliser = Literal["joint", "each"]


def true_pixels(
    truth: Float[np.ndarray, "map grid xyz=3"],
) -> Bool[np.ndarray, "map grid"]:
    """Which pixels of each map have a true point: these are compared, whatever was predicted."""
    return np.isfinite(truth).all(axis=-1)


def normalised_map_errors(
    truth: Float[np.ndarray, "map grid xyz=3"],
    predicted: Float[np.ndarray, "map grid xyz=3"],
    *,
    normaliser: Normaliser = "joint",
) -> Float64[np.ndarray, "map grid"]:
    """Distances of predicted from true points, in mean distances from the camera.

    Args:
        truth: In one camera for all maps, any unit; NaN where it is unknown.
        predicted: In the same camera, its own unit; what is not finite counts as the origin.
        normaliser: Whether all maps share one factor.

    Returns:
        NaN where there is no true point.
    """
    compared = true_pixels(truth)
    errors = np.full(compared.shape, np.nan)
    together = [compared] if normaliser == "joint" else _one_by_one(compared)
    for pixels in together:
        if pixels.any():
            errors[pixels] = normalised_errors(truth[pixels], predicted[pixels])
    return errors


def mean_where_known(values: Float[np.ndarray, "*any"]) -> float:
    """The mean of what is not NaN; NaN where there is nothing."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _one_by_one(compared: Bool[np.ndarray, "map grid"]) -> list[Bool[np.ndarray, "map grid"]]:
    """The pixels of each map alone."""
    alone = []
    for index in range(len(compared)):
        pixels = np.zeros_like(compared)
        pixels[index] = compared[index]
        alone.append(pixels)
    return alone
