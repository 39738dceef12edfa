"""Pinhole cameras: pixels with centres at half-integers, x right, y down, z forward."""

import torch
from jaxtyping import Float
from torch import Tensor


def pixel_centres(
    image_hw: tuple[int, int],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "height width xy=2"]:
    """(column, row) of every pixel's centre: the top-left one is (0.5, 0.5)."""
    height, width = image_hw
    x = torch.arange(width, dtype=dtype, device=device) + 0.5
    y = torch.arange(height, dtype=dtype, device=device) + 0.5
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)


def intrinsics_from_fov(
    horizontal_fov_rad: Float[Tensor, "*batch"], image_hw: tuple[int, int]
) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics in pixels of a camera with square pixels and a centred principal point."""
    height, width = image_hw
    focal = 0.5 * width / (0.5 * horizontal_fov_rad).tan()
    matrix = torch.zeros(*focal.shape, 3, 3, dtype=focal.dtype, device=focal.device)
    matrix[..., 0, 0] = focal
    matrix[..., 1, 1] = focal
    matrix[..., 0, 2] = 0.5 * width
    matrix[..., 1, 2] = 0.5 * height
    matrix[..., 2, 2] = 1.0
    return matrix


def fov_from_intrinsics(
    intrinsics: Float[Tensor, "*batch 3 3"], image_hw: tuple[int, int]
) -> Float[Tensor, "*batch xy=2"]:
    """Horizontal and vertical field of view in radians, for any principal point."""
    height, width = image_hw
    size = intrinsics.new_tensor([width, height])
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], -1)
    centre = intrinsics[..., :2, 2]
    return torch.atan2(centre, focal) + torch.atan2(size - centre, focal)


def resize_intrinsics(
    intrinsics: Float[Tensor, "*batch 3 3"],
    *,
    from_hw: tuple[int, int],
    to_hw: tuple[int, int],
) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics of the same view after the image is resized (not cropped)."""
    scale = intrinsics.new_tensor([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0], 1.0])
    return intrinsics * scale[:, None]


def project(
    points_camera: Float[Tensor, "*batch point xyz=3"], intrinsics: Float[Tensor, "*batch 3 3"]
) -> tuple[Float[Tensor, "*batch point xy=2"], Float[Tensor, "*batch point"]]:
    """Pixel positions and depths (z) of points in camera coordinates.

    Positions of points that do not lie in front of the camera are not meaningful: check depth > 0.
    """
    homogeneous = points_camera @ intrinsics.transpose(-1, -2)
    depth = homogeneous[..., 2]
    safe = torch.where(depth == 0, torch.ones_like(depth), depth)
    return homogeneous[..., :2] / safe[..., None], depth


def unproject(
    xy_px: Float[Tensor, "*batch point xy=2"],
    depth: Float[Tensor, "*batch point"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch point xyz=3"]:
    """Points in camera coordinates at pixel positions and depths along the optical axis."""
    ones = torch.ones_like(depth)[..., None]
    rays = torch.cat([xy_px, ones], -1) @ torch.linalg.inv(intrinsics).transpose(-1, -2)
    return rays * depth[..., None]
