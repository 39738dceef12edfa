"""The moving cloud of a long clip, whose frames take turns to show what moves."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32
from scipy.ndimage import maximum_filter, minimum_filter

from dynapoint.data.selection import evenly_spaced
from dynapoint.exports.cloud_parts import MovingCloud, footprints, near_voxel, shown_weight
from dynapoint.exports.options import ExportOptions
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.progress import steps
from dynapoint.reductions.fusion import FusedCloud, fuse
from dynapoint.results.asking import as_tensor, span_of
from dynapoint.results.motion_answers import moving_at_ends
from dynapoint.results.pictures import map_pictures
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.scene_maps import maps_of_frames
from dynapoint.results.time_order import order_of_times

# What moves with at least this probability is shown where it is at each time.
_MOVES = 0.5
# What lies before a surface by more than this share of its depth, which is more than what windows
# of a small network differ by, is not on it.
_CLEARLY = 0.1
_LOOKING, _FEWEST_GONE, _SHARE_GONE = 16, 2, 0.2
# At most this share of the points moves: most frames' movers are hidden at most times.
_MOVING_SHARE = 0.5


def cloud_in_turns(
    rec: Reconstruction,
    options: ExportOptions,
    sources: Sequence[int],
    *,
    max_points: int,
    report: Callable[[float], None] | None = None,
) -> MovingCloud:
    """A cloud of a clip that no network saw at once; nothing is handed over between windows.

    What stands still, as far as the times tell for which a network saw its frame and no other
    frames see through it, is that of all sources, fused. What moves is that of the source nearest
    in time, at each time, of those that a network saw together with it. Where there is no such
    source one is added.

    Args:
        rec: The scene.
        options: Which times, and what is hidden.
        sources: Frames whose pixels are shown.
        max_points: At most half of these move.
        report: Is told which share of the times is done.
    """
    times = options.times(rec)
    turns = turns_of(rec, sources, times)
    frames = sorted({*sources, *turns})
    parts, footprint = _fused_parts(rec, frames, options, max_points)
    counts = [len(part.points) for part in parts]
    pixel = tuple(
        np.concatenate([np.asarray(axis) for axis in axes])
        for axes in zip(*((part.frame, part.row, part.column) for part in parts), strict=True)
    )
    # The first part has the still points, the next ones have the movers of a frame each.
    pixel[0][counts[0] :] = np.repeat(np.arange(len(frames)), counts[1:])
    begins = np.cumsum(counts)
    places = np.concatenate([np.asarray(part.points) for part in parts])
    usable = np.zeros((len(times), len(places)), dtype=bool)
    usable[:, : counts[0]] = True
    points = np.broadcast_to(places, (len(times), *places.shape)).copy()
    for index, time in enumerate(steps(times, "points", wanted=rec.progress)):
        source = frames.index(turns[index])
        which = slice(begins[source], begins[source + 1])
        maps, confidence = maps_of_frames(rec, [turns[index]], time, keep=False)
        row, column = pixel[1][which], pixel[2][which]
        points[index, which] = maps[0][row, column]
        usable[index, which] = confidence[0, row, column] > 0
        if report is not None:
            report((index + 1) / len(times))
    size = np.repeat([part.voxel_size for part in parts], counts)
    return MovingCloud(
        times=times,
        points=points,
        usable=usable & np.isfinite(points).all(axis=2),
        colors=np.concatenate([np.asarray(part.colors) for part in parts]),
        confidence=np.concatenate([np.asarray(part.confidence) for part in parts]),
        spacing=np.maximum(footprint[pixel], size).astype(np.float32),
        moves=np.arange(len(places)) >= counts[0],
    )


def _fused_parts(
    rec: Reconstruction, frames: Sequence[int], options: ExportOptions, max_points: int
) -> tuple[list[FusedCloud], Float32[np.ndarray, "frame map_height map_width"]]:
    """What stands still in all frames, then what moves in each; and all pixels' footprints."""
    points = [as_tensor(rec.own_time_points[frame]) for frame in frames]
    colors = map_pictures(rec, list(frames))
    own = rec.own_time_points[list(frames)]
    weight = shown_weight(own, rec.own_time_confidence[list(frames)], colors, options)
    moving = (moving_at_ends(rec, frames) >= _MOVES) | seen_through(rec, frames)
    footprint = footprints(rec, list(frames))
    voxel = near_voxel(footprint, weight)
    paint = torch.from_numpy(colors)
    moved, stood = (torch.from_numpy(weight * shown) for shown in (moving, ~moving))
    each = max(1, int(max_points * _MOVING_SHARE) // len(frames))
    movers = [
        fuse(
            points[at : at + 1],
            moved[at : at + 1],
            paint[at : at + 1],
            voxel_size=voxel,
            max_points=each,
        )
        for at in range(len(frames))
    ]
    rest = max(1, max_points - sum(len(part.points) for part in movers))
    still = fuse(points, stood, paint, voxel_size=voxel, max_points=rest)
    return [still, *movers], footprint


def seen_through(
    rec: Reconstruction, frames: Sequence[int]
) -> Bool[np.ndarray, "frame map_height map_width"]:
    """Which pixels show what is gone when other frames look there: two, and a fifth of those.

    What rests while a network sees its frame stands still as far as that tells, and would stay for
    all times. It is gone where a frame sees a surface clearly behind it. At most 16 frames look.

    Args:
        rec: The scene.
        frames: The frames whose pixels are judged, and of which some look.
    """
    height, width = rec.map_hw
    shape = (len(frames), height * width)
    gone, there = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.int16)
    for place in evenly_spaced(len(frames), _LOOKING):
        looking = frames[int(place)]
        depth = np.where(rec.own_time_confidence[looking] > 0, rec.depth_of(looking), np.float32(0))
        nearest, farthest = minimum_filter(depth, 3), maximum_filter(depth, 3)
        for at, frame in enumerate(frames):
            if frame == looking:
                continue
            points = rec.own_time_points[frame].reshape(-1, 3).astype(np.float64)
            camera = points_in_camera(points, rec.world_from_camera[looking])
            ahead = np.flatnonzero(camera[:, 2] > 0)
            column, row = np.floor(project(camera[ahead], rec.map_intrinsics[looking])).T
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            which = ahead[inside]
            pixel = row[inside].astype(np.int64), column[inside].astype(np.int64)
            deep = camera[which, 2]
            before = deep < (1 - _CLEARLY) * nearest[pixel]
            gone[at, which] += before
            there[at, which] += ~before & (deep < (1 + _CLEARLY) * farthest[pixel])
    seen = (gone >= _FEWEST_GONE) & (gone > _SHARE_GONE * (gone + there))
    return seen.reshape(-1, height, width)


def turns_of(rec: Reconstruction, sources: Sequence[int], times: Sequence[int]) -> list[int]:
    """Which frame shows what moves at each time: the nearest of those that tell of it.

    Frames are the given ones and, for times of which none of these tells, the last frame in the
    order of time, of `times`, that a network saw together with the first such time.
    """
    order = {frame: place for place, frame in enumerate(order_of_times(rec.timestamps_s))}
    chosen = set(sources)
    for at, time in enumerate(times):
        if any(time in span_of(rec, frame) for frame in chosen):
            continue
        ahead = [later for later in times[at:] if time in span_of(rec, later)]
        chosen.add(max(ahead, key=order.__getitem__))
    return [
        min(
            (frame for frame in chosen if time in span_of(rec, frame)),
            key=lambda frame: (abs(order[frame] - order[time]), order[frame]),
        )
        for time in times
    ]
