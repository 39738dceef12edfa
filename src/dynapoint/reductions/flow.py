"""What moved and how far: object flow, scene flow and the optical flow that they induce.

In the papers' notation P_i(t, π) are the points of frame i at time t in the camera π. For two
frames 1 and 2, forward flows belong to the pixels of frame 1 and backward ones to those of frame 2
(DPM §4, table 4):

| flow            | from (map of one frame) | to                      |
| ---             | ---                     | ---                     |
| object forward  | P_1(t1, π1)             | P_1(t2, π1)             |
| object backward | P_2(t2, π1)             | P_2(t1, π1)             |
| scene forward   | P_1(t1, π1)             | P_1(t2, π2)             |
| scene backward  | P_2(t2, π2)             | P_2(t1, π1)             |

Each is one call, `to - from`, of the same pixels at two times, both given in the world.
"""

from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynapoint.geometry.pinhole import pixel_centres, project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.reductions.usable import usable_points
from dynapoint.types import Array


@dataclass(frozen=True, kw_only=True)
class ObjectFlow(Generic[Array]):
    """How each pixel's point moves in the world between two times, whatever the cameras do.

    Attributes:
        flow: Position at the time `to` minus position at the time `from`, in the world and scene
            units; 0 where not valid.
        valid: Whether the point is known at both times.
    """

    flow: Float[Array, "*batch height width xyz=3"]
    valid: Bool[Array, "*batch height width"]


@dataclass(frozen=True, kw_only=True)
class SceneFlow(Generic[Array]):
    """How each pixel's point moves as seen by one who moves with the camera.

    Attributes:
        flow: Position in the camera of the time `to` minus position in the camera of the time
            `from`, axes x right, y down, z forward, in scene units; 0 where not valid.
        valid: Whether the point is known at both times.
    """

    flow: Float[Array, "*batch height width xyz=3"]
    valid: Bool[Array, "*batch height width"]


@dataclass(frozen=True, kw_only=True)
class OpticalFlow(Generic[Array]):
    """Where each pixel's point appears in another image, relative to the pixel.

    Attributes:
        flow_px: (column, row) in the other image minus the pixel's own centre, in pixels of the
            map; 0 where not valid. It is defined beyond the other image's border.
        valid: Whether the point is known and in front of the other camera.
        inside: Whether it is valid and lands within the other image. It may still be hidden there.
    """

    flow_px: Float[Array, "*batch height width xy=2"]
    valid: Bool[Array, "*batch height width"]
    inside: Bool[Array, "*batch height width"]


def object_flow(
    points_from: Float[Tensor, "*batch height width xyz=3"],
    points_to: Float[Tensor, "*batch height width xyz=3"],
    *,
    confidence_from: Float[Tensor, "*batch height width"] | None = None,
    confidence_to: Float[Tensor, "*batch height width"] | None = None,
) -> ObjectFlow:
    """The displacement of each pixel's point between two times in a fixed frame.

    Differentiable in the points.

    Args:
        points_from: Points of a frame's pixels at the first time, in the world, in scene units.
        points_to: The same pixels at the other time, in the world.
        confidence_from: 0 where a pixel of the first map is unusable; None if all are usable.
        confidence_to: The same for the other map.
    """
    valid = usable_points(points_from, confidence_from) & usable_points(points_to, confidence_to)
    start, end = _masked(points_from, valid), _masked(points_to, valid)
    return ObjectFlow(flow=end - start, valid=valid)


def scene_flow(
    points_from: Float[Tensor, "*batch height width xyz=3"],
    points_to: Float[Tensor, "*batch height width xyz=3"],
    *,
    world_from_camera_from: Float[Tensor, "*batch 4 4"],
    world_from_camera_to: Float[Tensor, "*batch 4 4"],
    confidence_from: Float[Tensor, "*batch height width"] | None = None,
    confidence_to: Float[Tensor, "*batch height width"] | None = None,
) -> SceneFlow:
    """The displacement of each pixel's point, each time in the camera of that time.

    A still point seen by a moving camera flows. Differentiable in points and cameras.

    Args:
        points_from: Points of a frame's pixels at the first time, in the world, in scene units.
        points_to: The same pixels at the other time, in the world.
        world_from_camera_from: The camera at the first time.
        world_from_camera_to: The camera at the other time.
        confidence_from: 0 where a pixel of the first map is unusable; None if all are usable.
        confidence_to: The same for the other map.
    """
    valid = usable_points(points_from, confidence_from) & usable_points(points_to, confidence_to)
    start = _in_camera(_masked(points_from, valid), world_from_camera_from)
    end = _in_camera(_masked(points_to, valid), world_from_camera_to)
    return SceneFlow(flow=_masked(end - start, valid), valid=valid)


def optical_flow(
    points_to: Float[Tensor, "*batch height width xyz=3"],
    *,
    world_from_camera_to: Float[Tensor, "*batch 4 4"],
    intrinsics_to: Float[Tensor, "*batch 3 3"],
    confidence_to: Float[Tensor, "*batch height width"] | None = None,
) -> OpticalFlow:
    """The image flow from each pixel of frame i, at its own time, into camera j at time j.

    It begins at the pixel's centre, through which frame i sees the point by definition, and ends
    where camera j sees the same point at time j: π_j(P_i(t_j)) - pixel. With cameras and points of
    another time than j's it is the flow of a scene that stopped then. Differentiable in points and
    cameras.

    Args:
        points_to: Points of the pixels of frame i at the time of frame j, in the world.
        world_from_camera_to: Camera j.
        intrinsics_to: Intrinsics of camera j in pixels of the maps, which have one size.
        confidence_to: 0 where a pixel of the map is unusable; None if all are usable.
    """
    height, width = points_to.shape[-3:-1]
    known = usable_points(points_to, confidence_to)
    camera = _in_camera(_masked(points_to, known), world_from_camera_to)
    valid = known & (camera[..., 2] > 0)
    # Points behind the camera are put before it, so that no gradient is NaN.
    ahead = torch.tensor([0.0, 0.0, 1.0], dtype=camera.dtype, device=camera.device)
    seen = torch.where(valid[..., None], camera, ahead)
    xy = project(seen.flatten(-3, -2), intrinsics_to).unflatten(-2, (height, width))
    xy_from = pixel_centres((height, width), dtype=xy.dtype, device=xy.device)
    limit = xy.new_tensor([width, height])
    inside = valid & (xy >= 0).all(dim=-1) & (xy <= limit).all(dim=-1)
    return OpticalFlow(flow_px=_masked(xy - xy_from, valid), valid=valid, inside=inside)


def _in_camera(
    points: Float[Tensor, "*batch height width xyz=3"],
    world_from_camera: Float[Tensor, "*batch 4 4"],
) -> Float[Tensor, "*batch height width xyz=3"]:
    """Points of the world in a camera; both may be of either precision, the points' is kept."""
    flat = points.flatten(-3, -2)
    camera_from_world = invert_rigid(world_from_camera.to(points.dtype))
    return transform_points(camera_from_world, flat).unflatten(-2, points.shape[-3:-1])


def _masked(
    values: Float[Tensor, "*batch height width value"], valid: Bool[Tensor, "*batch height width"]
) -> Float[Tensor, "*batch height width value"]:
    """Values, and 0 where they are not valid."""
    return torch.where(valid[..., None], values, 0.0)
