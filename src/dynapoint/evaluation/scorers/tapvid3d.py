"""Tracks in the camera of their own frame, with thresholds that grow with depth (TAPVid-3D)."""

import numpy as np

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.tapvid3d import TrackScale, focal_at_256, track_scores
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.whole_truth import need_shape, nothing, true_poses, true_tracks

SCALES: tuple[TrackScale, ...] = ("median", "per_trajectory", "none")


def score_tapvid3d(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """AJ-3D, APD-3D and occlusion accuracy under each scale.

    Predicted tracks come in the camera of the first frame; the method's own poses bring them to
    the camera of each frame. A method that says nothing of what is hidden sees everything.
    """
    said_poses = answer.world_from_camera
    if answer.tracks is None or said_poses is None or not task.track_xy:
        return nothing(*(key for scale in SCALES for key in tapvid3d_keys(scale)))
    truth, visible = true_tracks(task, sequence)
    true_cameras = true_poses(task, sequence)
    need_shape(task, "tracks", answer.tracks, truth)
    need_shape(task, "poses", said_poses, true_cameras)
    said_visible = answer.tracks_visible
    if said_visible is None:
        said_visible = np.ones(visible.shape, bool)
    need_shape(task, "visibility", said_visible, visible)
    measured = []
    for scale in SCALES:
        scores = track_scores(
            truth=_in_own_cameras(truth, true_cameras),
            truth_visible=visible,
            predicted=_in_own_cameras(answer.tracks, said_poses),
            predicted_visible=said_visible,
            focal_px=focal_at_256(sequence.intrinsics(task.frames[0]), sequence.image_hw),
            scale=scale,
        )
        values = (scores.average_jaccard, scores.points_within, scores.occlusion_accuracy)
        measured += [
            Measured(metric=key, value=value)
            for key, value in zip(tapvid3d_keys(scale), values, strict=True)
        ]
    return tuple(measured)


def tapvid3d_keys(scale: TrackScale) -> tuple[str, str, str]:
    """Keys of AJ-3D, APD-3D and occlusion accuracy under a scale."""
    return f"aj_3d_{scale}", f"apd_3d_{scale}", f"occlusion_{scale}"


def _in_own_cameras(points: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    """Points of each frame, in the camera of that frame."""
    rotation, place = world_from_camera[:, :3, :3], world_from_camera[:, None, :3, 3]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((points.astype(np.float64) - place) @ rotation)


TAPVID3D_COLUMNS = tuple(
    Column(
        metric=key,
        title=title if scale == "median" else f"{title}, {words}",
        unit="per cent",
        better="higher",
        decimals=1,
        default=scale == "median",
    )
    for scale, words in zip(SCALES, ("", "scale per track", "metric"), strict=True)
    for key, title in zip(tapvid3d_keys(scale), ("AJ-3D", "APD-3D", "OA"), strict=True)
    # Nothing is said of visibility by a scale.
    if scale == "median" or title != "OA"
)
