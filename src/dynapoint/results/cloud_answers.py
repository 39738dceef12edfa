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
    """Fuse all frames into one cloud at one time, with motion undone and no surface twice.

    Args:
        scene: The scene.
        time: The time at which the points are placed, as a frame index.
        voxel_size: Edge of the voxels, in scene units. Each voxel gives one point. The default is
            the usual distance between the points of neighbouring pixels.
        max_points: At most this many points; None for all.

    Returns:
        Points in the world and scene units, colours (sRGB, 0 to 255), and the pixel of each point.

    Raises:
        ConfigError: `voxel_size` is not positive and finite, or `max_points` is less than 1.
        InputError: `time` is not the index of a frame used.
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
    """Fuse what stands still in all frames into one cloud.

    A pixel stands still if it does not move between its own time and the first and last times.

    Args:
        scene: The scene.
        voxel_size: Edge of the voxels, as for `fuse`.
        max_points: At most this many points; None for all.

    Returns:
        A cloud as from `fuse`; each point is at its place of its frame's own time.

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
