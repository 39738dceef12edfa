"""From distances along the pixels' rays to points in the world, at pixels and at matching cells."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.nano.matching import CELL_PX


def place(
    log_distance: Float[Tensor, "batch frame height width"],
    camera_from_world_matrix: Float[Tensor, "batch frame 4 4"],
    intrinsics: Float[Tensor, "batch frame 3 3"],
) -> Float[Tensor, "batch frame height width xyz=3"]:
    """Points at the given distances along the pixels' rays, in the world."""
    height, width = log_distance.shape[-2:]
    x = torch.arange(width, device=log_distance.device, dtype=log_distance.dtype) + 0.5
    y = torch.arange(height, device=log_distance.device, dtype=log_distance.dtype) + 0.5
    fx, fy, cx, cy = (intrinsics[..., i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    ray_x = ((x - cx[..., None]) / fx[..., None])[..., None, :].expand_as(log_distance)
    ray_y = ((y - cy[..., None]) / fy[..., None])[..., :, None].expand_as(log_distance)
    ray = torch.stack([ray_x, ray_y, torch.ones_like(ray_x)], dim=-1)
    own = functional.normalize(ray, dim=-1) * log_distance.exp()[..., None]
    world_from_camera = invert_rigid(camera_from_world_matrix)
    rotation, shift = world_from_camera[..., :3, :3], world_from_camera[..., :3, 3]
    # Written out, because autocast would round a matrix product to half precision.
    right, down, forward = rotation[..., None, None, :, :].unbind(-1)
    turned = own[..., 0:1] * right + own[..., 1:2] * down + own[..., 2:3] * forward
    return turned + shift[..., None, None, :]


def at_cells(
    log_distance: Float[Tensor, "batch frame height width"],
) -> Float[Tensor, "batch frame rows columns"]:
    """Log distances at the centres of the matching map's cells."""
    return functional.interpolate(
        log_distance, scale_factor=1 / CELL_PX, mode="bilinear", align_corners=False
    )


def to_cells(intrinsics: Float[Tensor, "batch frame 3 3"]) -> Float[Tensor, "batch frame 3 3"]:
    """Intrinsics in cells of the matching map, from those in pixels."""
    scaled = intrinsics / CELL_PX
    scaled[..., 2, 2] = 1.0
    return scaled


def to_pixels(
    cells: Float[Tensor, "image channels rows columns"],
) -> Float[Tensor, "image channels height width"]:
    """Values at all pixels, from those at the cells of the matching map."""
    return functional.interpolate(
        cells, scale_factor=float(CELL_PX), mode="bilinear", align_corners=False
    )
