"""Rotations: matrices, unit quaternions (w, x, y, z) and axis-angle vectors, exact at 0 and pi."""

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL_ANGLE_SQUARED = 1e-8


def cross_matrix(vector: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix that takes the cross product with `vector` from the left."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return rows.reshape(*vector.shape[:-1], 3, 3)


def matrix_from_axis_angle(
    axis_angle: Float[Tensor, "*batch xyz=3"],
) -> Float[Tensor, "*batch 3 3"]:
    """The rotation by ‖axis_angle‖ radians about its direction (Rodrigues' formula).

    Smooth at zero: the gradient there is finite and exact.
    """
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = squared < _SMALL_ANGLE_SQUARED
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine_share = torch.where(small, 1.0 - squared / 6.0, angle.sin() / angle)
    # (1 - cos) / angle² through the half angle keeps all digits for small angles.
    half = torch.where(small, 0.5 - squared / 48.0, (0.5 * angle).sin() / angle)
    cross = cross_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine_share * cross + 2.0 * half**2 * (cross @ cross)


def axis_angle_from_matrix(
    rotation: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch xyz=3"]:
    """The axis times the angle in [0, pi] radians; at pi either of the two equal answers."""
    return axis_angle_from_quaternion_wxyz(quaternion_wxyz_from_matrix(rotation))


def matrix_from_quaternion_wxyz(
    quaternion_wxyz: Float[Tensor, "*batch wxyz=4"],
) -> Float[Tensor, "*batch 3 3"]:
    """The rotation of a quaternion of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quaternion_wxyz, dim=-1).unbind(-1)
    rows = torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - z * w),
            2 * (x * z + y * w),
            2 * (x * y + z * w),
            1 - 2 * (x * x + z * z),
            2 * (y * z - x * w),
            2 * (x * z - y * w),
            2 * (y * z + x * w),
            1 - 2 * (x * x + y * y),
        ],
        -1,
    )
    return rows.reshape(*quaternion_wxyz.shape[:-1], 3, 3)


def quaternion_wxyz_from_matrix(
    rotation: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch wxyz=4"]:
    """The unit quaternion with w ≥ 0 of a rotation, accurate for every angle.

    Each row of a symmetric 4 × 4 matrix is the quaternion times one of its own entries; the row of
    the largest entry loses no digits.
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (
        row.unbind(-1) for row in rotation.unbind(-2)
    )
    x, y, z = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m10 + m01, m02 + m20, m21 + m12
    diagonal = (1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22)
    rows = torch.stack(
        [
            torch.stack([diagonal[0], x, y, z], -1),
            torch.stack([x, diagonal[1], xy, xz], -1),
            torch.stack([y, xy, diagonal[2], yz], -1),
            torch.stack([z, xz, yz, diagonal[3]], -1),
        ],
        -2,
    )
    best = torch.stack(diagonal, -1).argmax(-1)[..., None, None]
    chosen = rows.gather(-2, best.expand(*best.shape[:-1], 4)).squeeze(-2)
    unit = torch.nn.functional.normalize(chosen, dim=-1)
    return torch.where(unit[..., :1] < 0, -unit, unit)


def quaternion_wxyz_from_axis_angle(
    axis_angle: Float[Tensor, "*batch xyz=3"],
) -> Float[Tensor, "*batch wxyz=4"]:
    """The unit quaternion of an axis-angle vector in radians."""
    squared = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = squared < _SMALL_ANGLE_SQUARED
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    w = torch.where(small, 1.0 - squared / 8.0, (0.5 * angle).cos())
    share = torch.where(small, 0.5 - squared / 48.0, (0.5 * angle).sin() / angle)
    return torch.cat([w, share * axis_angle], -1)


def axis_angle_from_quaternion_wxyz(
    quaternion_wxyz: Float[Tensor, "*batch wxyz=4"],
) -> Float[Tensor, "*batch xyz=3"]:
    """The axis times the angle in [0, pi] radians of a unit quaternion (either sign)."""
    quaternion = torch.where(quaternion_wxyz[..., :1] < 0, -quaternion_wxyz, quaternion_wxyz)
    w, xyz = quaternion[..., :1], quaternion[..., 1:]
    squared = (xyz * xyz).sum(-1, keepdim=True)
    small = squared < _SMALL_ANGLE_SQUARED
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    safe_w = torch.where(small, w, torch.ones_like(w))
    share = torch.where(
        small,
        2.0 / safe_w * (1.0 - squared / (3.0 * safe_w**2)),
        2.0 * torch.atan2(length, w) / length,
    )
    return share * xyz


def rotation_angle(
    first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """The angle in radians between two rotations, accurate for small angles too."""
    quaternion = quaternion_wxyz_from_matrix(first.transpose(-1, -2) @ second)
    return 2.0 * torch.atan2(quaternion[..., 1:].norm(dim=-1), quaternion[..., 0])
