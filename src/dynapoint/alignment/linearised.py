"""The objective about a state as a sum of squares: what `newton` solves."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from dynapoint.alignment.objective import points_of
from dynapoint.alignment.observations import GroupObservations
from dynapoint.alignment.state import Freedom, GroupState, Terms

# Distances, without rounding, and steps count as no smaller than this when weights are made.
_LEAST_DISTANCE, _LEAST_STEP = 1e-6, 1e-6
# Derivatives of so many pixels are held together.
_PIXELS_AT_ONCE = 2**13


@dataclass(frozen=True, kw_only=True, eq=False)
class Between:
    """Of the smoothness, by the poses of a frame and of the next one."""

    matrix: Float64[Tensor, "step 12 12"]
    gradient: Float64[Tensor, "step 12"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Linearised:
    """Halves of second derivatives (Gauss-Newton's), and gradients.

    A member's numbers are turn and shift of its frame's pose (6), those of its group with the
    logarithm of scale (7), the logarithm of the focal length (1). What is a frame's own are the
    changes at its control points and, if it is free, the logarithm of its focal length.

    Attributes:
        matrix: By a member's numbers, twice.
        gradient: By a member's numbers.
        coupling: By what is its frame's own, and a member's numbers.
        local: By what is a frame's own, twice.
        local_gradient: By what is a frame's own.
        controls: How many control points there are.
        between: Of the smoothness, if there is any.
    """

    matrix: Float64[Tensor, "member 14 14"]
    gradient: Float64[Tensor, "member 14"]
    coupling: Float64[Tensor, "member own 14"]
    local: Float64[Tensor, "frame own own"]
    local_gradient: Float64[Tensor, "frame own"]
    controls: int
    between: Between | None


@torch.no_grad()
def linearised(
    given: GroupObservations, state: GroupState, freedom: Freedom, terms: Terms
) -> Linearised:
    """The sum of squares that agrees with the objective in value and gradient at a state.

    A distance d is d²/d; the denominator is taken as fixed.
    """
    assert given.coarse is not None and state.log_change is not None
    points = points_of(given, state)
    members, frames, controls = len(given.frame), given.frame_count, len(given.coarse.basis)
    own = controls + (freedom.focal == "frame")
    matrix = points.new_zeros(members, 14, 14)
    gradient = points.new_zeros(members, 14)
    coupling = points.new_zeros(members, own, 14)
    local, local_gradient = points.new_zeros(frames, own, own), points.new_zeros(frames, own)
    at_once = max(1, _PIXELS_AT_ONCE // given.points.shape[-1])
    for start in range(0, members, at_once):
        part = slice(start, min(start + at_once, members))
        gram = _gram(given, state, points, part)
        frame = given.frame[part]
        # Behind the member's numbers: control points, the focal length again, the residual.
        here = slice(14, 14 + own)
        matrix[part], gradient[part] = gram[:, :14, :14], gram[:, :14, -1]
        coupling[part] = gram[:, here, :14]
        local.index_add_(0, frame, gram[:, here, here])
        local_gradient.index_add_(0, frame, gram[:, here, -1])
    _add_depth_cost(given, state, terms, local, local_gradient)
    held = ~freedom.depths
    local[held] = torch.eye(own, dtype=local.dtype)
    local_gradient[held] = 0.0
    coupling[held[given.frame]] = 0.0
    return Linearised(
        matrix=matrix, gradient=gradient, coupling=coupling, local=local,
        local_gradient=local_gradient, controls=controls,
        between=_between(state, terms) if terms.smoothness else None,
    )  # fmt: skip


def _gram(
    given: GroupObservations,
    state: GroupState,
    points: Float64[Tensor, "frame xyz=3 pixel"],
    part: slice,
) -> Float64[Tensor, "member column column"]:
    """Products of all derivatives: pose 6, group 7, focal, control points, focal, residual."""
    assert given.coarse is not None
    frame, group = given.frame[part], given.group[part]
    rotation = state.world_from_camera[frame, :3, :3]
    scale = state.scale[group, None, None]
    target = points[frame]
    # From the camera's and the group's own place.
    ray = target - state.world_from_camera[frame, :3, 3:]
    seen = given.points[part].double()
    turn = state.world_from_group[group, :3, :3]
    arm = target - state.world_from_group[group, :3, 3:]
    residual = arm - scale * turn @ seen
    if given.in_groups is None:
        arm = arm - residual
    forward = rotation[:, :, 2:]
    sideways = forward * (forward * ray).sum(dim=1, keepdim=True) - ray
    basis = given.coarse.basis.double()
    controls = len(basis)
    columns = ray.new_zeros(len(ray), 16 + controls, 3, ray.shape[-1])
    _turn_and_shift(columns[:, :6], ray)
    _turn_and_shift(columns[:, 6:12], arm)
    columns[:, 6:12] *= -1
    columns[:, 12] = -arm
    columns[:, 13] = columns[:, 14 + controls] = sideways
    torch.mul(basis[None, :, None], ray[:, None], out=columns[:, 14 : 14 + controls])
    columns[:, -1] = residual
    if given.in_groups is not None:
        columns /= scale[:, None]
        if given.in_groups.along != 1.0:
            own = seen - given.in_groups.eye[part, :, None].double()
            way = torch.nn.functional.normalize(turn @ own, dim=1)[:, None]
            along = (columns * way).sum(dim=2, keepdim=True)
            columns -= way * along.mul_(1 - given.in_groups.along)
    distance = columns[:, -1].square().sum(dim=1).sqrt()
    if given.rounding is not None:
        distance = torch.hypot(distance, given.rounding[part].double())
    weight = given.weight[part].double() / given.terms
    columns *= (weight / distance.clamp_min(_LEAST_DISTANCE)).sqrt()[:, None, None]
    flat = columns.flatten(2)
    return flat @ flat.transpose(1, 2)


def _turn_and_shift(
    columns: Float64[Tensor, "member 6 xyz=3 pixel"], arm: Float64[Tensor, "member xyz=3 pixel"]
) -> None:
    """Derivatives of points by turns about the place they are counted from, and by its shifts."""
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        columns[:, axis, one], columns[:, axis, other] = -arm[:, other], arm[:, one]
        columns[:, 3 + axis, axis] = 1.0


def _add_depth_cost(
    given: GroupObservations,
    state: GroupState,
    terms: Terms,
    local: Float64[Tensor, "frame own own"],
    local_gradient: Float64[Tensor, "frame own"],
) -> None:
    """Add what coarse changes cost."""
    assert given.coarse is not None and state.log_change is not None
    cost = given.coarse.cost.double() * (2 * terms.depth_cost / given.frame_count)
    controls = len(cost)
    local[:, :controls, :controls] += cost
    local_gradient[:, :controls] += state.log_change @ cost
    # What no pixel tells stays solvable.
    share = 1e-10 * local.diagonal(dim1=1, dim2=2).mean() + 1e-300
    local.diagonal(dim1=1, dim2=2).add_(share)


def _between(state: GroupState, terms: Terms) -> Between:
    """Of the smoothness: a turn by θ is a residual of 2√2 sin(θ/2) along its axis."""
    rotation, position = state.world_from_camera[:, :3, :3], state.world_from_camera[:, :3, 3]
    turn = rotation[1:] @ rotation[:-1].transpose(1, 2)
    skew = (turn - turn.transpose(1, 2)) / 2
    # The sine of the angle, along the axis.
    axis = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=1)
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2
    half = ((1 + cosine) / 2).clamp_min(1e-12).sqrt()[:, None]
    turned, moved = 2**0.5 * axis / half, position[1:] - position[:-1]
    count = len(turned)
    matrix, gradient = position.new_zeros(count, 12, 12), position.new_zeros(count, 12)
    slope = position.new_ones(count, 6)
    slope[:, :3] = 2**0.5 * half
    weight = torch.cat(
        [
            (terms.smoothness / turned.norm(dim=1).clamp_min(_LEAST_STEP))[:, None].expand(-1, 3),
            (terms.smoothness * terms.translation / moved.norm(dim=1).clamp_min(_LEAST_STEP))[
                :, None
            ].expand(-1, 3),
        ],
        dim=1,
    )
    pull = weight * slope * torch.cat([turned, moved], dim=1)
    gradient[:, :6], gradient[:, 6:] = -pull, pull
    stiff = torch.diag_embed(weight * slope.square())
    matrix[:, :6, :6] = matrix[:, 6:, 6:] = stiff
    matrix[:, :6, 6:] = matrix[:, 6:, :6] = -stiff
    return Between(matrix=matrix, gradient=gradient)
