"""Points that go on from one window to the next: what a window tells, brought into the clip.

A window has a world and a unit of its own, and its depths are not quite those of the clip. A
displacement goes with its pixel: it is turned with the camera, as much longer as the clip has the
pixel deeper, and across as the lenses have it. Where no window holds both a frame and a time,
points are handed over at a frame that two windows hold: where a point lies on what that frame
sees, it goes on as the place between the pixels at which it is seen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from dynapoint.geometry.arrays import points_in_camera, project

if TYPE_CHECKING:
    from dynapoint.reductions.visibility import SeenSurface

# A depth of a window that is this many times too near or far tells nothing of its displacement.
_RATIO_RANGE = 8.0
# A point lies on a surface up to so many spreads of the maps and this share of depth, and at most
# the last share. The first two are what `reductions.visibility` calls clearly off.
_ON_SPREADS, _ON_SHARE, _ON_MOST = 3.0, 0.015, 0.15
# The share of the pixels around a place that must show the point's surface.
_SHOWN = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Places between the pixels of a map: four pixels each, and their shares.

    Attributes:
        pixels: Row-major indices.
        shares: They sum to 1.
    """

    pixels: Int32[np.ndarray, "place corner=4"]
    shares: Float32[np.ndarray, "place corner=4"]

    def mixed(
        self, values: Float32[np.ndarray, "height width channel"]
    ) -> Float32[np.ndarray, "place channel"]:
        """Values of a map at the places; exactly 0 where those of all four pixels are."""
        flat = values.reshape(-1, values.shape[-1])
        total = np.zeros((len(self.pixels), flat.shape[1]), dtype=np.float32)
        for corner in range(4):
            total += self.shares[:, corner, None] * flat[self.pixels[:, corner]]
        return total

    def least(self, values: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, " place"]:
        """The smallest value of the pixels that have a share."""
        around = values.reshape(-1)[self.pixels]
        return np.where(self.shares != 0, around, np.float32(np.inf)).min(axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Landing:
    """Where points lie on what a camera sees.

    Attributes:
        on: Which points do; places and ways are those of these alone.
        places: Between the pixels of the camera's map.
        to_surface: From the points to the surface along the camera's rays, in the world.
        deeper: How many times deeper the points are than the surface.
    """

    on: Bool[np.ndarray, " point"]
    places: Places
    to_surface: Float32[np.ndarray, "place xyz=3"]
    deeper: Float32[np.ndarray, " place"]


def turn_between(
    window_pose: Float64[np.ndarray, "4 4"],
    window_lens: Float64[np.ndarray, "3 3"],
    clip_pose: Float64[np.ndarray, "4 4"],
    clip_lens: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, "3 3"]:
    """What turns displacements of a frame's pixels from a window's world into the clip's.

    At unchanged depth: across, one longer lens makes displacements shorter.

    Args:
        window_pose: The frame's world-from-camera in the window.
        window_lens: Its intrinsics there, in pixels of the maps.
        clip_pose: The same in the clip.
        clip_lens: The same in the clip.
    """
    stretch = np.append(window_lens[[0, 1], [0, 1]] / clip_lens[[0, 1], [0, 1]], 1.0)
    turn: Float64[np.ndarray, "3 3"] = clip_pose[:3, :3] @ (
        stretch[:, None] * window_pose[:3, :3].T
    )
    return turn


def depth_ratio(
    window_points: Float32[np.ndarray, "height width xyz=3"],
    window_pose: Float64[np.ndarray, "4 4"],
    clip_points: Float32[np.ndarray, "height width xyz=3"],
    clip_pose: Float64[np.ndarray, "4 4"],
) -> Float32[np.ndarray, "height width"]:
    """How many times deeper each pixel of a frame is in the clip than in a window.

    The usual ratio where one of the two depths is none, or far from what it is elsewhere.
    """
    with np.errstate(all="ignore"):
        ratio = _depth(clip_points, clip_pose) / _depth(window_points, window_pose)
        good = np.isfinite(ratio) & (ratio > 0)
        usual = float(np.median(ratio[good])) if good.any() else 1.0
        good &= (ratio < usual * _RATIO_RANGE) & (ratio * _RATIO_RANGE > usual)
    return np.where(good, ratio, usual).astype(np.float32)


def brought(
    displacement: Float32[np.ndarray, "height width xyz=3"],
    turn: Float64[np.ndarray, "3 3"],
    ratio: Float32[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width xyz=3"]:
    """Displacements of a window's pixels in the clip; what is exactly 0 stays exactly 0."""
    turned = displacement @ turn.T.astype(np.float32)
    turned *= ratio[..., None]
    return turned


def depth_limit(spread: float) -> float:
    """How far a point may lie from the surface that it is on, as a share of depth."""
    return min(_ON_SPREADS * spread + _ON_SHARE, _ON_MOST)


def landing(
    surface: "SeenSurface", points: Float32[np.ndarray, "point xyz=3"], *, spread: float
) -> Landing:
    """Which points lie on what a camera sees, and at which places of its map.

    Of the four pixels around a point's projection those count whose surface, continued to the
    place, has the point's depth. They have to make up half of the bilinear shares. Shares are
    those of perspective, so that points of planes, and what moves them as one, are exact.

    Args:
        surface: What the camera sees.
        points: In the world, at the camera's time.
        spread: How far the points and the surface are usually apart, as a share of depth.
    """
    pose = surface.world_from_camera.numpy()
    planes = surface.planes.numpy()
    height, width = planes.shape[:2]
    camera = points_in_camera(points.astype(np.float64), pose)
    xy = project(camera, surface.intrinsics.numpy())
    # A place that is not finite compares as false.
    inside = np.asarray(((xy >= 0) & (xy <= [width, height])).all(axis=1))
    index = np.flatnonzero(inside)
    pixels, bilinear, away = _around(xy[index], (height, width))
    plane = planes.reshape(-1, 3)[pixels]
    at_place = plane[..., 0] + (plane[..., 1:] * away).sum(axis=-1)
    behind = camera[index, 2, None] * at_place - 1
    same = (plane[..., 0] > 0) & (np.abs(behind) <= depth_limit(spread))
    part = np.clip(bilinear, 0, 1) * same
    on = part.sum(axis=1) >= _SHOWN
    # Beyond the outermost centres one surface goes on; part of a cell does not.
    part = np.where(same.all(axis=1)[:, None], bilinear, part)[on]
    shares = part * plane[on][..., 0]
    shares /= shares.sum(axis=1, keepdims=True)
    part /= part.sum(axis=1, keepdims=True)
    behind_surface = (part * np.where(same, behind, 0.0)[on]).sum(axis=1)
    inside[index] = on
    ray = points[inside] - pose[:3, 3]
    to_surface = -ray * (behind_surface / (1 + behind_surface))[:, None]
    return Landing(
        on=inside,
        places=Places(pixels=pixels[on].astype(np.int32), shares=shares.astype(np.float32)),
        to_surface=to_surface.astype(np.float32),
        deeper=(1 + behind_surface).astype(np.float32),
    )


def _around(
    xy: Float64[np.ndarray, "place xy=2"], map_hw: tuple[int, int]
) -> tuple[
    Int64[np.ndarray, "place corner=4"],
    Float64[np.ndarray, "place corner=4"],
    Float64[np.ndarray, "place corner=4 xy=2"],
]:
    """Four pixels around places, their bilinear shares, and the way from their centres."""
    height, width = map_hw
    centred = xy - 0.5
    most = [max(width - 2, 0), max(height - 2, 0)]
    low = np.clip(np.floor(centred), 0, most).astype(np.int64)
    part = centred - low
    pixels, shares, away = [], [], []
    for down in (0, 1):
        for right in (0, 1):
            row = np.minimum(low[:, 1] + down, height - 1)
            column = np.minimum(low[:, 0] + right, width - 1)
            pixels.append(row * width + column)
            across = part[:, 0] if right else 1 - part[:, 0]
            shares.append(across * (part[:, 1] if down else 1 - part[:, 1]))
            away.append(centred - np.stack([column, row], axis=1))
    return np.stack(pixels, axis=1), np.stack(shares, axis=1), np.stack(away, axis=1)


def _depth(
    points: Float32[np.ndarray, "height width xyz=3"], pose: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "height width"]:
    """Depths of points along a camera's axis."""
    depth: Float64[np.ndarray, "height width"] = (points - pose[:3, 3]) @ pose[:3, 2]
    return depth
