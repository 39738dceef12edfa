"""Rigid transforms as 4 × 4 matrices named target-from-source, acting on column vectors."""

import torch
from jaxtyping import Float
from torch import Tensor


def rigid_transform(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch xyz=3"]
) -> Float[Tensor, "*batch 4 4"]:
    """The transform x ↦ rotation · x + translation."""
    top = torch.cat([rotation, translation[..., None]], -1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1.0
    return torch.cat([top, bottom], -2)


def invert_rigid(
    target_from_source: Float[Tensor, "*batch 4 4"],
) -> Float[Tensor, "*batch 4 4"]:
    """The source-from-target transform; the upper left block has to be a rotation."""
    rotation = target_from_source[..., :3, :3].transpose(-1, -2)
    translation = -(rotation @ target_from_source[..., :3, 3:])[..., 0]
    return rigid_transform(rotation, translation)


def transform_points(
    target_from_source: Float[Tensor, "*batch 4 4"], points: Float[Tensor, "*batch point xyz=3"]
) -> Float[Tensor, "*batch point xyz=3"]:
    """Points of the source frame in the target frame, in unchanged units."""
    rotation = target_from_source[..., :3, :3].transpose(-1, -2)
    return points @ rotation + target_from_source[..., None, :3, 3]


def relative_to_first(
    world_from_camera: Float[Tensor, "*batch frame 4 4"],
) -> Float[Tensor, "*batch frame 4 4"]:
    """The same poses in the world of this package: camera 0, which becomes the identity exactly."""
    relative = invert_rigid(world_from_camera[..., :1, :, :]) @ world_from_camera
    relative = relative.clone()
    relative[..., 0, :, :] = torch.eye(4, dtype=relative.dtype, device=relative.device)
    return relative
