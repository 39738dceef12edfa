"""Depths of still pixels that agree with what the other frames say of the same places.

A network sees every frame a little differently, and one wall comes out at as many depths as there
are frames. Known cameras carry the still points of each frame into every other frame. What lies
near a pixel's own depth there is the same surface, and the mean of all is nearer to the truth.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from dynapoint.geometry.arrays import points_on_rays, project, transform_points
from dynapoint.models.kept.correction import UNKNOWN
from dynapoint.refinement.field import Affinity, solve_field
from dynapoint.refinement.setting import Setting
from dynapoint.refinement.views import Views

# Logarithms of depth that differ by more are those of different surfaces: this many times what two
# frames usually differ by, and at most so much.
_TIMES_USUAL, _SAME_SURFACE = 5.0, 0.35
# Differences are averaged over a square of so many pixels of the grid.
_AROUND = 5
_THREADS = 2


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
    hw, count = setting.grid.hw, setting.grid.count
    intrinsics = setting.intrinsics_of(hw, views.log_lens)
    own = still & (setting.usable > 0).reshape(still.shape)
    depth = np.exp(views.log_depth).reshape(still.shape)
    poses = np.linalg.inv(views.camera_from_world)
    points = [
        points_on_rays(*given)[chosen]
        for *given, chosen in zip(depth, intrinsics, poses, own, strict=True)
    ]

    def of_frame(frame: int) -> Float64[np.ndarray, "rows columns"]:
        change, votes = np.zeros(count), np.ones(count)
        for source, others in enumerate(points):
            if source == frame:
                continue
            there = transform_points(views.camera_from_world[frame], others)
            pixel, inside = _pixels(there, intrinsics[frame], hw)
            off = np.log(there[inside, 2]) - views.log_depth[frame, pixel]
            near = np.abs(off) < _same_surface(off)
            found = np.bincount(pixel[near], minlength=count)
            change += np.bincount(pixel[near], off[near], minlength=count) / np.maximum(found, 1)
            votes += found > 0
        return _mean_around(change.reshape(hw), votes.reshape(hw), own[frame])

    with ThreadPoolExecutor(_THREADS) as threads:
        return np.stack(list(threads.map(of_frame, range(setting.frames))))


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


def _pixels(
    points: Float64[np.ndarray, "point xyz=3"],
    intrinsics: Float64[np.ndarray, "3 3"],
    hw: tuple[int, int],
) -> tuple[Int64[np.ndarray, " inside"], Bool[np.ndarray, " point"]]:
    """Pixels, row by row, that show what lies in a camera's picture; and which points do."""
    cell = project(points, intrinsics)
    inside = np.asarray(((cell >= 0) & (cell < hw[::-1])).all(axis=1))
    column, row = cell[inside].astype(np.int64).T
    return row * hw[1] + column, inside


def _mean_around(
    change: Float64[np.ndarray, "rows columns"],
    votes: Float64[np.ndarray, "rows columns"],
    own: Bool[np.ndarray, "rows columns"],
) -> Float64[np.ndarray, "rows columns"]:
    """Sums of changes over votes, of pixels and those around them; no others than `own` count."""
    import cv2  # noqa: PLC0415 - slow to import.

    total, cast = (
        cv2.blur(each * own, (_AROUND, _AROUND), borderType=cv2.BORDER_CONSTANT)
        for each in (change, votes)
    )
    return np.divide(total, cast, out=np.zeros_like(total), where=own)
