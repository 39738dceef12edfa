"""Cameras as nine numbers: translation, quaternion (x, y, z, w) and two fields of view (VGGT)."""

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.models.layers.frame_index import constant

MIN_FIELD_OF_VIEW, MAX_FIELD_OF_VIEW = 0.15, 2.6
"""Radians between which a predicted field of view is used; outside, focal lengths degenerate."""


def matrix_from_quaternion_xyzw(q: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions that need not be unit."""
    x, y, z, w = q.unbind(-1)
    s = 2 / q.square().sum(dim=-1).clamp_min(1e-12)
    rows = [
        1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w),
        s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w),
        s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_xyzw_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions with w ≥ 0, by the numerically largest of the four forms (Shepperd 1978)."""
    m = rotation
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack(
        [1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22], -1
    )
    xy, xz, yz = (
        m[..., 0, 1] + m[..., 1, 0],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 1, 2] + m[..., 2, 1],
    )
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], xy, xz, wx], -1),
            torch.stack([xy, squares[..., 1], yz, wy], -1),
            torch.stack([xz, yz, squares[..., 2], wz], -1),
            torch.stack([wx, wy, wz, squares[..., 3]], -1),
        ],
        dim=-2,
    )
    index = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    q = torch.nn.functional.normalize(candidates.gather(-2, index).squeeze(-2), dim=-1)
    return torch.where(q[..., 3:] < 0, -q, q)


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
