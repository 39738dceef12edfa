"""How near a predicted surface and the true one lie to each other, without regard to pixels.

Accuracy is the distance from predicted points to their nearest true points, completeness that from
true points to their nearest predicted ones (Seitz et al., A Comparison and Evaluation of Multi-View
Stereo Reconstruction Algorithms, CVPR 2006; means and medians as in Aanaes et al., Large-Scale Data
for Multiple-View Stereopsis, IJCV 2016). At a threshold, precision and recall are the shares of
these distances that do not exceed it, and F = 2 P R / (P + R) (Knapitsch et al., Tanks and Temples,
SIGGRAPH 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.spatial import KDTree

from dynapoint.evaluation.measures.relative import median_distance
from dynapoint.evaluation.metrics import finite_or_origin
from dynapoint.geometry.arrays import transform_points
from dynapoint.geometry.similarity import fit_similarity

Alignment = Literal["none", "median", "similarity"]


@dataclass(frozen=True, kw_only=True)
class SurfaceErrors:
    """Distances in the unit of the truth; shares in [0, 1], one for each threshold."""

    accuracy: float
    accuracy_median: float
    completeness: float
    completeness_median: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]

    @property
    def f_scores(self) -> tuple[float, ...]:
        """Harmonic means of precision and recall; 0 where both are 0."""
        pairs = zip(self.precision, self.recall, strict=True)
        return tuple(2 * p * r / (p + r) if p + r > 0 else 0.0 for p, r in pairs)


def aligned_cloud(
    truth: Float[np.ndarray, "point xyz=3"],
    predicted: Float[np.ndarray, "point xyz=3"],
    *,
    alignment: Alignment = "similarity",
) -> Float64[np.ndarray, "point xyz=3"]:
    """Bring predicted points to the truth, of which point k is the same pixel's.

    Args:
        truth: In any frame and unit.
        predicted: What is not finite counts as the origin.
        alignment: "none"; "median" multiplies by the ratio of the median distances from the
            origin; "similarity" is Umeyama's fit (1991) of scale, rotation and translation.
    """
    said = finite_or_origin(predicted.astype(np.float64))
    if alignment == "none" or not len(said):
        return said
    if alignment == "median":
        everything = np.ones((1, len(said)), dtype=bool)
        scales = [median_distance(side[None], everything) for side in (truth, said)]
        return np.asarray(said * (scales[0] / scales[1]))
    fit = fit_similarity(
        torch.from_numpy(said)[None],
        torch.from_numpy(truth.astype(np.float64))[None],
        torch.ones(1, len(said), dtype=torch.float64),
    )
    return transform_points(fit[0].numpy(), said)


def surface_errors(
    truth: Float[np.ndarray, "true_point xyz=3"],
    predicted: Float[np.ndarray, "predicted_point xyz=3"],
    *,
    thresholds: Sequence[float] = (),
) -> SurfaceErrors:
    """Accuracy, completeness, precision and recall of aligned points; neither side may be empty.

    What is not finite among `predicted` counts as the origin.
    """
    true, said = truth.astype(np.float64), finite_or_origin(predicted.astype(np.float64))
    to_truth = _nearest(said, true)
    to_prediction = _nearest(true, said)
    return SurfaceErrors(
        accuracy=float(to_truth.mean()),
        accuracy_median=float(np.median(to_truth)),
        completeness=float(to_prediction.mean()),
        completeness_median=float(np.median(to_prediction)),
        precision=tuple(float((to_truth <= limit).mean()) for limit in thresholds),
        recall=tuple(float((to_prediction <= limit).mean()) for limit in thresholds),
    )


def _nearest(
    points: Float64[np.ndarray, "asked xyz=3"], others: Float64[np.ndarray, "there xyz=3"]
) -> Float64[np.ndarray, " asked"]:
    """The distance of each point from the nearest of the others."""
    distance, _ = KDTree(others).query(points)
    return np.asarray(distance, np.float64)
