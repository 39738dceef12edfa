"""What matches say about motion, once the camera's own motion is explained away.

For a source frame i and a target frame t: the match of a pixel, the pixel at which it would be seen
at t if it had not moved (from a robust ego-motion), and the two displacements of its point that
follow, one at unchanged depth in the target camera, one at the target's own depth there. All of it
is computed without gradients and given to the decoder as features.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dynapoint.geometry.pinhole import pixel_centres, project, unproject
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.models.layers.frame_index import constant
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.nano.ego_motion import MIN_DEPTH, EgoMotion, solve_ego_motion
from dynapoint.models.nano.matching import CELL_PX, Matches

HINT_CHANNELS = 17
LARGEST_SHIFT = 1.0
"""Displacements are limited to this many times a point's distance."""


@dataclass(frozen=True, kw_only=True)
class MotionHints:
    """Hints at the cells of the matching map.

    `features` for the network; `lateral` and `inward` are displacements in the world, divided by
    the point's distance from its own camera: at unchanged depth in the target camera, and what
    the target's own depth adds to it.
    """

    features: Float[Tensor, "pair hint rows columns"]
    lateral: Float[Tensor, "pair xyz=3 rows columns"]
    inward: Float[Tensor, "pair xyz=3 rows columns"]


@dataclass(frozen=True, kw_only=True)
class PairGeometry:
    """Own-time geometry of source and target frames at the cells of the matching map."""

    source_points: Float[Tensor, "pair cell xyz=3"]
    source_distance: Float[Tensor, "pair cell"]
    target_points: Float[Tensor, "pair xyz=3 rows columns"]
    target_camera_from_world: Float[Tensor, "pair 4 4"]
    target_intrinsics: Float[Tensor, "pair 3 3"]
    image_hw: tuple[int, int]


def cell_centres(map_hw: tuple[int, int], like: Tensor) -> Float[Tensor, "cell xy=2"]:
    """Pixel positions of the centres of the matching map's cells, row-major."""
    return CELL_PX * pixel_centres(map_hw, dtype=like.dtype, device=like.device).flatten(0, 1)


def refine_ego_motion(geometry: PairGeometry, matches: Matches) -> EgoMotion:
    """The target camera's pose that explains most matches, started at the predicted pose."""
    return solve_ego_motion(
        points_world=geometry.source_points,
        target_xy=matches.xy,
        weight=matches.weight,
        intrinsics=geometry.target_intrinsics,
        initial=geometry.target_camera_from_world,
        iterations=4,
    )


def motion_hints(geometry: PairGeometry, matches: Matches) -> MotionHints:
    """Compute the hints of source-target pairs."""
    with torch.no_grad(), torch.autocast(matches.xy.device.type, enabled=False):
        ego = refine_ego_motion(geometry, matches)
        points = at_least_float32(geometry.source_points)
        pose, intrinsics = ego.camera_from_world, at_least_float32(geometry.target_intrinsics)
        world_from_target = invert_rigid(pose)
        static_camera = transform_points(pose, points)
        static_xy = project(static_camera, intrinsics, least_depth=MIN_DEPTH)
        depth = static_camera[..., 2:].clamp_min(1e-3)
        target_points = at_least_float32(geometry.target_points)
        target_own = _sample(target_points, matches.xy, geometry.image_hw)
        predicted_pose = at_least_float32(geometry.target_camera_from_world)
        target_camera = transform_points(predicted_pose, target_own)
        target_depth = target_camera[..., 2:].clamp_min(1e-3)
        distance = at_least_float32(geometry.source_distance)[..., None]
        stays = unproject(matches.xy, depth[..., 0], intrinsics)
        there = unproject(matches.xy, target_depth[..., 0], intrinsics)
        lateral = _limit((transform_points(world_from_target, stays) - points) / distance)
        direct = _limit((transform_points(world_from_target, there) - points) / distance)
        features = _features(
            geometry,
            matches,
            ego,
            static_xy=static_xy,
            depth=depth,
            target_depth=target_depth,
            lateral=lateral,
            direct=direct,
        )
        return MotionHints(
            features=features,
            lateral=_as_map(lateral, geometry),
            inward=_as_map(direct - lateral, geometry),
        )


def _features(
    geometry: PairGeometry,
    matches: Matches,
    ego: EgoMotion,
    *,
    static_xy: Tensor,
    depth: Tensor,
    target_depth: Tensor,
    lateral: Tensor,
    direct: Tensor,
) -> Tensor:
    height, width = geometry.image_hw
    size = max(height, width)
    residual = matches.xy - static_xy
    centres = cell_centres((height // CELL_PX, width // CELL_PX), residual)
    significance = residual.norm(dim=-1, keepdim=True) / ego.residual_px[:, None, None]
    outside = (static_xy < 0).any(-1) | (static_xy[..., 0] > width) | (static_xy[..., 1] > height)
    columns = [
        4 * lateral,
        4 * direct,
        (residual / CELL_PX).clamp(-4, 4),
        torch.log1p(significance),
        ((matches.xy - centres) / size * 8).clamp(-4, 4),
        torch.log(target_depth / depth).clamp(-2, 2),
        matches.certainty[..., None],
        matches.missing[..., None],
        matches.mutual[..., None],
        outside[..., None].to(lateral),
        ego.inliers[:, None, None].expand(-1, residual.shape[1], 1),
    ]
    return _as_map(torch.cat(columns, dim=-1), geometry)


def _sample(maps: Tensor, xy: Tensor, image_hw: tuple[int, int]) -> Tensor:
    height, width = image_hw
    scale = constant((2 / width, 2 / height), xy.device, xy.dtype)
    grid = (xy * scale - 1)[:, :, None]
    sampled = functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return sampled.squeeze(-1).transpose(1, 2)


def _limit(shift: Tensor) -> Tensor:
    return shift / (shift.norm(dim=-1, keepdim=True) / LARGEST_SHIFT).clamp_min(1)


def _as_map(values: Tensor, geometry: PairGeometry) -> Tensor:
    height, width = geometry.image_hw
    return values.transpose(1, 2).unflatten(2, (height // CELL_PX, width // CELL_PX))
