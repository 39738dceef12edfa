"""The truth of a task as arrays: points and poses in the camera of the first frame shown."""

import numpy as np
from jaxtyping import Bool, Float64

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import ShapeError
from dynapoint.evaluation.protocols.protocol import Measured
from dynapoint.evaluation.protocols.task import Task
from dynapoint.evaluation.protocols.track_queries import camera_of, track_queries
from dynapoint.geometry.arrays import points_in_camera


def grid_of(task: Task) -> tuple[slice, slice]:
    """Rows and columns of pictures that the task's maps are asked on."""
    every = slice(task.stride // 2, None, task.stride)
    return every, every


def true_depth(task: Task, sequence: TruthSequence) -> Float64[np.ndarray, "frame row column"]:
    """Depth of the frames shown on the grid, NaN where it is unknown."""
    grid = grid_of(task)
    return np.stack([sequence.depth(frame)[grid] for frame in task.frames]).astype(np.float64)


def true_poses(task: Task, sequence: TruthSequence) -> Float64[np.ndarray, "frame 4 4"]:
    """Poses of the frames shown; the world is the camera of the first."""
    poses = np.stack([camera_of(sequence, frame) for frame in task.frames])
    return np.linalg.inv(poses[0]) @ poses


def true_tracks(
    task: Task, sequence: TruthSequence
) -> tuple[Float64[np.ndarray, "frame track xyz=3"], Bool[np.ndarray, "frame track"]]:
    """Places and visibility of the tracks asked for, in the frames shown.

    Raises:
        ShapeError: The task does not ask for the tracks that its first frame sees.
    """
    chosen = track_queries(sequence, task.frames[0]).chosen
    if len(chosen) != len(task.track_xy):
        raise ShapeError(
            f"{task.key} asks for {len(task.track_xy)} tracks, frame {task.frames[0]} sees "
            f"{len(chosen)}; predict again with this version."
        )
    tracks = sequence.tracks()
    frames = list(task.frames)
    xyz = tracks.xyz[frames][:, chosen].astype(np.float64)
    return (
        points_in_camera(xyz, camera_of(sequence, task.frames[0])),
        tracks.visible[frames][:, chosen],
    )


def need_shape(task: Task, what: str, found: np.ndarray, wanted: np.ndarray) -> None:
    """Refuse a part of an answer that does not fit the truth.

    Raises:
        ShapeError: Its shape is another one.
    """
    if found.shape != wanted.shape:
        raise ShapeError(
            f"the answer to {task.key} has {what} of shape {found.shape}; wanted {wanted.shape}; "
            "predict this task again"
        )


def nothing(*metrics: str) -> tuple[Measured, ...]:
    """What was not asked, answered or known: NaN for each metric."""
    return tuple(Measured(metric=metric, value=float("nan")) for metric in metrics)
