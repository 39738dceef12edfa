"""Where pixels of one frame are seen at all other times, and what the maps there say of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from dynapoint.geometry.arrays import transform_points
from dynapoint.models.kept.followed_paths import Camera, FollowedPaths
from dynapoint.models.kept.still_motion import grid_hw, grid_places

# Depths that differ by more than this share lie on two sides of an edge.
_EDGE = 0.05
# A pixel whose depth is off by so much more than that of another one around is of another surface.
_OTHER_SURFACE = 0.1
PICTURE_SIDE = 256.0
"""Offsets are in pixels of pictures of this longer side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Maps:
    """What all of this starts from: a rigid scene that its pictures agree with.

    Attributes:
        points: Own-time maps, in the world of the scene.
        usable: 0 for pixels that are not to be used, 1 for others.
        camera_from_world: Cameras.
        intrinsics: In pixels of the maps.
        followed: Flow between neighbouring frames.
        step: Every so manieth pixel is on the grid.
    """

    points: Float32[np.ndarray, "frame height width xyz=3"]
    usable: Float32[np.ndarray, "frame height width"]
    camera_from_world: Float64[np.ndarray, "frame 4 4"]
    intrinsics: Float64[np.ndarray, "frame 3 3"]
    followed: FollowedPaths
    step: int

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.points)

    @property
    def map_hw(self) -> tuple[int, int]:
        """(height, width) of the maps."""
        return self.usable.shape[1], self.usable.shape[2]

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return grid_hw(self.map_hw, self.step)

    @property
    def grid(self) -> tuple[Int64[np.ndarray, "rows 1"], Int64[np.ndarray, "1 columns"]]:
        """Indices that take a map to the grid."""
        rows, columns = (
            grid_places(count, side, self.step)
            for count, side in zip(self.grid_hw, self.map_hw, strict=True)
        )
        return rows[:, None], columns[None]

    def camera(self, frame: int) -> Camera:
        """That of a frame."""
        return Camera(
            camera_from_world=self.camera_from_world[frame], intrinsics=self.intrinsics[frame]
        )

    def depth(self, frame: int) -> Float64[np.ndarray, "height width"]:
        """Of a frame's map, along its camera's axis."""
        return transform_points(
            self.camera_from_world[frame], self.points[frame].astype(np.float64)
        )[..., 2]


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """Points at one other time, by where they are seen then.

    Attributes:
        ray: Of the pixel that shows a point, from the camera, of depth 1, in the world.
        near: The depth of the ray's place that is nearest to where the point was at its own time.
        ratio: The logarithm of the depth that the map has there, over that.
        ratio_known: Whether it has one.
        off_px: How far the pixel is from where the point would be seen if it stood still.
        ahead: Whether the point was before the camera.
    """

    ray: Float64[np.ndarray, "pixel xyz=3"]
    near: Float64[np.ndarray, " pixel"]
    ratio: Float64[np.ndarray, " pixel"]
    ratio_known: Bool[np.ndarray, " pixel"]
    off_px: Float64[np.ndarray, " pixel"]
    ahead: Bool[np.ndarray, " pixel"]


def look(
    maps: Maps,
    log_depth: Float32[np.ndarray, "height width"],
    points: Float64[np.ndarray, "pixel xyz=3"],
    places: Float64[np.ndarray, "pixel xy=2"],
    time: int,
) -> Look:
    """Look at the places of a map that show points at its time."""
    camera = maps.camera(time)
    here = camera.in_camera(points)
    slope = camera.rays(places)
    ahead = here[:, 2] > 0
    along = (here * slope).sum(axis=1) / (slope * slope).sum(axis=1)
    good = ahead & (along > 0)
    near = np.where(good, along, 1.0)
    ratio, sure = _ratios(log_depth, maps.usable[time], places, np.log(near))
    still = camera.pixels(np.where(ahead[:, None], here, [0.0, 0.0, 1.0]))
    known = good & sure
    off = np.linalg.norm(still - places, axis=1) * (PICTURE_SIDE / max(maps.map_hw))
    return Look(
        ray=slope @ camera.camera_from_world[:3, :3],
        near=near,
        ratio=np.where(known, ratio, 0.0),
        ratio_known=known,
        off_px=np.where(ahead, off, 0.0),
        ahead=good,
    )


def _ratios(
    log_depth: Float32[np.ndarray, "height width"],
    usable: Float32[np.ndarray, "height width"],
    places: Float64[np.ndarray, "pixel xy=2"],
    log_near: Float64[np.ndarray, " pixel"],
) -> tuple[Float64[np.ndarray, " pixel"], Bool[np.ndarray, " pixel"]]:
    """What a map's logarithm of depth at places exceeds another one by, and where that is known.

    From the four pixels around, or, at an edge, of the nearest; unless that is of another surface
    than one of the others: paths seldom end farther than a pixel from the right side of an edge.
    """
    size = np.array(log_depth.shape[::-1])
    place = places - 0.5
    inside = np.asarray(((place >= -0.5) & (place <= size - 0.5)).all(axis=1))
    place = np.clip(np.where(inside[:, None], place, 0.0), 0, size - 1)
    low = np.minimum(place.astype(np.int64), np.maximum(size - 2, 0))
    part = place - low
    right, down = (np.minimum(low[:, axis] + 1, size[axis] - 1) for axis in (0, 1))
    corners = [(row, column) for row in (low[:, 1], down) for column in (low[:, 0], right)]
    around = np.stack([log_depth[corner] for corner in corners]) - log_near
    good: Bool[np.ndarray, " pixel"] = inside & (
        np.stack([usable[corner] for corner in corners]) > 0
    ).all(axis=0)
    x, y = part[:, 0], part[:, 1]
    mean = (1 - y) * ((1 - x) * around[0] + x * around[1])
    mean += y * ((1 - x) * around[2] + x * around[3])
    least = np.take_along_axis(around, np.abs(around).argmin(axis=0)[None], axis=0)[0]
    nearest = np.where(y > 0.5, np.where(x > 0.5, around[3], around[2]), around[0])
    nearest = np.where((y <= 0.5) & (x > 0.5), around[1], nearest)
    wrong = np.abs(nearest) - np.abs(least) > _OTHER_SURFACE
    edge = around.max(axis=0) - around.min(axis=0) > _EDGE
    return np.where(edge, np.where(wrong, least, nearest), mean), good


@dataclass(frozen=True, kw_only=True, eq=False)
class Sightings:
    """The pixels of one frame's grid at all times; `Look` says what the rest is.

    Attributes:
        points: Where they are at their own time.
        weight: How far their paths can be relied on; 1 at their own time.
    """

    points: Float64[np.ndarray, "pixel xyz=3"]
    weight: Float32[np.ndarray, "time pixel"]
    ray: Float32[np.ndarray, "time pixel xyz=3"]
    near: Float32[np.ndarray, "time pixel"]
    ratio: Float32[np.ndarray, "time pixel"]
    ratio_known: Bool[np.ndarray, "time pixel"]
    off_px: Float32[np.ndarray, "time pixel"]


def sightings(
    maps: Maps, log_depths: Float32[np.ndarray, "frame height width"], frame: int
) -> Sightings:
    """Follow the pixels of a frame's grid to all times and look there."""
    own, xy, usable = on_grid(maps, frame)
    places, weight = maps.followed.onward(frame, xy, usable, maps.map_hw)
    looks = [look(maps, log_depths[time], own, places[time], time) for time in range(maps.frames)]
    return Sightings(
        points=own,
        weight=weight * np.stack([each.ahead for each in looks]),
        ray=np.stack([each.ray for each in looks]).astype(np.float32),
        near=np.stack([each.near for each in looks]).astype(np.float32),
        ratio=np.stack([each.ratio for each in looks]).astype(np.float32),
        ratio_known=np.stack([each.ratio_known for each in looks]),
        off_px=np.stack([each.off_px for each in looks]).astype(np.float32),
    )


def on_grid(
    maps: Maps, frame: int
) -> tuple[
    Float64[np.ndarray, "pixel xyz=3"],
    Float64[np.ndarray, "pixel xy=2"],
    Float32[np.ndarray, " pixel"],
]:
    """A frame's points, places and use of the grid's pixels."""
    rows, columns = maps.grid
    own = maps.points[frame][rows, columns].reshape(-1, 3).astype(np.float64)
    xy = np.stack(np.broadcast_arrays(columns + 0.5, rows + 0.5), axis=-1)
    return own, xy.reshape(-1, 2).astype(np.float64), maps.usable[frame][rows, columns].reshape(-1)
