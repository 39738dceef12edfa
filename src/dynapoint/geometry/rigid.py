"""Rigid transforms as 4 x 4 matrices named target-from-source, acting on column vectors."""

import torch
from jaxtyping import Float
from torch import Tensor


def invert_rigid(target_from_source: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of rigid transforms."""
    rotation = target_from_source[..., :3, :3].transpose(-1, -2)
    # Written out, because autocast would round a matrix product to half precision.
    shift = -(rotation * target_from_source[..., None, :3, 3]).sum(dim=-1, keepdim=True)
    return torch.cat([torch.cat([rotation, shift], dim=-1), target_from_source[..., 3:, :]], dim=-2)


def transform_points(
    target_from_source: Float[Tensor, "*batch 4 4"], points: Float[Tensor, "*batch point xyz=3"]
) -> Float[Tensor, "*batch point xyz=3"]:
    """Points of the source frame in the target frame, in unchanged units."""
    rotation = target_from_source[..., :3, :3].transpose(-1, -2)
    return points @ rotation + target_from_source[..., None, :3, 3]


def rotation_angle_rad(
    first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """The angle between two rotations in [0, pi], accurate for small and for large angles.

    The skew part of the relative rotation holds the sine, its trace the cosine.
    """
    relative = first.transpose(-1, -2) @ second
    skew = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        dim=-1,
    )
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return torch.atan2(skew.norm(dim=-1), trace - 1)
