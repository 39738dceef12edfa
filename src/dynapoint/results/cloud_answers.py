"""The points of all frames as one cloud."""

from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from dynapoint.results.asking import as_numpy, as_tensor
from dynapoint.results.checked import checked_index
from dynapoint.results.motion_answers import moving_at_ends
from dynapoint.results.pictures import map_pictures
from dynapoint.results.scene_maps import SceneMaps, maps_of_frames

if TYPE_CHECKING:
    from dynapoint.reductions.fusion import FusedCloud


def fuse(
    scene: SceneMaps,
    *,
    time: SupportsIndex,
    voxel_size: float | None = None,
    max_points: int | None = None,
) -> "FusedCloud[np.ndarray]":
    """All frames at one time as one cloud, each piece of surface once, motion undone.

    Args:
        scene: Whose points.
        time: The time at which the points are placed.
        voxel_size: Edge of the cubes of which each gives one point, in scene units; by default the
            usual distance between neighbouring pixels' points.
        max_points: At most this many points; None for all.

    Returns:
        Points in the world and scene units, colours (sRGB, 0 to 255), and the pixels they are of.

    Raises:
        ConfigError: `voxel_size` is not positive and finite, or `max_points` is less than 1.
        InputError: `time` is no index of a frame used.
    """
    from dynapoint.reductions import fusion  # noqa: PLC0415

    moment = checked_index(time, "time", scene.frame_count)
    points, confidence = maps_of_frames(scene, range(scene.frame_count), moment)
    return as_numpy(
        fusion.fuse(
            [as_tensor(frame) for frame in points],
            as_tensor(confidence),
            as_tensor(map_pictures(scene)),
            voxel_size=voxel_size,
            max_points=max_points,
        )
    )


def background(
    scene: SceneMaps, *, voxel_size: float | None = None, max_points: int | None = None
) -> "FusedCloud[np.ndarray]":
    """What stands still, of all frames, as one cloud.

    A pixel's stillness is judged between its own time and the first and last times.

    Args:
        scene: Whose points.
        voxel_size: As of `fuse`.
        max_points: At most this many points; None for all.

    Returns:
        As of `fuse`; each point is where it is at its frame's own time.

    Raises:
        ConfigError: `voxel_size` is not positive and finite, or `max_points` is less than 1.
    """
    from dynapoint.reductions import fusion  # noqa: PLC0415

    return as_numpy(
        fusion.fuse(
            [as_tensor(frame) for frame in scene.own_time_points],
            as_tensor(scene.own_time_confidence),
            as_tensor(map_pictures(scene)),
            still=as_tensor(np.float32(1) - moving_at_ends(scene)),
            voxel_size=voxel_size,
            max_points=max_points,
        )
    )
