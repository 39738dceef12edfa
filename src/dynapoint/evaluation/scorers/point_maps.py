"""The true maps of a task and the maps of its answer, in one shape."""

import numpy as np
from jaxtyping import Float, Float64

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import ShapeError
from dynapoint.evaluation.protocols.task import Task
from dynapoint.geometry.arrays import points_in_camera


def true_maps(
    task: Task, sequence: TruthSequence, *, camera: int = 0
) -> Float64[np.ndarray, "map grid xyz=3"]:
    """The maps that a task asks, in the camera of one of the frames shown.

    Args:
        task: Its grid and maps.
        sequence: Its truth.
        camera: The position of that frame in `task.frames`.

    Returns:
        In the unit of the truth; NaN where a pixel has no true point, in a whole map where the
        sequence knows nothing of other times.
    """
    rows, columns = task.grid_hw(sequence.image_hw)
    maps = np.full((len(task.maps), rows * columns, 3), np.nan)
    pose = sequence.world_from_camera(task.frames[camera])
    grid = slice(task.stride // 2, None, task.stride)
    for index, (source, time) in enumerate(task.maps):
        frame, at = task.frames[source], task.frames[time]
        if frame == at or sequence.holds.motion != "own_time":
            world = sequence.points(frame, at)[grid, grid].astype(np.float64)
            maps[index] = points_in_camera(world, pose).reshape(-1, 3)
    return maps


def answered_maps(
    task: Task,
    sequence: TruthSequence,
    points: Float[np.ndarray, "map row column xyz=3"],
) -> Float64[np.ndarray, "map grid xyz=3"]:
    """The maps of an answer in the shape of `true_maps`.

    Raises:
        ShapeError: They are not the maps of the task.
    """
    wanted = (len(task.maps), *task.grid_hw(sequence.image_hw), 3)
    if points.shape != wanted:
        raise ShapeError(
            f"the answer to {task.key} has maps of shape {points.shape}; wanted {wanted}; predict "
            "this task again"
        )
    return points.astype(np.float64).reshape(len(task.maps), -1, 3)


def by_source_and_time(
    task: Task, maps: Float64[np.ndarray, "map grid xyz=3"]
) -> Float64[np.ndarray, "source=2 time=2 grid xyz=3"]:
    """The four maps of a pair of frames, whatever order the task asks them in.

    Raises:
        ShapeError: The task does not ask all four.
    """
    four = ((0, 0), (0, 1), (1, 0), (1, 1))
    missing = [pair for pair in four if pair not in task.maps]
    if missing:
        raise ShapeError(f"{task.key} does not ask the maps {missing}; wanted all of {four}")
    return maps[[task.maps.index(pair) for pair in four]].reshape(2, 2, -1, 3)
