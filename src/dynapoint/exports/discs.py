"""Pictures of clouds: discs with a z-buffer."""

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8

from dynapoint.geometry.arrays import points_in_camera, project

BACKDROP = (24, 24, 30)
_LARGEST_RADIUS_PX = 16
# A disc's radius as a share of the distance to its neighbours, so that four of them side by side
# leave no gap.
_REACH = 0.7
# Beyond all ranks of points.
_NOTHING = 2**63 - 1


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
    in_front = np.flatnonzero(in_camera[:, 2] > 0)
    in_camera = in_camera[in_front]
    xy = np.floor(project(in_camera, intrinsics)).clip(-(2**30), 2**30).astype(np.int64)
    # A border around the picture takes what discs reach beyond it.
    beyond = np.array([width, height]) + _LARGEST_RADIUS_PX
    near = ((xy >= -_LARGEST_RADIUS_PX) & (xy < beyond)).all(axis=1)
    chosen, xy, depth = in_front[near], xy[near], in_camera[near, 2].astype(np.float32)
    border = 2 * _LARGEST_RADIUS_PX
    stride, rows = width + 2 * border, height + 2 * border
    middle = torch.from_numpy((xy[:, 1] + border) * stride + xy[:, 0] + border)
    reach = focal_px * _REACH * spacing[chosen] / depth
    radius = np.ceil(reach - 0.5).clip(0, _LARGEST_RADIUS_PX).astype(np.int32)
    # Bits of positive floats are in order of size: the least of these numbers is the nearest point.
    rank = torch.from_numpy((depth.view(np.int32).astype(np.int64) << 32) | np.arange(len(depth)))
    nearest = torch.full((rows * stride,), _NOTHING)
    for size in np.unique(radius):
        these = torch.from_numpy(np.flatnonzero(radius == size))
        offsets = torch.from_numpy(_disc(int(size)).astype(np.int64) @ np.array([1, stride]))
        pixels = (middle[these, None] + offsets).reshape(-1)
        ranks = rank[these, None].expand(-1, len(offsets)).reshape(-1)
        nearest.scatter_reduce_(0, pixels, ranks, "amin")
    inner = nearest.reshape(rows, stride)[border : border + height, border : border + width].numpy()
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = BACKDROP
    drawn = inner != _NOTHING
    image[drawn] = colors[chosen[inner[drawn] & 0xFFFFFFFF]]
    return image


def _disc(radius: int) -> Int32[np.ndarray, "pixel xy=2"]:
    """Offsets (column, row) of the pixels of a disc."""
    reach = np.arange(-radius, radius + 1, dtype=np.int32)
    offsets = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    return offsets[(offsets**2).sum(axis=1) < (radius + 0.5) ** 2]
