"""The points of all frames as one cloud."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from dynapoint.results.asking import as_numpy, as_tensor, span_of
from dynapoint.results.checked import checked_index
from dynapoint.results.motion_answers import maps_without_seams, moving_at_ends
from dynapoint.results.pictures import map_pictures
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.thinning import MOST_SHOWN, shown_part

if TYPE_CHECKING:
    from dynapoint.reductions.fusion import FusedCloud

# Points of a long clip's cloud times its frames: which frame sees which point is one byte each.
_MOST_SEEN = 1 << 28


def fuse(
    scene: SceneMaps,
    *,
    time: SupportsIndex,
    voxel_size: float | None = None,
    max_points: int | None = None,
) -> "FusedCloud[np.ndarray]":
    """Fuse all frames into one cloud at one time, with motion undone and no surface twice.

    Of a long clip, at most 120 evenly spaced frames of the segment, and those that a network saw
    together with the time; what moves comes from the latter.

    Args:
        scene: The scene.
        time: The time at which the points are placed, as a frame index.
        voxel_size: Edge of the voxels, in scene units. Each voxel gives one point. The default is
            the usual distance between the points of neighbouring pixels.
        max_points: At most this many points; None for all, of a long clip for as many as memory
            holds together with the frames that see them.

    Returns:
        Points in the world and scene units, colours (sRGB, 0 to 255), and the pixel of each point.

    Raises:
        ConfigError: `voxel_size` is not positive and finite, or `max_points` is less than 1.
        InputError: `time` is not the index of a frame used.
    """
    from dynapoint.reductions import fusion  # noqa: PLC0415

    moment = checked_index(time, "time", scene.frame_count)
    frames = _fused_frames(scene, moment)
    points, confidence = maps_without_seams(scene, frames, moment)
    cloud = fusion.fuse(
        [as_tensor(frame) for frame in points],
        as_tensor(confidence),
        as_tensor(map_pictures(scene, frames)),
        voxel_size=voxel_size,
        max_points=_most(scene, max_points),
    )
    return _of_clip(scene, as_numpy(cloud), frames)


def background(
    scene: SceneMaps, *, voxel_size: float | None = None, max_points: int | None = None
) -> "FusedCloud[np.ndarray]":
    """Fuse what stands still in all frames into one cloud.

    A pixel stands still if it does not move between its own time and the first and last times. Of a
    long clip, at most 120 evenly spaced frames of its longest segment, and the first and last times
    for which a network saw a frame.

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

    frames = _fused_frames(scene, None)
    cloud = fusion.fuse(
        [as_tensor(scene.own_time_points[frame]) for frame in frames],
        as_tensor(scene.own_time_confidence[frames]),
        as_tensor(map_pictures(scene, frames)),
        still=as_tensor(np.float32(1) - moving_at_ends(scene, frames)),
        voxel_size=voxel_size,
        max_points=_most(scene, max_points),
    )
    return _of_clip(scene, as_numpy(cloud), frames)


def _fused_frames(scene: SceneMaps, time: int | None) -> list[int]:
    """The frames that are fused: all, of a long clip some of one segment and those about a time."""
    if scene.joining is None and not scene.segments:
        return list(range(scene.frame_count))
    frames = set(shown_part(scene, most=MOST_SHOWN, time=time).frames)
    return sorted(frames if time is None else frames | set(span_of(scene, time)))


def _most(scene: SceneMaps, max_points: int | None) -> int | None:
    """How many points a cloud has at most."""
    if max_points is not None or scene.joining is None:
        return max_points
    return max(1, _MOST_SEEN // scene.frame_count)


def _of_clip(
    scene: SceneMaps, cloud: "FusedCloud[np.ndarray]", frames: Sequence[int]
) -> "FusedCloud[np.ndarray]":
    """A cloud whose frames, counted among some, are those of the clip."""
    if len(frames) == scene.frame_count:
        return cloud
    seen = np.zeros((len(cloud.points), scene.frame_count), dtype=bool)
    seen[:, list(frames)] = cloud.seen
    return replace(cloud, seen=seen, frame=np.asarray(frames)[cloud.frame])
