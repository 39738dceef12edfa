"""Depths of still pixels that agree with what the other frames say of the same places.

A network sees every frame a little differently, and one wall comes out at as many depths as there
are frames. Known cameras carry the still points of each frame into every other frame. What lies
near a pixel's own depth there is the same surface, and the mean of all is nearer to the truth.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from dynapoint.models.kept.correction import UNKNOWN
from dynapoint.refinement.field import Affinity, solve_field
from dynapoint.refinement.setting import Setting
from dynapoint.refinement.views import Views

# Logarithms of depth that differ by more are those of different surfaces: this many times what two
# frames usually differ by, and at most so much.
_TIMES_USUAL, _SAME_SURFACE = 5.0, 0.35
# Differences are averaged over a square of so many pixels of the grid.
_AROUND = 5
_NEAREST = 1e-9
_THREADS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Still points of one frame as another one sees them: its pixels and the logarithms there."""

    pixel: Int64[np.ndarray, " point"]
    log_depth: Float64[np.ndarray, " point"]


def agreed_change(
    setting: Setting, views: Views, still: Bool[np.ndarray, "frame rows columns"]
) -> Float64[np.ndarray, "frame rows columns"]:
    """By how much the logarithms of depth change so that frames agree; 0 where nothing is still.

    Every frame that shows a place counts as much as the pixel's own.

    Args:
        setting: The grid.
        views: Cameras, and depths of all of the grid's pixels.
        still: Pixels that were found to be still; no others take part.
    """
    frames, count = setting.frames, setting.grid.count
    flat = still.reshape(frames, count) & (setting.usable > 0)
    points = [_in_the_world(setting, views, frame, own) for frame, own in enumerate(flat)]

    def of_target(
        target: int,
    ) -> tuple[Float64[np.ndarray, " pixel"], Float64[np.ndarray, " pixel"]]:
        change, seen_by = np.zeros(count), np.zeros(count)
        for source in range(frames):
            if source == target:
                continue
            seen = _seen(setting, views, points[source], target)
            off = seen.log_depth - views.log_depth[target, seen.pixel]
            near = np.abs(off) < _same_surface(off)
            votes = np.bincount(seen.pixel[near], minlength=count)
            total = np.bincount(seen.pixel[near], off[near], minlength=count)
            change += total / np.maximum(votes, 1)
            seen_by += votes > 0
        return change * flat[target], seen_by * flat[target]

    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(of_target, range(frames)))
    changes = [
        _mean_around(*each, own, setting.grid.hw) for each, own in zip(found, flat, strict=True)
    ]
    return np.stack(changes)


def spread_change(
    change: Float64[np.ndarray, "frame rows columns"],
    evidence: UInt8[np.ndarray, "frame rows columns"],
    affinity: Affinity,
) -> Float64[np.ndarray, "frame rows columns"]:
    """The same, and pixels of which nothing is known change as what is known around them does.

    Otherwise a wall would have a step where its stillness is no longer sure.
    """
    known = evidence != UNKNOWN
    filled = solve_field(change, known.astype(np.float32), affinity)
    return np.where(known, change, filled)


def _same_surface(off: Float64[np.ndarray, " point"]) -> float:
    """How far apart two frames may put one place: what is good stays apart from what is near it."""
    usual = float(np.median(np.abs(off))) if len(off) else 0.0
    return min(_TIMES_USUAL * usual, _SAME_SURFACE)


def _in_the_world(
    setting: Setting, views: Views, frame: int, own: Bool[np.ndarray, " pixel"]
) -> Float64[np.ndarray, "point xyz=3"]:
    """Points of some pixels of a frame."""
    depth = np.exp(views.log_depth[frame, own])[:, None]
    ray = setting.normal[frame, own] / np.exp(views.log_lens)
    world_from_camera = np.linalg.inv(views.camera_from_world[frame])
    points = np.column_stack([ray * depth, depth]) @ world_from_camera[:3, :3].T
    return np.asarray(points + world_from_camera[:3, 3])


def _seen(
    setting: Setting, views: Views, points: Float64[np.ndarray, "point xyz=3"], frame: int
) -> _Seen:
    """Those of points that a frame has before it and in its picture."""
    camera_from_world = views.camera_from_world[frame]
    there = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    there = there[there[:, 2] > _NEAREST]
    columns_rows = np.array(setting.grid.hw[::-1])
    focal_px = setting.lens.focal_px[frame] * np.exp(views.log_lens)
    place_px = there[:, :2] / there[:, 2:] * focal_px + setting.lens.centre_px[frame]
    cell = place_px * (columns_rows / np.array(setting.grid.picture_hw[::-1]))
    inside = ((cell >= 0) & (cell < columns_rows)).all(axis=1)
    column, row = cell[inside].astype(np.int64).T
    return _Seen(pixel=row * columns_rows[0] + column, log_depth=np.log(there[inside, 2]))


def _mean_around(
    change: Float64[np.ndarray, " pixel"],
    seen_by: Float64[np.ndarray, " pixel"],
    own: Bool[np.ndarray, " pixel"],
    hw: tuple[int, int],
) -> Float64[np.ndarray, "rows columns"]:
    """The mean over pixels, their surroundings and the frames that see them, itself among them."""
    import cv2  # noqa: PLC0415 - slow to import.

    square = (_AROUND, _AROUND)
    total, votes = (
        cv2.blur(each.reshape(hw), square, borderType=cv2.BORDER_CONSTANT)
        for each in (change, seen_by + own)
    )
    return np.where(own.reshape(hw), total / np.maximum(votes, _NEAREST), 0.0)
