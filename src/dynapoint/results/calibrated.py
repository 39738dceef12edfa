"""What a scene's confidence and visibility have meant on clips with truth, where it is known."""

import numpy as np
from jaxtyping import Bool, Float32

from dynapoint.models.calibration import AnswerCurves, Calibration
from dynapoint.refinement.findings import Findings


def is_refined(found: Findings | None) -> bool:
    """Whether refinement, if there was any, changed the depths, on which errors depend most."""
    return found is not None and found.depth


def curves_of(calibration: Calibration | None, found: Findings | None) -> AnswerCurves | None:
    """The curves of a scene that refinement found this of, or that is not refined."""
    if calibration is None:
        return None
    return calibration.refined if is_refined(found) else calibration.network


def expected_errors(
    curves: AnswerCurves | None,
    confidence: Float32[np.ndarray, "time *points"],
    own_time: Bool[np.ndarray, " time"],
) -> Float32[np.ndarray, "time *points"] | None:
    """What confidence at some times means, as a share of mean distance.

    Args:
        curves: None where confidence is not calibrated; nor is the answer then.
        confidence: Of points of one frame.
        own_time: Which times are the frame's own.
    """
    if curves is None:
        return None
    rows = zip(confidence, own_time, strict=True)
    return np.stack([curves.expected_error(now, own_time=bool(own)) for now, own in rows])


def calibrated_visibility(
    curves: AnswerCurves | None, visible: Float32[np.ndarray, "*points"]
) -> Float32[np.ndarray, "*points"]:
    """What a depth test says, by what that has meant."""
    return visible if curves is None else curves.probability(visible)
