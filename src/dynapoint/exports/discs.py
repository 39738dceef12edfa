"""Pictures of clouds: discs with a z-buffer, in plain NumPy."""

import numpy as np
from jaxtyping import Float, Int32, UInt8

from dynapoint.geometry.arrays import points_in_camera, project

BACKDROP = (24, 24, 30)
_LARGEST_RADIUS_PX = 16
# A disc's radius as a share of the distance to its neighbours, so that four of them side by side
# leave no gap.
_REACH = 0.7


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
    # The farthest first: where discs of one size overlap, the last one written is the nearest.
    in_front = in_front[np.argsort(-depth[in_front], kind="stable")].astype(np.int32)
    depth = depth.astype(np.float32)
    xy = np.floor(project(in_camera[in_front], intrinsics)).clip(-(2**30), 2**30).astype(np.int32)
    reach = focal_px * _REACH * spacing[in_front] / depth[in_front]
    radius = np.ceil(reach - 0.5).clip(0, _LARGEST_RADIUS_PX).astype(np.int32)
    drawn = np.full(height * width, -1, dtype=np.int32)
    nearest = np.full(height * width, np.inf, dtype=np.float32)
    for size in np.unique(radius):
        these = radius == size
        column, row = (xy[these, axis, None] + _disc(int(size))[:, axis] for axis in (0, 1))
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        layer = np.full(height * width, -1, dtype=np.int32)
        layer[(row * width + column)[inside]] = np.broadcast_to(
            in_front[these, None], inside.shape
        )[inside]
        # Discs of different sizes are told apart by depth.
        pixel = np.flatnonzero(layer >= 0)
        pixel = pixel[depth[layer[pixel]] < nearest[pixel]]
        drawn[pixel], nearest[pixel] = layer[pixel], depth[layer[pixel]]
    image = np.empty((height * width, 3), dtype=np.uint8)
    image[:] = BACKDROP
    image[drawn >= 0] = colors[drawn[drawn >= 0]]
    return image.reshape(height, width, 3)


def _disc(radius: int) -> Int32[np.ndarray, "pixel xy=2"]:
    """Offsets (column, row) of the pixels of a disc."""
    reach = np.arange(-radius, radius + 1, dtype=np.int32)
    offsets = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    return offsets[(offsets**2).sum(axis=1) < (radius + 0.5) ** 2]
