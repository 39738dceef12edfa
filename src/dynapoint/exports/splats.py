"""Pictures of clouds: discs with a z-buffer, in plain NumPy."""

import numpy as np
from jaxtyping import Float, UInt8

from dynapoint.results.visibility import points_in_camera, project

BACKDROP = (24, 24, 30)
_LARGEST_RADIUS_PX = 16


def draw_points(
    points: Float[np.ndarray, "point xyz=3"],
    colors: UInt8[np.ndarray, "point rgb=3"],
    spacing: Float[np.ndarray, " point"],
    *,
    world_from_camera: Float[np.ndarray, "4 4"],
    focal_px: float,
    image_hw: tuple[int, int],
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """Draw points (world) as discs that cover the gaps to their neighbours, the nearest on top.

    Args:
        points: Finite positions; those behind the camera are not drawn.
        colors: sRGB.
        spacing: How far apart neighbours are, in the same units.
        world_from_camera: The camera, OpenCV axes; its principal point is the picture's middle.
        focal_px: In pixels of the picture.
        image_hw: Of the picture.
    """
    height, width = image_hw
    intrinsics = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
    in_camera = points_in_camera(points.astype(np.float64), world_from_camera)
    depth = in_camera[:, 2]
    in_front = np.flatnonzero(depth > 0)
    xy = np.floor(project(in_camera[in_front], intrinsics)).clip(-(2**30), 2**30).astype(np.int64)
    reach = focal_px * 0.7 * spacing[in_front] / depth[in_front]
    radius = np.round(reach - 0.5).clip(0, _LARGEST_RADIUS_PX).astype(np.int64)
    # The bits of positive floats are in order as integers: one minimum of (depth, point) is both
    # the depth test and the memory of who passed it.
    bits = depth[in_front].astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)
    key = bits | in_front.astype(np.uint64)
    nothing = np.iinfo(np.uint64).max
    nearest = np.full(height * width, nothing, dtype=np.uint64)
    for size in np.unique(radius):
        these = radius == size
        for across, down in _disc(int(size)):
            column, row = xy[these, 0] + across, xy[these, 1] + down
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            np.minimum.at(nearest, (row * width + column)[inside], key[these][inside])
    picture = nearest.reshape(height, width)
    drawn = picture != nothing
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = BACKDROP
    image[drawn] = colors[(picture[drawn] & np.uint64(2**32 - 1)).astype(np.int64)]
    return image


def _disc(radius: int) -> list[tuple[int, int]]:
    """Offsets (column, row) of the pixels of a disc."""
    reach = range(-radius, radius + 1)
    inside = (radius + 0.5) ** 2
    return [(across, down) for across in reach for down in reach if across**2 + down**2 < inside]
