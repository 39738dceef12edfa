"""What global alignment makes small, and its gradient, in bounded memory.

The data term (DUSt3R, arXiv 2312.14132, eq. 5; MonST3R, arXiv 2410.03825, adds the smoothness; of
windows V-DPM, arXiv 2601.09499, section 4.2, in words)

    1/n · Σ_groups Σ_frames Σ_pixels w · ‖X_frame(pixel) - σ (R p + t)‖,  unsquared,

n being `GroupObservations.terms`, is worked out with its gradient by the frames' points X and the
groups' matrices, a few maps at a time: what is kept does not grow with the number of maps, and it
is several times as fast as automatic differentiation. What comes before X is left to autograd.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.alignment.observations import GroupObservations
from dynapoint.alignment.state import GroupState, Terms

_LEAST_DISTANCE = 1e-20


@dataclass(frozen=True, kw_only=True, eq=False)
class DataTerm:
    """The sum over all pixels (not divided by n) and its gradients."""

    total: Tensor
    by_points: Float[Tensor, "frame xyz=3 pixel"]
    by_matrices: Float[Tensor, "group 3 4"]


@torch.no_grad()
def data_term(
    given: GroupObservations,
    points: Float[Tensor, "frame xyz=3 pixel"],
    matrices: Float[Tensor, "group 3 4"],
    *,
    pixels_at_once: int,
) -> DataTerm:
    """The data term.

    Args:
        given: The maps.
        points: The frames' points in the world.
        matrices: [σ·R | σ·t] of every group.
        pixels_at_once: How many pixels go together: at least one map.
    """
    total = points.new_zeros(())
    by_points, by_matrices = torch.zeros_like(points), torch.zeros_like(matrices)
    for part in given.parts(pixels_at_once):
        frame, group = given.frame[part], given.group[part]
        seen = given.points[part].to(points.dtype)
        matrix = matrices[group]
        residual = points[frame]
        residual -= matrix[:, :, 3:]
        if given.in_groups is None:
            residual.baddbmm_(matrix[:, :, :3], seen, alpha=-1)
            distance = residual.square().sum(dim=1).sqrt_()
        else:
            inverse = torch.linalg.inv(matrix[:, :, :3])
            # From here on in the group's world, where the residual is that of the frame's point.
            found = inverse @ residual
            residual = given.in_groups.shortened(found - seen, seen, part)
            distance = residual.square().sum(dim=1).sqrt_()
        weight = given.weight[part].to(points.dtype)
        cost, root = _cost_and_root(given, distance, part)
        total += (weight * cost).sum()
        residual *= (weight / root)[:, None]
        if given.in_groups is not None:
            residual = given.in_groups.shortened(residual, seen, part)
            residual, seen = inverse.transpose(1, 2) @ residual, found
        by_points.index_add_(0, frame, residual)
        by_matrices[:, :, :3].index_add_(0, group, residual @ seen.transpose(1, 2), alpha=-1)
        by_matrices[:, :, 3].index_add_(0, group, residual.sum(dim=2), alpha=-1)
    return DataTerm(total=total, by_points=by_points, by_matrices=by_matrices)


def _cost_and_root(
    given: GroupObservations, distance: Float[Tensor, "member pixel"], part: slice
) -> tuple[Float[Tensor, "member pixel"], Float[Tensor, "member pixel"]]:
    """What distances count, and what divides a residual in the gradient."""
    if given.rounding is None:
        return distance, distance.clamp_min(_LEAST_DISTANCE)
    rounding = given.rounding[part].to(distance.dtype)
    root = torch.hypot(distance, rounding)
    return root - rounding, root.clamp_min(_LEAST_DISTANCE)


def frame_points(
    *,
    rotations: Float[Tensor, "frame 3 3"],
    positions: Float[Tensor, "frame xyz=3"],
    depth: Float[Tensor, "frame pixel"],
    focal_px: Float[Tensor, " frame"],
    centred_xy: Float[Tensor, "*each xy=2 pixel"],
) -> Float[Tensor, "frame xyz=3 pixel"]:
    """The points of all frames' pixels in the world."""
    rays = centred_xy / focal_px[:, None, None]
    camera = torch.cat([rays * depth[:, None], depth[:, None]], dim=1)
    return rotations @ camera + positions[:, :, None]


def smoothness(
    rotations: Float[Tensor, "frame 3 3"],
    positions: Float[Tensor, "frame xyz=3"],
    *,
    translation_weight: float,
) -> Float[Tensor, ""]:
    """How much the camera turns and moves from frame to frame, both as unsquared norms.

    Σ_t ‖R_tᵀ R_{t+1} - I‖_F + w · ‖the position of camera t + 1 in camera t‖.
    """
    turns = rotations[:-1].transpose(1, 2) @ rotations[1:]
    turns = turns - torch.eye(3, dtype=turns.dtype, device=turns.device)
    steps = positions[1:] - positions[:-1]
    # The derivative of a norm at 0 is 0 here, not NaN.
    turned = torch.linalg.vector_norm(turns.flatten(1), dim=1)
    moved = torch.linalg.vector_norm(steps, dim=1)
    return (turned + translation_weight * moved).sum()


def depth_cost(
    given: GroupObservations, log_change: Float[Tensor, "frame control"]
) -> Float[Tensor, ""]:
    """What coarse changes of depth cost, in the mean over frames."""
    assert given.coarse is not None
    cost = given.coarse.cost.to(log_change)
    return ((log_change @ cost) * log_change).sum() / len(log_change)


def changed_depth(
    given: GroupObservations,
    depth: Float[Tensor, "frame pixel"],
    log_change: Float[Tensor, "frame control"],
) -> Float[Tensor, "frame pixel"]:
    """Depths after their coarse change."""
    assert given.coarse is not None
    return depth * (log_change @ given.coarse.basis.to(log_change)).exp()


@torch.no_grad()
def points_of(given: GroupObservations, state: GroupState) -> Float[Tensor, "frame xyz=3 pixel"]:
    """Where a state puts all frames' pixels."""
    depth = state.depth
    if state.log_change is not None:
        depth = changed_depth(given, depth, state.log_change)
    return frame_points(
        rotations=state.world_from_camera[:, :3, :3],
        positions=state.world_from_camera[:, :3, 3],
        depth=depth,
        focal_px=state.focal,
        centred_xy=given.centred_xy.to(depth),
    )


@torch.no_grad()
def objective(given: GroupObservations, state: GroupState, terms: Terms) -> float:
    """What is made small, of a state."""
    data = data_term(
        given,
        points_of(given, state),
        state.group_matrices(),
        pixels_at_once=terms.pixels_at_once,
    )
    value = float(data.total) / given.terms
    poses = state.world_from_camera
    if terms.smoothness:
        value += terms.smoothness * float(
            smoothness(poses[:, :3, :3], poses[:, :3, 3], translation_weight=terms.translation)
        )
    if state.log_change is not None and terms.depth_cost:
        value += terms.depth_cost * float(depth_cost(given, state.log_change))
    return value


@torch.no_grad()
def distances_in_groups(
    given: GroupObservations, state: GroupState
) -> Float[Tensor, "member pixel"]:
    """How far groups put pixels from where their frames do, in the groups' units; float32."""
    points, matrices = points_of(given, state), state.group_matrices()
    found = torch.empty(given.weight.shape, dtype=torch.float32)
    for part in given.parts(2**16):
        matrix = matrices[given.group[part]]
        mapped = matrix[:, :, :3] @ given.points[part].to(matrix) + matrix[:, :, 3:]
        distance = (points[given.frame[part]] - mapped).square().sum(dim=1).sqrt()
        found[part] = (distance / state.scale[given.group[part], None]).float()
    return found
