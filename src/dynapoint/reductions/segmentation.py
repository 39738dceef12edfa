"""Which pixels moved: displacement against its expected error, as a probability.

The papers threshold displacement: M_1 = [‖P_1(t1, π1) - P_1(t2, π1)‖ > ε] (DPM A.4, ε not stated).
Here ε follows from the maps themselves, in shares of the distance from the camera, so that nothing
changes when the whole scene is scaled, and the answer is a probability:

    p = 1 / (1 + (K·e / d)^γ),   e = distance · max(E · q, floor),

where d is the displacement (over a clip its root mean square over the other times), e its expected
error, and q the displacement, as a share of distance, below which 5 % of a frame's pixels stay.
Those are still in nearly any view, so that up to 95 % of the pixels may move. With exact maps q is
0 and all that is displaced by more than K times the floor moves.

K, E and γ were fitted on clips of the data engine that no network was trained on, under the maps of
`nano` (40 frames, 4 of them without motion). Networks let some of the motion of moving things leak
into their surroundings, so that displacements of still pixels have a far longer tail than noise
has: E leads from the stillest pixels to that tail. Where errors are Gaussian it is some three times
more cautious than it need be; who knows the error passes it.

What cannot work: if fewer than 5 % of the pixels stay still, the slowest motion passes for error,
and motion along with the whole scene cannot be told from an error of the cameras.
"""

from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynapoint.errors import InputError
from dynapoint.reductions.usable import usable_points
from dynapoint.types import Array

_STILL_SHARE = 0.05
# Expected errors in a network's map per displacement of its stillest pixels.
_ERROR_PER_STILLEST = 10.0
# So many expected errors are as likely motion as error, and how sharply that turns.
_HALF_WAY = 3.2
_SHARPNESS = 1.25
# No map is expected to be better than this share of distance: a twentieth of a pixel of 518.
ERROR_FLOOR = 1e-4


@dataclass(frozen=True, kw_only=True)
class MotionSegmentation(Generic[Array]):
    """How likely it is that each pixel's point moved in the world.

    Attributes:
        probability: In [0, 1]; 0 where not valid. Above 0.5 counts as moving.
        displacement: How far the point moved, in scene units: over a clip the root mean square over
            the times at which it is known; 0 where not valid.
        expected_error: Displacement that a still point may be given by error, in scene units; 0
            where not valid.
        valid: Whether the point is known at its own and at another time.
    """

    probability: Float[Array, "*batch height width"]
    displacement: Float[Array, "*batch height width"]
    expected_error: Float[Array, "*batch height width"]
    valid: Bool[Array, "*batch height width"]


def segment_pair(
    points_from: Float[Tensor, "*batch height width xyz=3"],
    points_to: Float[Tensor, "*batch height width xyz=3"],
    *,
    world_from_camera: Float[Tensor, "*batch 4 4"],
    confidence_from: Float[Tensor, "*batch height width"] | None = None,
    confidence_to: Float[Tensor, "*batch height width"] | None = None,
    expected_error: Float[Tensor, "*batch height width"] | None = None,
) -> MotionSegmentation:
    """Which pixels of a frame moved between two times.

    Differentiable in the points, with the expected error held constant.

    Args:
        points_from: Points of a frame's pixels at its own time, in the world, in scene units.
        points_to: The same pixels at the other time, in the world.
        world_from_camera: The frame's camera, from which distances are taken.
        confidence_from: 0 where a pixel of the first map is unusable; None if all are usable.
        confidence_to: The same for the other map.
        expected_error: Root mean square displacement of still points, in scene units, where known;
            None to estimate it from the maps.
    """
    both = None
    if confidence_from is not None or confidence_to is not None:
        sure = torch.ones_like(points_from[..., 0])
        first = sure if confidence_from is None else confidence_from
        both = torch.stack([first, sure if confidence_to is None else confidence_to], dim=-3)
    return segment_clip(
        torch.stack([points_from, points_to], dim=-4),
        own_time=0,
        world_from_camera=world_from_camera,
        confidence=both,
        expected_error=expected_error,
    )


def segment_clip(
    points: Float[Tensor, "*batch time height width xyz=3"],
    *,
    own_time: int,
    world_from_camera: Float[Tensor, "*batch 4 4"],
    confidence: Float[Tensor, "*batch time height width"] | None = None,
    expected_error: Float[Tensor, "*batch height width"] | None = None,
) -> MotionSegmentation:
    """Which pixels of a frame moved at all over a clip.

    With a single time nothing is known to move, and where no pixel is usable nothing is valid.
    Differentiable in the points, with the expected
    error held constant.

    Args:
        points: Points of one frame's pixels at all times, in the world, in scene units.
        own_time: Which of the times is the frame's own.
        world_from_camera: The frame's camera, from which distances are taken.
        confidence: 0 where a pixel is unusable at a time; None if all are usable.
        expected_error: Root mean square displacement of still points, in scene units, where known;
            None to estimate it from the maps.

    Raises:
        InputError: `own_time` is none of the times.
    """
    times = points.shape[-4]
    if not 0 <= own_time < times:
        raise InputError(
            f"own_time is {own_time} but points are given at {times} times; give the index of the "
            "frame's own time among them, from 0"
        )
    known = usable_points(points, confidence)
    others = [time for time in range(times) if time != own_time]
    known_there = known[..., others, :, :] & known[..., own_time : own_time + 1, :, :]
    valid = known_there.any(dim=-3)
    own = torch.where(known[..., own_time, :, :, None], points[..., own_time, :, :, :], 0.0)
    count = known_there.sum(dim=-3).clamp_min(1)
    square = torch.zeros_like(own[..., 0])
    for index, time in enumerate(others):
        at_time = known_there[..., index, :, :, None]
        x, y, z = torch.where(at_time, points[..., time, :, :, :] - own, 0.0).unbind(dim=-1)
        square = square + (x * x + y * y + z * z)
    square = square / count
    if expected_error is None:
        camera = world_from_camera[..., None, None, :3, 3].to(own.dtype)
        distance = (own - camera).norm(dim=-1)
        expected_error = _error_of_stillest(square.detach(), distance.detach(), valid)
    error = torch.where(valid, expected_error, 0.0)
    return MotionSegmentation(
        probability=torch.where(valid, _probability(square, error), 0.0),
        displacement=_root(square),
        expected_error=error,
        valid=valid,
    )


def _error_of_stillest(
    square: Float[Tensor, "*batch height width"],
    distance: Float[Tensor, "*batch height width"],
    valid: Bool[Tensor, "*batch height width"],
) -> Float[Tensor, "*batch height width"]:
    """Expected error of displacement from the squared displacements of the stillest pixels."""
    if valid.shape[-2:].numel() == 0:
        return torch.zeros_like(distance)
    share = square.sqrt() / distance.clamp_min(torch.finfo(distance.dtype).tiny)
    share = torch.where(valid, share, torch.nan).flatten(-2)
    # Sorting puts NaN last, so that the index counts usable pixels only.
    index = (valid.flatten(-2).sum(dim=-1, keepdim=True) * _STILL_SHARE).long()
    stillest = share.sort(dim=-1).values.gather(-1, index).nan_to_num(0.0)
    relative = (_ERROR_PER_STILLEST * stillest).clamp_min(ERROR_FLOOR)
    return relative[..., None] * distance


def _probability(
    square: Float[Tensor, "*batch height width"], error: Float[Tensor, "*batch height width"]
) -> Float[Tensor, "*batch height width"]:
    """Probability of motion for squared displacements and expected errors."""
    half_way = (_HALF_WAY * error).square().clamp_min(torch.finfo(square.dtype).tiny)
    # The bound, a probability of 1e-8, keeps the gradient finite where nothing moves.
    ratio = (square / half_way).clamp(1e-12, 1e30)
    return torch.sigmoid(0.5 * _SHARPNESS * ratio.log())


def _root(square: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The square root, with a gradient of 0 at 0."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
