"""Errors of 3D flow between two images, forward and backward, with and without the camera's motion.

DPM (arXiv 2503.16318, table 4), with P_i(t_j, k) for image i at time j in camera k:

- scene flow (as a camera sees it move): forward P1(t2, 2) - P1(t1, 1), backward P2(t1, 1) -
  P2(t2, 2); it needs the maps of two calls, of which the second has the images in the other order;
- object flow (in one camera): forward P1(t2, 1) - P1(t1, 1), backward P2(t1, 1) - P2(t2, 1).

EPE is the mean of ||f^ - f|| over the pixels whose true flow is known. The paper does not say how
scales are made comparable. Here, as in its table 3, by the median distance Z of the maps of both
images at their own times, of each call for itself: predicted maps of a call are multiplied by
Z / Z^ of that call, which makes them comparable in the truth's unit. Lengths are then divided by
Z of the first call ("median") or are left in the truth's unit ("truth"). Dividing the maps of each
call by their own Z instead would make a true flow of points that stand still when the camera moves
towards them, as the two calls' Z differ.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from dynapoint.evaluation.measures.normalised import mean_where_known, true_pixels
from dynapoint.evaluation.measures.relative import median_distance
from dynapoint.evaluation.metrics import finite_or_origin

FlowUnit = Literal["median", "truth"]


@dataclass(frozen=True, kw_only=True)
class FlowErrors:
    """Mean errors of flow; NaN where no true flow is known, or where none was predicted."""

    scene_forward: float
    scene_backward: float
    object_forward: float
    object_backward: float


def flow_errors(
    truth: Float[np.ndarray, "call=2 source=2 time=2 grid xyz=3"],
    predicted: Float[np.ndarray, "call=2 source=2 time=2 grid xyz=3"]
    | Float[np.ndarray, "call=1 source=2 time=2 grid xyz=3"],
    *,
    unit: FlowUnit = "median",
) -> FlowErrors:
    """Errors of the four flows of a pair of images.

    Args:
        truth: Maps in the camera of image `call`; NaN where they are unknown.
        predicted: The same in its own unit, one unit a call; what is not finite counts as the
            origin. Without the second call there is no scene flow.
        unit: "median" divides by the median distance of the true own-time maps of call 0.
    """
    said = [_in_true_unit(truth[call], maps) for call, maps in enumerate(predicted)]
    ends = {  # (call, source, time) of where a flow begins and where it ends.
        "scene_forward": ((0, 0, 0), (1, 0, 1)),
        "scene_backward": ((1, 1, 1), (0, 1, 0)),
        "object_forward": ((0, 0, 0), (0, 0, 1)),
        "object_backward": ((0, 1, 1), (0, 1, 0)),
    }
    length = _own_time_distance(truth[0], truth[0]) if unit == "median" else 1.0
    found = {}
    for name, (begin, end) in ends.items():
        error = float("nan")
        if max(begin[0], end[0]) < len(said):
            true_flow = truth[end].astype(np.float64) - truth[begin].astype(np.float64)
            said_flow = said[end[0]][end[1:]] - said[begin[0]][begin[1:]]
            error = mean_where_known(np.linalg.norm(said_flow - true_flow, axis=-1)) / length
        found[name] = error
    return FlowErrors(**found)


def _in_true_unit(
    truth: Float[np.ndarray, "source=2 time=2 grid xyz=3"],
    predicted: Float[np.ndarray, "source=2 time=2 grid xyz=3"],
) -> Float64[np.ndarray, "source=2 time=2 grid xyz=3"]:
    """The predicted maps of a call times Z / Z^."""
    factor = _own_time_distance(truth, truth) / _own_time_distance(truth, predicted)
    return finite_or_origin(predicted.astype(np.float64)) * factor


def _own_time_distance(
    truth: Float[np.ndarray, "source=2 time=2 grid xyz=3"],
    measured: Float[np.ndarray, "source=2 time=2 grid xyz=3"],
) -> float:
    """Median distance of the own-time maps over the pixels that have a true point."""
    own = np.array([0, 1])
    return median_distance(measured[own, own], true_pixels(truth[own, own]))
