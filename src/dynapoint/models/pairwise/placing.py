"""From aligned depths, poses and focal lengths to point maps at full resolution."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dynapoint.models.pairwise.observations import PairObservations
from dynapoint.models.pairwise.start import usable_depth


def full_resolution_depth(
    aligned: Float[Tensor, "frame row column"],
    given: PairObservations,
    own_depth: Float[Tensor, "frame height width"],
) -> Float[Tensor, "frame height width"]:
    """Aligned depths of all pixels: as they are where all were aligned.

    Otherwise every frame's own depth times what alignment changed on its grid, of which the
    logarithm is interpolated.
    """
    if aligned.shape == own_depth.shape:
        return aligned
    change = aligned.log() - usable_depth(given.own_points[:, 2]).log()
    full = functional.interpolate(
        change[:, None], own_depth.shape[1:], mode="bilinear", align_corners=False
    )
    own = usable_depth(own_depth.nan_to_num(0.0, 0.0, 0.0))
    return own * full[:, 0].exp()


def intrinsics_of(
    focal_px: Float[Tensor, " frame"], image_hw: tuple[int, int]
) -> Float[Tensor, "frame 3 3"]:
    """Pinholes with square pixels and the principal point in the middle of the image."""
    height, width = image_hw
    matrix = torch.zeros(len(focal_px), 3, 3, dtype=focal_px.dtype, device=focal_px.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = focal_px
    matrix[:, 0, 2], matrix[:, 1, 2], matrix[:, 2, 2] = width / 2, height / 2, 1.0
    return matrix


def points_in_world(
    depth: Float[Tensor, "frame height width"],
    world_from_camera: Float[Tensor, "frame 4 4"],
    intrinsics: Float[Tensor, "frame 3 3"],
) -> Float[Tensor, "frame height width xyz=3"]:
    """Where the centres of all pixels are at their depths."""
    height, width = depth.shape[1:]
    y = torch.arange(height, dtype=depth.dtype, device=depth.device)[:, None] + 0.5
    x = torch.arange(width, dtype=depth.dtype, device=depth.device) + 0.5
    lens = intrinsics[:, :, :, None, None]
    across = (x - lens[:, 0, 2]) / lens[:, 0, 0] * depth
    down = (y - lens[:, 1, 2]) / lens[:, 1, 1] * depth
    camera = torch.stack([across, down, depth], dim=-1).flatten(1, 2)
    turned = camera @ world_from_camera[:, :3, :3].transpose(1, 2)
    world = turned + world_from_camera[:, None, :3, 3]
    return world.unflatten(1, (height, width))
