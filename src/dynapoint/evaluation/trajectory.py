"""Errors of camera paths and of tracks over long clips, as pure functions of arrays.

Paths are compared as is usual for camera poses (Sturm et al., A Benchmark for the Evaluation of
RGB-D SLAM Systems, IROS 2012; MonST3R and V-DPM by the package evo): the predicted path is moved
by the similarity that fits its positions best (Umeyama 1991), then absolute errors are distances of
positions, and relative ones those of the motions between frames a fixed number apart, all pairs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64

from dynapoint.errors import ShapeError
from dynapoint.geometry.arrays import rotation_angle_rad
from dynapoint.geometry.similarity import fit_similarity, split_similarity

Poses = Float64[np.ndarray, "frame 4 4"]
PredictedPoses = Float64[np.ndarray, "predicted_frame 4 4"]

MOVING_FRACTION_OF_DEPTH = 0.01


@dataclass(frozen=True, kw_only=True)
class PathErrors:
    """How a predicted camera path differs from the true one, in the unit of the truth.

    Attributes:
        ate: Root mean square of distances of positions (absolute trajectory error).
        ate_largest: The largest such distance.
        rpe_translation: Root mean square error of the translation from frame to frame.
        rpe_rotation_deg: The same of the angle.
        far_translation, far_rotation_deg: The same between frames `far` apart; NaN where the clip
            is not that long.
        scale: True units in a unit of the prediction.
        scale_drift: By how much the scale differs between stretches of the path, as the largest
            difference of its logarithm; NaN where the path has less than two stretches.
    """

    ate: float
    ate_largest: float
    rpe_translation: float
    rpe_rotation_deg: float
    far_translation: float
    far_rotation_deg: float
    scale: float
    scale_drift: float


def path_errors(truth: Poses, predicted: PredictedPoses, *, far: int = 100) -> PathErrors:
    """All errors of one path.

    Raises:
        ShapeError: The two do not have the same number of frames.
    """
    moved, scale = aligned_path(truth, predicted)
    distances = np.linalg.norm(moved[:, :3, 3] - truth[:, :3, 3], axis=-1)
    near, apart = (relative_errors(truth, moved, delta=delta) for delta in (1, far))
    scales = local_scales(truth, predicted)
    return PathErrors(
        ate=_rms(distances),
        ate_largest=float(distances.max()),
        rpe_translation=_rms(near[0]),
        rpe_rotation_deg=_rms(near[1]),
        far_translation=_rms(apart[0]),
        far_rotation_deg=_rms(apart[1]),
        scale=scale,
        scale_drift=float(np.ptp(np.log(scales))) if len(scales) > 1 else float("nan"),
    )


def aligned_path(truth: Poses, predicted: PredictedPoses) -> tuple[PredictedPoses, float]:
    """The predicted poses in the world and unit of the truth, and the scale that took them there.

    The similarity fits positions; orientations only follow it. Positions that all lie in one place
    leave the scale at 1.

    Raises:
        ShapeError: The two do not have the same number of frames, or there is none.
    """
    if truth.shape != predicted.shape or not len(truth):
        raise ShapeError(
            f"the predicted path has shape {predicted.shape}, the true one {truth.shape}; wanted "
            "the same frames in both, and at least one."
        )
    said, true = (torch.from_numpy(poses[None, :, :3, 3].copy()) for poses in (predicted, truth))
    matrix = fit_similarity(said, true, torch.ones(1, len(truth)))
    scale, rigid = split_similarity(matrix)
    moved = rigid[0].numpy() @ predicted
    moved[:, :3, 3] = predicted[:, :3, 3] @ matrix[0, :3, :3].numpy().T + matrix[0, :3, 3].numpy()
    return moved, float(scale)


def relative_errors(
    truth: Poses, predicted: Poses, *, delta: int
) -> tuple[Float64[np.ndarray, " pair"], Float64[np.ndarray, " pair"]]:
    """Errors of the motion from each frame to the one `delta` later: distance, and degrees.

    The prediction has the unit of the truth.
    """
    pairs = np.stack([np.arange(len(truth) - delta), np.arange(delta, len(truth))], axis=1)
    return motion_errors(truth, predicted, pairs)


def motion_errors(
    truth: Poses, predicted: Poses, pairs: Int64[np.ndarray, "pair end=2"]
) -> tuple[Float64[np.ndarray, " pair"], Float64[np.ndarray, " pair"]]:
    """Errors of the motions between pairs of frames: distance, and degrees.

    Between frames in which a camera comes back to a place, they are the drift of the loop.
    """
    true, said = (
        np.linalg.inv(poses[pairs[:, 0]]) @ poses[pairs[:, 1]] for poses in (truth, predicted)
    )
    error = np.linalg.inv(true) @ said
    angles = rotation_angle_rad(true[:, :3, :3], said[:, :3, :3])
    return np.linalg.norm(error[:, :3, 3], axis=-1), np.degrees(angles)


def revisits(
    truth: Poses, *, least_frames: int, within: float, within_deg: float
) -> Int64[np.ndarray, "pair end=2"]:
    """For each frame the nearest one, at least so many earlier, from which it looks the same way.

    Frames without one within the distance (in the unit of the truth) and angle are left out.
    """
    found = []
    for late in range(least_frames, len(truth)):
        early = truth[: late - least_frames + 1]
        distance = np.linalg.norm(early[:, :3, 3] - truth[late, :3, 3], axis=-1)
        angle = np.degrees(rotation_angle_rad(early[:, :3, :3], truth[late : late + 1, :3, :3]))
        distance = np.where(angle <= within_deg, distance, np.inf)
        nearest = int(distance.argmin())
        if distance[nearest] <= within:
            found.append((nearest, late))
    return np.array(found, np.int64).reshape(-1, 2)


def local_scales(
    truth: Poses, predicted: Poses, *, stretches: int = 8
) -> Float64[np.ndarray, " stretch"]:
    """True units in a predicted unit, of stretches of the path that are equally long in truth.

    The ratio of how far positions spread about their mean. A stretch is left out whose positions
    do not spread in one of the two.
    """
    steps = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=-1)
    gone = np.concatenate([[0.0], steps.cumsum()])
    if gone[-1] == 0:
        return np.empty(0)
    part = np.minimum((gone / gone[-1] * stretches).astype(int), stretches - 1)
    ratios = []
    for index in range(stretches):
        spreads = []
        for poses in (truth, predicted):
            places = poses[part == index, :3, 3]
            spreads.append(float(np.sqrt(places.var(axis=0).sum())) if len(places) else 0.0)
        if min(spreads) > 0:
            ratios.append(spreads[0] / spreads[1])
    return np.array(ratios)


@dataclass(frozen=True, kw_only=True)
class TrackErrors:
    """Errors of the points of one frame at one time, apart for what stands still and moves.

    Medians of distances over the true depth of each point in the camera of that time, over points
    that this camera sees; NaN where there are none.
    """

    still: float
    moving: float
    still_points: int
    moving_points: int


def track_errors(
    *,
    truth: Float[np.ndarray, "*pixels xyz=3"],
    own_truth: Float[np.ndarray, "*pixels xyz=3"],
    predicted: Float[np.ndarray, "*pixels xyz=3"],
    visible: Bool[np.ndarray, "*pixels"],
    camera: Float64[np.ndarray, "4 4"],
) -> TrackErrors:
    """Compare a frame's points at another time.

    Args:
        truth: Where they are at that time; NaN where there is nothing.
        own_truth: Where they are at the frame's own time.
        predicted: What is said, in the world and unit of the truth. What is not finite is an error
            of 1.
        visible: Whether the camera of that time sees them.
        camera: That camera, world_from_camera.
    """
    depth = (truth - camera[:3, 3]) @ camera[:3, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.linalg.norm(predicted - truth, axis=-1) / depth
        moves = np.linalg.norm(truth - own_truth, axis=-1) > MOVING_FRACTION_OF_DEPTH * depth
    error = np.where(np.isfinite(predicted).all(axis=-1), error, 1.0)
    used = visible & np.isfinite(truth).all(axis=-1) & (depth > 0)
    still, moving = error[used & ~moves], error[used & moves]
    return TrackErrors(
        still=float(np.median(still)) if len(still) else float("nan"),
        moving=float(np.median(moving)) if len(moving) else float("nan"),
        still_points=len(still),
        moving_points=len(moving),
    )


def _rms(values: Float64[np.ndarray, " value"]) -> float:
    return float(np.sqrt((values**2).mean())) if len(values) else float("nan")
