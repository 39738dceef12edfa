"""Pose encodings of a clip's frames: the camera head, restarted from what the matches say."""

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.models.layers.camera_head import CameraHead
from dynapoint.models.layers.config import CameraHeadConfig
from dynapoint.models.layers.pose_encoding import camera_from_world, encode_cameras, intrinsics_px
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.nano.ego_motion import solve_ego_motion
from dynapoint.models.nano.matching import CELL_PX, Matcher
from dynapoint.models.nano.placing import at_cells, place, to_cells

POSE_HYPOTHESES = 16
"""Starts tried for each camera's pose; more gained nothing (docs/notes/nano.md)."""


def pose_encodings(
    camera_head: CameraHead,
    matcher: Matcher,
    *,
    camera_tokens: Float[Tensor, "batch frame double_width"],
    log_distance: Float[Tensor, "batch frame height width"],
    descriptors: Float[Tensor, "batch frame cell descriptor"],
    pixel_aspect: float = 1.0,
) -> Float[Tensor, "iteration batch frame 9"]:
    """Pose encodings of all iterations; the second may start from the matches' own pose."""
    config = camera_head.config
    raw, results = None, []
    for iteration in range(config.iterations):
        if raw is not None and iteration == 1 and config.start_from_matches:
            raw = _pose_from_matches(
                matcher,
                config,
                raw.detach(),
                log_distance.detach(),
                descriptors,
                pixel_aspect=pixel_aspect,
            )
        raw = at_least_float32(camera_head.step(camera_tokens, raw))
        results.append(camera_head.activate(raw))
    return torch.stack(results)


@torch.no_grad()
def _pose_from_matches(
    matcher: Matcher,
    config: CameraHeadConfig,
    raw: Float[Tensor, "batch frame 9"],
    log_distance: Float[Tensor, "batch frame height width"],
    descriptors: Float[Tensor, "batch frame cell descriptor"],
    *,
    pixel_aspect: float,
) -> Float[Tensor, "batch frame 9"]:
    """Replace the poses of frames 1… by those that place frame 0's points on their matches."""
    batch, frames, height, width = log_distance.shape
    if frames == 1:
        return raw
    map_hw = (height // CELL_PX, width // CELL_PX)
    intrinsics = intrinsics_px(
        raw, (height, width), square_pixels=config.square_pixels, pixel_aspect=pixel_aspect
    )
    first = at_cells(log_distance[:, :1])
    identity = torch.eye(4, dtype=raw.dtype, device=raw.device).expand(batch, 1, 4, 4)
    points = place(first, identity, to_cells(intrinsics[:, :1])).flatten(1, 3)
    others = frames - 1
    matches = matcher.match(
        descriptors[:, :1].expand(-1, others, -1, -1).flatten(0, 1),
        descriptors[:, 1:].flatten(0, 1),
        map_hw,
    )
    start = first_is_identity(camera_from_world(raw))[:, 1:]
    ego = solve_ego_motion(
        points_world=points[:, None].expand(-1, others, -1, -1).flatten(0, 1),
        target_xy=matches.xy,
        weight=matches.weight,
        intrinsics=intrinsics[:, 1:].flatten(0, 1),
        initial=start.flatten(0, 1),
        hypotheses=POSE_HYPOTHESES,
    )
    solved = encode_cameras(
        ego.camera_from_world, intrinsics[:, 1:].flatten(0, 1), (height, width)
    ).unflatten(0, (batch, others))
    others_raw = torch.cat([solved[..., :7], raw[:, 1:, 7:]], dim=-1)
    return torch.cat([raw[:, :1], others_raw], dim=1)


def first_is_identity(
    camera_from_world_matrix: Float[Tensor, "batch frame 4 4"],
) -> Float[Tensor, "batch frame 4 4"]:
    """Frame 0's camera is the world by definition, whatever the camera head says of it."""
    identity = torch.eye(4, device=camera_from_world_matrix.device).to(camera_from_world_matrix)
    first = identity.expand(camera_from_world_matrix.shape[0], 1, 4, 4)
    return torch.cat([first, camera_from_world_matrix[:, 1:]], dim=1)
