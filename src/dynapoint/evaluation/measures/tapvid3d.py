"""Scores of 3D tracks as TAPVid-3D defines them (Koppula et al., NeurIPS 2024, and its metrics.py).

Points are in the camera of their own frame. A predicted point is near at p pixels if its distance
from the truth is below p z / f: p pixels of a picture whose shorter side has 256, carried to the
true depth z by the focal length f = √(fx fy) of that picture. With p in {1, 2, 4, 8, 16}:
APD-3D is the mean over p of the share of truly visible points that are near;
AJ-3D the mean over p of TP / (P + FP), where P counts truly visible points, TP those of them that
are near and said to be visible, and FP the points said to be visible that are hidden or not near;
OA the share of points whose visibility is said rightly. All over all frames and tracks of a video.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64

THRESHOLDS_PX = (1, 2, 4, 8, 16)
SHORTER_SIDE_PX = 256

TrackScale = Literal["none", "median", "per_trajectory"]
"""What predicted points are multiplied by: nothing; the ratio of the medians of ‖X‖ over points
that are visible in truth and prediction (the default of the benchmark); or, for each track, the
ratio of depths at the frame it is asked in."""


@dataclass(frozen=True, kw_only=True)
class TrackScores:
    """Scores of one video, in per cent; NaN where the truth has nothing visible."""

    average_jaccard: float
    points_within: float
    occlusion_accuracy: float


def focal_at_256(intrinsics: Float[np.ndarray, "3 3"], image_hw: tuple[int, int]) -> float:
    """√(fx fy) in pixels of the picture brought to a shorter side of 256."""
    scale = SHORTER_SIDE_PX / min(image_hw)
    return scale * float(np.sqrt(intrinsics[0, 0] * intrinsics[1, 1]))


def track_scores(
    *,
    truth: Float[np.ndarray, "frame track xyz=3"],
    truth_visible: Bool[np.ndarray, "frame track"],
    predicted: Float[np.ndarray, "frame track xyz=3"],
    predicted_visible: Bool[np.ndarray, "frame track"],
    focal_px: float,
    scale: TrackScale = "median",
    asked_frame: int = 0,
) -> TrackScores:
    """Score the tracks of one video.

    Args:
        truth: In the camera of each frame; a visible point without one is not compared.
        truth_visible: Whether the camera sees the point.
        predicted: In the camera of each frame, in any unit; what is not finite is never near.
        predicted_visible: Whether the method says so.
        focal_px: `focal_at_256`.
        scale: What predictions are multiplied by.
        asked_frame: Where tracks are asked, for the scale of each trajectory.
    """
    true, said = truth.astype(np.float64), predicted.astype(np.float64)
    known, finite = (np.asarray(np.isfinite(each).all(axis=-1)) for each in (true, said))
    compared = known | ~truth_visible
    visible = truth_visible & known
    said_visible = predicted_visible & compared
    true = np.where(known[..., None], true, 0.0)
    both = visible & predicted_visible & finite
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        factor = _factor(true, said, both=both, scale=scale, asked_frame=asked_frame)
        distance = np.linalg.norm(factor * said - true, axis=-1)
    jaccards, shares = [], []
    count = int(visible.sum())
    for pixels in THRESHOLDS_PX:
        with np.errstate(invalid="ignore"):
            near = distance < pixels * true[..., 2] / focal_px
        right = near & visible
        false_positives = int((said_visible & ~right).sum())
        hits = int((right & said_visible).sum())
        shares.append(_share(int(right.sum()), count))
        jaccards.append(_share(hits, count + false_positives))
    agreed = (predicted_visible == truth_visible) & compared
    return TrackScores(
        average_jaccard=100 * float(np.mean(jaccards)),
        points_within=100 * float(np.mean(shares)),
        occlusion_accuracy=100 * _share(int(agreed.sum()), int(compared.sum())),
    )


def _factor(
    truth: Float64[np.ndarray, "frame track xyz=3"],
    predicted: Float64[np.ndarray, "frame track xyz=3"],
    *,
    both: Bool[np.ndarray, "frame track"],
    scale: TrackScale,
    asked_frame: int,
) -> Float64[np.ndarray, "#frame #track 1"]:
    """What predictions are multiplied by; NaN, which nothing is near to, where that is unknown."""
    if scale == "none":
        return np.ones((1, 1, 1))
    if scale == "per_trajectory":
        deep, said = (np.maximum(points[asked_frame, :, 2], 1e-12) for points in (truth, predicted))
        return (deep / said)[None, :, None]
    if not both.any():
        return np.full((1, 1, 1), np.nan)
    middle, said_middle = (
        float(np.median(np.linalg.norm(points[both], axis=-1))) for points in (truth, predicted)
    )
    return np.full((1, 1, 1), middle / said_middle if said_middle > 0 else np.nan)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
