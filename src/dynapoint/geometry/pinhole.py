"""Pinhole cameras: pixels with centres at half-integers, x right, y down, z forward."""

import math

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
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)


def mixing_step(least: int, width: int) -> int:
    """The first step from `least` on that shares no factor with a row's width.

    Every n-th pixel in row-major order then falls on all columns, not on a few of them.
    """
    step = max(1, least)
    while math.gcd(step, width) > 1:
        step += 1
    return step


def project(
    points_camera: Float[Tensor, "*batch point xyz=3"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    *,
    least_depth: float | None = None,
) -> Float[Tensor, "*batch point xy=2"]:
    """Pixels of points in camera coordinates; NaN for points that are not in front of it.

    With `least_depth`, all have one: those nearer than that, or behind, count as that far away.
    """
    depth = points_camera[..., 2:]
    if least_depth is None:
        depth = torch.where(depth > 0, depth, torch.nan)
    else:
        depth = depth.clamp_min(least_depth)
    slope = points_camera[..., :2] / depth
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)
    return slope * focal[..., None, :] + intrinsics[..., None, :2, 2]


def unproject(
    xy_px: Float[Tensor, "*batch point xy=2"],
    depth: Float[Tensor, "*batch point"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch point xyz=3"]:
    """Points in camera coordinates at pixels and depths along the optical axis."""
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)
    slope = (xy_px - intrinsics[..., None, :2, 2]) / focal[..., None, :]
    return torch.cat([slope, torch.ones_like(depth)[..., None]], dim=-1) * depth[..., None]
