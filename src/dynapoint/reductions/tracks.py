"""Where pixels of one frame are at other times, in space and in each time's picture."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynapoint.errors import InputError
from dynapoint.geometry.pinhole import pixel_centres
from dynapoint.reductions.usable import usable_points
from dynapoint.reductions.visibility import SeenSurface, agreement, visibility
from dynapoint.types import Array

TimeOfFrame = tuple[Float[Tensor, "height width xyz=3"], Float[Tensor, "height width"], SeenSurface]
"""A frame's points (world) and confidence at one time, and what that time's camera sees."""


@dataclass(frozen=True, kw_only=True)
class PixelTracks(Generic[Array]):
    """Tracks of some pixels of one frame; the k-th time is the k-th one given.

    Places are in pixels of the maps here; `rec.track` gives pixels of the original images.

    Attributes:
        source_xy: The places tracked, in the frame's own picture.
        points: Positions in the world; NaN where unusable.
        xy: Places in each time's picture, seen or not; NaN where unusable or behind the camera.
        visible: Probability in [0, 1] that the camera of that time sees the point; 0 where
            unusable.
        confidence: Not negative, larger is better; 0 where unusable.
        expected_error: The mean error of points of such confidence, as a share of the scene's mean
            distance (`rec.expected_error`); NaN where unusable. None where the network's confidence
            is not calibrated, and of `track_pixels`.
    """

    source_xy: Float[Array, "point xy=2"]
    points: Float[Array, "time point xyz=3"]
    xy: Float[Array, "time point xy=2"]
    visible: Float[Array, "time point"]
    confidence: Float[Array, "time point"]
    expected_error: Float[Array, "time point"] | None = None


@dataclass(frozen=True, kw_only=True)
class TrackedTime:
    """`PixelTracks` at one time."""

    source_xy: Float[Tensor, "point xy=2"]
    points: Float[Tensor, "point xyz=3"]
    xy: Float[Tensor, "point xy=2"]
    visible: Float[Tensor, " point"]
    confidence: Float[Tensor, " point"]


def track_pixels(
    times: Iterable[TimeOfFrame],
    *,
    own_time: int | None = None,
    mask: Bool[Tensor, "height width"] | None = None,
    pixels: Int[Tensor, "point column_row=2"] | None = None,
) -> PixelTracks:
    """Track pixels of one frame over times, with the probability that they are seen.

    Maps are taken one time at a time and let go, so that memory holds those of one time and the
    tracks asked for. Visibility is judged with all of the frame's pixels, whichever are tracked.

    Args:
        times: What is known of the frame at each time, in any order.
        own_time: Which of `times` is the frame's own, when its pixels are seen for sure.
        mask: Track these pixels, in row-major order.
        pixels: Track these, (column, row) from 0. All pixels if neither is given.

    Raises:
        InputError: no times, both `mask` and `pixels`, or pixels outside the map.
    """
    tracked = list(tracked_times(times, own_time=own_time, mask=mask, pixels=pixels))
    if not tracked:
        raise InputError("there are no times; give the maps of at least one")
    return PixelTracks(
        source_xy=tracked[0].source_xy,
        points=torch.stack([now.points for now in tracked]),
        xy=torch.stack([now.xy for now in tracked]),
        visible=torch.stack([now.visible for now in tracked]),
        confidence=torch.stack([now.confidence for now in tracked]),
    )


def tracked_times(
    times: Iterable[TimeOfFrame],
    *,
    own_time: int | None = None,
    mask: Bool[Tensor, "height width"] | None = None,
    pixels: Int[Tensor, "point column_row=2"] | None = None,
) -> Iterator[TrackedTime]:
    """`track_pixels`, one time after another, for those who need not hold all of them.

    Raises:
        InputError: both `mask` and `pixels`, or pixels outside the map.
    """
    if mask is not None and pixels is not None:
        raise InputError("both mask and pixels are given; give one of them")
    for time, (points, confidence, surface) in enumerate(times):
        size = (confidence.shape[0], confidence.shape[1])
        chosen = _chosen(size, mask, pixels)
        used = torch.where(usable_points(points, confidence), confidence, 0.0)
        here, sure = points.reshape(-1, 3)[chosen], used.reshape(-1)[chosen]
        here = torch.where(sure[:, None] > 0, here, torch.nan)
        seen = visibility(surface, here, agreement(surface, points, used))
        centres = pixel_centres(size, dtype=here.dtype, device=here.device)
        yield TrackedTime(
            source_xy=centres.reshape(-1, 2)[chosen],
            points=here,
            xy=seen.xy,
            visible=(sure > 0).to(here) if time == own_time else seen.visible,
            confidence=sure,
        )


def _chosen(
    map_hw: tuple[int, int],
    mask: Bool[Tensor, "height width"] | None,
    pixels: Int[Tensor, "point column_row=2"] | None,
) -> Int[Tensor, " point"]:
    """Row-major indices of the pixels to be tracked."""
    height, width = map_hw
    if mask is not None:
        if tuple(mask.shape) != map_hw:
            raise InputError(
                f"the mask is {mask.shape[0]} x {mask.shape[1]} but the map {height} x {width}; "
                "give a mask at the map's resolution"
            )
        return mask.reshape(-1).nonzero().squeeze(-1)
    if pixels is None:
        return torch.arange(height * width)
    column, row = pixels.long().unbind(dim=-1)
    outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    if bool(outside.any()):
        raise InputError(
            f"{int(outside.sum())} of {len(pixels)} pixels lie outside the map of "
            f"{height} x {width}; columns count from 0 to {width - 1}, rows to {height - 1}"
        )
    return row * width + column
