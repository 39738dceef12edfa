"""Region and boundary of masks, as DAVIS defines them.

Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR
2016, and the code of its evaluation.

J is the intersection of two masks over their union; 1 where both are empty. F is the harmonic mean
of precision and recall of boundary pixels, which match where one of the other mask lies within
.008 of the picture's diagonal (rounded up to pixels).
"""

import math

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt

from dynapoint.errors import ShapeError

TOLERANCE_OF_DIAGONAL = 0.008


def region_overlap(
    truth: Bool[np.ndarray, "height width"],
    predicted: Bool[np.ndarray, "predicted_height predicted_width"],
) -> float:
    """J, from 0 to 1.

    Raises:
        ShapeError: The masks differ in size.
    """
    _need_one_size(truth, predicted)
    union = int((truth | predicted).sum())
    return int((truth & predicted).sum()) / union if union else 1.0


def boundary_match(
    truth: Bool[np.ndarray, "height width"],
    predicted: Bool[np.ndarray, "predicted_height predicted_width"],
    *,
    tolerance: float = TOLERANCE_OF_DIAGONAL,
) -> float:
    """F, from 0 to 1.

    Where one mask has no boundary (it is empty, or full) and the other has, F is 0; where neither
    has, 1.

    Raises:
        ShapeError: The masks differ in size.
    """
    _need_one_size(truth, predicted)
    within = math.ceil(tolerance * math.hypot(*truth.shape))
    true_edge, edge = boundary(truth), boundary(predicted)
    if not true_edge.any() or not edge.any():
        return float(true_edge.any() == edge.any())
    precision = float((distance_transform_edt(~true_edge)[edge] <= within).mean())
    recall = float((distance_transform_edt(~edge)[true_edge] <= within).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels that differ from the one to the right, below, or right below, within the picture."""
    wider = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != wider[:-1, 1:]) | (mask != wider[1:, :-1]) | (mask != wider[1:, 1:])


def _need_one_size(truth: np.ndarray, predicted: np.ndarray) -> None:
    if truth.shape != predicted.shape:
        raise ShapeError(
            f"a predicted mask has {predicted.shape} pixels; wanted those of the truth, "
            f"{truth.shape}."
        )
