"""A camera that is to see known points at known pixels: what one step of Gauss-Newton takes.

Perspective-n-point refinement (Hartley & Zisserman, Multiple View Geometry, section 7 and A6). A
pose changes by a motion of six numbers from the left: a turn (rotation vector, radians) about the
camera's axes, then a shift along them in units of the points.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.geometry.rigid import transform_points


@dataclass(frozen=True, kw_only=True)
class PoseEquations:
    """`normal` @ motion = `gradient`: the motion that best takes points to their pixels."""

    normal: Float[Tensor, "*batch 6 6"]
    gradient: Float[Tensor, "*batch 6"]


def pose_equations(
    camera_from_world: Float[Tensor, "*batch 4 4"],
    points_world: Float[Tensor, "*batch point xyz=3"],
    xy_px: Float[Tensor, "*batch point xy=2"],
    weight: Float[Tensor, "*batch point"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    *,
    least_depth: float = 0.0,
) -> PoseEquations:
    """The normal equations of the weighted squared distances between points and their pixels.

    Points that are not farther before the camera than `least_depth` do not count.
    """
    camera = transform_points(camera_from_world, points_world)
    in_front = camera[..., 2] > least_depth
    depth = torch.where(in_front, camera[..., 2], 1.0)
    slope = camera[..., :2] / depth[..., None]
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)[..., None, :]
    residual = xy_px - (slope * focal + intrinsics[..., None, :2, 2])
    jacobian = _slope_by_motion(slope, 1 / depth) * focal[..., None]
    weighted = jacobian * (weight * in_front)[..., None, None]
    return PoseEquations(
        normal=torch.einsum("...nxi,...nxj->...ij", weighted, jacobian),
        gradient=torch.einsum("...nxi,...nx->...i", weighted, residual),
    )


def moved_by(
    motion: Float[Tensor, "*batch 6"], camera_from_world: Float[Tensor, "*batch 4 4"]
) -> Float[Tensor, "*batch 4 4"]:
    """Poses after a motion from the left, by Rodrigues' formula."""
    turn, shift = motion[..., :3], motion[..., 3:]
    # torch.matrix_exp would wait for the device at every call.
    angle = turn.norm(dim=-1)[..., None, None]
    cross = cross_matrix(turn)
    half = torch.sinc(angle / (2 * torch.pi))
    change = torch.sinc(angle / torch.pi) * cross + 0.5 * half * half * (cross @ cross)
    top = camera_from_world[..., :3, :] + change @ camera_from_world[..., :3, :]
    top = top + torch.nn.functional.pad(shift[..., None], (3, 0))
    return torch.cat([top, camera_from_world[..., 3:, :]], dim=-2)


def cross_matrix(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The skew-symmetric matrix whose product with w is v × w."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def cauchy_weight(
    distance: Float[Tensor, "*batch point"],
    scale: Float[Tensor, "*batch #point"],
    prior: Float[Tensor, "*batch point"],
) -> Float[Tensor, "*batch point"]:
    """Weights prior / (1 + (r / s)²): least squares with them lowers s² log(1 + (r / s)²)."""
    return prior / (1 + (distance / scale) ** 2)


def _slope_by_motion(
    slope: Float[Tensor, "*batch point xy=2"], inverse_depth: Float[Tensor, "*batch point"]
) -> Float[Tensor, "*batch point xy=2 6"]:
    """Derivatives of x / z and y / z of points in the camera by a motion."""
    u, v = slope.unbind(-1)
    zero = torch.zeros_like(u)
    by_x = torch.stack([-u * v, 1 + u * u, -v, inverse_depth, zero, -u * inverse_depth], dim=-1)
    by_y = torch.stack([-1 - v * v, u * v, u, zero, inverse_depth, -v * inverse_depth], dim=-1)
    return torch.stack([by_x, by_y], dim=-2)
