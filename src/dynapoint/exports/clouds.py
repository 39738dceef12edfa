"""Clouds of coloured points, still or moving, as most formats want them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from dynapoint.data.selection import evenly_spaced
from dynapoint.exports.cloud_parts import MovingCloud, footprints, near_voxel, shown_weight
from dynapoint.exports.long_clouds import cloud_in_turns
from dynapoint.exports.options import ExportOptions
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.progress import steps
from dynapoint.reductions.fusion import FusedCloud, fuse
from dynapoint.results.asking import as_tensor, span_of
from dynapoint.results.motion_answers import maps_without_seams
from dynapoint.results.pictures import map_pictures
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.scene_maps import maps_of_frames
from dynapoint.results.time_order import moments_s, order_of_times

# Moving clouds are made of the pixels of so many frames: each has to be placed at every time. Of
# what the other frames see, 93 to 97 % lie within four voxels of these points in real clips of 50
# and 100 frames, 99.4 % within 5 % of their depth. More frames add little but the disagreement of
# networks' maps, for which voxels would have to be nearly twice as large (docs/formats.md).
_SOURCE_FRAMES = 16


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Points at one time, in the world (OpenCV axes, scene units), with sRGB colours."""

    points: Float32[np.ndarray, "point xyz=3"]
    colors: UInt8[np.ndarray, "point rgb=3"]
    confidence: Float32[np.ndarray, " point"]


def own_time_cloud(rec: Reconstruction, frame: int, options: ExportOptions) -> Cloud:
    """The pixels of one frame, where they are at its own time."""
    points, colors = rec.own_time_points[frame], map_pictures(rec, [frame])[0]
    weight = shown_weight(points, rec.own_time_confidence[frame], colors, options)
    chosen = np.flatnonzero(weight)
    if options.max_points is not None and len(chosen) > options.max_points:
        # Not every n-th pixel, which would leave stripes.
        random = np.random.default_rng(0)
        chosen = np.sort(random.choice(chosen, options.max_points, replace=False))
    return Cloud(
        points=points.reshape(-1, 3)[chosen],
        colors=colors.reshape(-1, 3)[chosen],
        confidence=weight.reshape(-1)[chosen],
    )


def own_spacing(
    rec: Reconstruction, frame: int, points: Float32[np.ndarray, "point xyz=3"]
) -> Float32[np.ndarray, " point"]:
    """About how far pixels of one frame at these points are from their neighbours."""
    depth = points_in_camera(points.astype(np.float64), rec.world_from_camera[frame])[:, 2]
    return (depth.clip(0) / rec.map_intrinsics[frame, 0, 0]).astype(np.float32)


def fused_cloud(rec: Reconstruction, time: int, options: ExportOptions) -> Cloud:
    """The pixels of all frames, where they are at one time, each piece of surface once."""
    frames = list(range(rec.frame_count))
    fused = _fused(rec, frames, time, options, options.max_points, seams=False)
    return Cloud(
        points=np.asarray(fused.points),
        colors=np.asarray(fused.colors),
        confidence=np.asarray(fused.confidence),
    )


def moving_cloud(
    rec: Reconstruction,
    options: ExportOptions,
    *,
    max_points: int,
    report: Callable[[float], None] | None = None,
) -> MovingCloud:
    """A fused cloud and where its points are at all times wanted.

    The points are those of at most 16 evenly spaced frames, fused at the middle one's time (at the
    time wanted if it is one). `report` is told which share of the times is done.

    Of a long clip, frames take turns (`long_clouds.cloud_in_turns`).

    Raises:
        InputError: The time wanted is no index of a frame used.
    """
    times = options.times(rec)
    order = order_of_times(rec.timestamps_s)
    sources = [order[place] for place in evenly_spaced(rec.frame_count, _SOURCE_FRAMES)]
    if any(time not in span_of(rec, frame) for frame in sources for time in times):
        return cloud_in_turns(rec, options, sources, max_points=max_points, report=report)
    meeting = times[0] if len(times) == 1 else sources[len(sources) // 2]
    fused = _fused(rec, sources, meeting, options, max_points)
    pixel = np.asarray(fused.frame), np.asarray(fused.row), np.asarray(fused.column)
    of_frame = [np.flatnonzero(pixel[0] == place) for place in range(len(sources))]
    count = len(fused.points)
    points = np.empty((len(times), count, 3), dtype=np.float32)
    usable = np.empty((len(times), count), dtype=bool)
    for index, time in enumerate(steps(times, "points", wanted=rec.progress)):
        now, confidence = _maps_at(rec, sources, time)
        for chosen, frame in zip(of_frame, now, strict=True):
            points[index, chosen] = frame[pixel[1][chosen], pixel[2][chosen]]
        usable[index] = (confidence[pixel] > 0) & np.isfinite(points[index]).all(axis=1)
        if report is not None:
            report((index + 1) / len(times))
    footprint = footprints(rec, sources)[pixel]
    return MovingCloud(
        times=times,
        points=points,
        usable=usable,
        colors=np.asarray(fused.colors),
        confidence=np.asarray(fused.confidence),
        spacing=np.maximum(footprint, fused.voxel_size).astype(np.float32),
    )


def play_times_s(rec: Reconstruction, options: ExportOptions) -> Float64[np.ndarray, " moment"]:
    """When each time wanted begins to be shown, and when the last one ends, in seconds from 0.

    As in the source (`results.time_order.moments_s`), unless `fps` is given.
    """
    times = options.times(rec)
    if options.fps is not None:
        return np.arange(len(times) + 1) / options.fps
    return moments_s(rec.timestamps_s[times])


def units(rec: Reconstruction) -> str:
    """What one unit of positions is, in words: unknown unless the scene was made metric."""
    return str(rec.settings.get("units", "scene units"))


def _fused(
    rec: Reconstruction,
    frames: list[int],
    time: int,
    options: ExportOptions,
    max_points: int | None,
    *,
    seams: bool = True,
) -> FusedCloud:
    """Some frames' pixels fused at one time; what the options hide takes no part.

    Without `seams`, what moves comes from the frames beside the time (`maps_without_seams`).
    """
    points, confidence = _maps_at(rec, frames, time, seams=seams)
    colors = map_pictures(rec, frames)
    weight = shown_weight(points, confidence, colors, options)
    return fuse(
        [as_tensor(frame) for frame in points],
        torch.from_numpy(weight),
        torch.from_numpy(colors),
        voxel_size=near_voxel(footprints(rec, frames), weight),
        max_points=max_points,
    )


def _maps_at(
    rec: Reconstruction, frames: list[int], time: int, *, seams: bool = True
) -> tuple[
    list[Float32[np.ndarray, "map_height map_width xyz=3"]],
    Float32[np.ndarray, "frame map_height map_width"],
]:
    """Points of some frames at one time, a map each, and their confidence."""
    fetch = maps_of_frames if seams else maps_without_seams
    points, confidence = fetch(rec, frames, time, keep=False)
    # A pixel without a point at its own time has none at any.
    confidence[rec.own_time_confidence[frames] == 0] = 0.0
    return points, confidence
