"""What global alignment makes small, and its gradient, in bounded memory.

The data term (DUSt3R, arXiv 2312.14132, eq. 5; MonST3R, arXiv 2410.03825, adds the smoothness)

    1/n · Σ_pairs Σ_views Σ_pixels log(C) · ‖X_frame(pixel) - σ (R p + t)‖,  unsquared,

n being pixels times pairs, is worked out with its gradient by the frames' points X and the pairs'
matrices, a few maps at a time: what is kept does not grow with the number of pairs, and it is
several times as fast as automatic differentiation. What comes before X is left to autograd.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.models.pairwise.observations import PairObservations

_LEAST_DISTANCE = 1e-20


def data_term(
    given: PairObservations,
    points: Float[Tensor, "frame xyz=3 pixel"],
    matrices: Float[Tensor, "pair 3 4"],
    *,
    pixels_at_once: int,
) -> tuple[Tensor, Float[Tensor, "frame xyz=3 pixel"], Float[Tensor, "pair 3 4"]]:
    """The sum over all pixels (not divided by n) and its gradients by points and by matrices.

    Args:
        given: The maps.
        points: The frames' points in the world, for the flattened grid.
        matrices: [σ·R | σ·t] of every pair.
        pixels_at_once: How many pixels go together: at least one map.
    """
    maps, weights = given.points.flatten(3), given.weight.flatten(2)
    frames = torch.tensor([given.firsts, given.seconds], device=points.device).T
    at_once = max(1, pixels_at_once // points.shape[-1])
    with torch.no_grad():
        total = points.new_zeros(())
        by_points, by_matrices = torch.zeros_like(points), torch.zeros_like(matrices)
        for view in (0, 1):
            for start in range(0, len(maps), at_once):
                part = slice(start, start + at_once)
                seen, frame = maps[part, view], frames[part, view]
                matrix = matrices[part]
                residual = points[frame]
                residual -= matrix[:, :, 3:]
                residual.baddbmm_(matrix[:, :, :3], seen, alpha=-1)
                distance = residual.square().sum(dim=1).sqrt_()
                weight = weights[part, view]
                total += (weight * distance).sum()
                residual *= (weight / distance.clamp_min_(_LEAST_DISTANCE))[:, None]
                by_points.index_add_(0, frame, residual)
                by_matrices[part, :, :3] -= residual @ seen.transpose(1, 2)
                by_matrices[part, :, 3] -= residual.sum(dim=2)
        return total, by_points, by_matrices


def frame_points(
    *,
    rotations: Float[Tensor, "frame 3 3"],
    positions: Float[Tensor, "frame xyz=3"],
    depth: Float[Tensor, "frame pixel"],
    focal_px: Float[Tensor, " frame"],
    centred_xy: Float[Tensor, "xy=2 pixel"],
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
