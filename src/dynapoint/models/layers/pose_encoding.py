"""Cameras as nine numbers: translation, quaternion (x, y, z, w) and two fields of view (VGGT)."""

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.geometry.quaternion import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from dynapoint.models.layers.frame_index import constant

MIN_FIELD_OF_VIEW, MAX_FIELD_OF_VIEW = 0.15, 2.6
"""Radians between which a predicted field of view is used; outside, focal lengths degenerate."""


def camera_from_world(encoding: Float[Tensor, "*batch 9"]) -> Float[Tensor, "*batch 4 4"]:
    """The rigid transforms of pose encodings."""
    rotation = matrix_from_quaternion_xyzw(encoding[..., 3:7])
    top = torch.cat([rotation, encoding[..., :3, None]], dim=-1)
    bottom = constant((0.0, 0.0, 0.0, 1.0), top.device, top.dtype)
    return torch.cat([top, bottom.expand(*top.shape[:-2], 1, 4)], dim=-2)


def intrinsics_px(
    encoding: Float[Tensor, "*batch 9"],
    image_hw: tuple[int, int],
    *,
    square_pixels: bool = False,
    pixel_aspect: float = 1.0,
    clamped: bool = True,
) -> Float[Tensor, "*batch 3 3"]:
    """Pinhole intrinsics with a centred principal point; fov_h is encoding[7], fov_w [8].

    `square_pixels` gives both axes one focal length in pixels of the picture, the geometric mean of
    the two, where `pixel_aspect` says how many pixels of the image a picture's pixel is wide over
    how many it is high. Not `clamped`, as published, a field of view of 0 gives an infinite focal
    length.
    """
    fov = encoding[..., 7:]
    if clamped:
        fov = fov.clamp(MIN_FIELD_OF_VIEW, MAX_FIELD_OF_VIEW)
    height, width = image_hw
    fy = height / 2 / torch.tan(fov[..., 0] / 2)
    fx = width / 2 / torch.tan(fov[..., 1] / 2)
    if square_pixels:
        focal = (fx * fy).sqrt()
        fx, fy = focal * pixel_aspect**0.5, focal / pixel_aspect**0.5
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = [fx, zero, one * (width / 2), zero, fy, one * (height / 2), zero, zero, one]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def encode_cameras(
    camera_from_world_matrix: Float[Tensor, "*batch 4 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_hw: tuple[int, int],
) -> Float[Tensor, "*batch 9"]:
    """The pose encodings of cameras, the inverse of the functions above."""
    height, width = image_hw
    fov_h = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    fov_w = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    quaternion = quaternion_xyzw_from_matrix(camera_from_world_matrix[..., :3, :3])
    shift = camera_from_world_matrix[..., :3, 3]
    return torch.cat([shift, quaternion, fov_h[..., None], fov_w[..., None]], dim=-1)
