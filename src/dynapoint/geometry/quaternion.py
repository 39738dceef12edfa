"""Rotations as quaternions with the real part last (x, y, z, w)."""

import torch
from jaxtyping import Float
from torch import Tensor


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
