"""Fusion: the pixels of all frames as one cloud at one time, each piece of surface once.

With all points at one time, `points[frame, t]`, motion is undone and things that move line up as
well as the still scene does (DPM, arXiv 2503.16318, A.4: put all images at one common time). Space
is cut into cubes (voxels), and each voxel that holds points becomes one point.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from dynapoint.errors import ConfigError
from dynapoint.reductions.usable import usable_points
from dynapoint.types import Array

# Three indices below this make one key of 63 bits; larger ones are replaced by their ranks.
_INDEX_LIMIT = 2**21
# Points farther than this many voxels from the corner share their last voxel: int64 ends soon.
_FARTHEST_VOXEL = 2.0**62
_FARTHEST = torch.finfo(torch.float64).max
_STILL = 0.5
_SPACING_SAMPLES = 100_000
_SORTED_AT_ONCE = 1_000_000
# Thinning stops when it is this close to as many points as allowed, or after so many trials.
_CLOSE_ENOUGH = 0.9
_TRIALS = 12

Maps = Float[Tensor, "frame height width xyz=3"] | Sequence[Float[Tensor, "height width xyz=3"]]
"""Maps of all frames, which need not lie in one piece of memory."""


@dataclass(frozen=True, kw_only=True)
class FusedCloud(Generic[Array]):
    """One point for each voxel that holds points, in an order that depends on places alone.

    Attributes:
        points: World, scene units: that of the voxel's points which lies nearest to their mean
            weighted with confidence. So every point is one that the maps hold, on a surface if
            theirs are, and `points_at[frame, row, column]` of maps at another time follows it.
        colors: Mean of the voxel's colours, weighted with confidence, in the kind given.
        confidence: Summed over the voxel's points.
        frame_count: How many frames saw the voxel.
        seen: Which frames saw it, each at its own time.
        frame: Frame of the pixel whose point was taken.
        row: Its row in the map.
        column: Its column in the map.
        voxel_size: Edge of the voxels, in scene units.
    """

    points: Float[Array, "point xyz=3"]
    colors: Shaped[Array, "point rgb=3"]
    confidence: Float[Array, " point"]
    frame_count: Int[Array, " point"]
    seen: Bool[Array, "point frame"]
    frame: Int[Array, " point"]
    row: Int[Array, " point"]
    column: Int[Array, " point"]
    voxel_size: float


def fuse(
    points: Maps,
    confidence: Float[Tensor, "frame height width"],
    colors: Shaped[Tensor, "frame height width rgb=3"],
    *,
    still: Float[Tensor, "frame height width"] | None = None,
    voxel_size: float | None = None,
    max_points: int | None = None,
) -> FusedCloud:
    """Join maps of several frames into one cloud that holds each piece of surface once.

    One frame is worked on after another, so that beside the maps given memory holds one number for
    each pixel, and sums for each voxel.

    Args:
        points: In the world, all at one time. With `still`, own-time maps serve as well, because
            what stands still is at one place at all times.
        confidence: Not negative; points with 0, or that are not finite, take part in nothing.
        colors: Of the pixels, uint8 or floating point.
        still: Probability that a pixel shows something that stands still. Only pixels with more
            than one half take part, and it multiplies their confidence: the background alone.
        voxel_size: Edge of the voxels in scene units; by default the median distance between
            neighbouring pixels' points, so that a single frame keeps most of its points.
        max_points: Voxels are made larger, where need be, until there are at most so many points.

    Returns:
        The cloud; without any point where no point can be used. Gradients reach `points`.

    Raises:
        ConfigError: `voxel_size` is not positive and finite, or `max_points` is less than 1.
    """
    if voxel_size is not None and not 0 < voxel_size < float("inf"):
        raise ConfigError(f"voxel_size is {voxel_size:g}; give a positive number of scene units")
    if max_points is not None and max_points < 1:
        raise ConfigError(f"max_points is {max_points}; give at least 1, or None for no limit")
    places = _Places(
        points=[frame.detach() for frame in points],
        weight=[
            _weight(points[frame].detach(), confidence[frame].detach(), still, frame)
            for frame in range(len(confidence))
        ],
    )
    size = sample_spacing(places.points, places.weight) if voxel_size is None else float(voxel_size)
    voxel, count, size = _voxels(places, size, max_points=max_points)
    total, mean, mixed = _means(places, colors, voxel, count)
    seen, frame_count = _seen(voxel, count)
    frame, row, column = _nearest(places, voxel, mean)
    whole = not colors.dtype.is_floating_point
    return FusedCloud(
        points=_picked(points, frame, row, column),
        colors=(mixed.round() if whole else mixed).to(colors.dtype),
        confidence=total.to(confidence.dtype),
        frame_count=frame_count,
        seen=seen,
        frame=frame,
        row=row,
        column=column,
        voxel_size=size,
    )


def sample_spacing(
    points: Maps,
    weight: Float[Tensor, "frame height width"] | Sequence[Float[Tensor, "height width"]],
) -> float:
    """Median distance between the points of pixels side by side, where both have weight.

    Where there is none (no neighbours, or all in one place), the diagonal of the box about all
    points over the square root of their number; 1 where that is nothing either.
    """
    # A median does not need millions of distances.
    every = 1 + sum(given.numel() for given in weight) // _SPACING_SAMPLES
    distances, seen_pixels = [], 0
    for frame, given in zip(points, weight, strict=True):
        width, flat, sure = given.shape[1], frame.flatten(0, 1), given.flatten()
        pixel = torch.arange(-seen_pixels % every, len(sure), every, device=sure.device)
        seen_pixels += len(sure)
        for other, beside in ((1, pixel % width < width - 1), (width, pixel < len(sure) - width)):
            first = pixel[beside]
            first = first[(sure[first] > 0) & (sure[first + other] > 0)]
            distances.append((flat[first + other].double() - flat[first].double()).norm(dim=-1))
    apart = torch.cat(distances)
    median = float(apart.median()) if len(apart) else 0.0
    if 0 < median < float("inf"):
        return median
    low, high, count = _Places(points=list(points), weight=list(weight)).box()
    return float((high - low).norm()) / max(count, 1) ** 0.5 or 1.0


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Maps of frames, and the weight of each pixel: 0 where it takes part in nothing."""

    points: list[Float[Tensor, "height width xyz=3"]]
    weight: list[Float[Tensor, "height width"]]

    def used(self) -> Iterator[tuple[Float[Tensor, "used xyz=3"], Float[Tensor, " used"]]]:
        """Points of each frame that take part, and their weights."""
        for points, weight in zip(self.points, self.weight, strict=True):
            chosen = weight > 0
            yield points[chosen].double(), weight[chosen].double()

    def box(self) -> tuple[Float[Tensor, "xyz=3"], Float[Tensor, "xyz=3"], int]:
        """The least and largest coordinates, and how many points there are; zeros of none."""
        lows, highs, count = [], [], 0
        for where, _ in self.used():
            if len(where):
                lows.append(where.amin(dim=0))
                highs.append(where.amax(dim=0))
                count += len(where)
        if not count:
            nothing = torch.zeros(3, dtype=torch.float64, device=self.points[0].device)
            return nothing, nothing, 0
        return torch.stack(lows).amin(dim=0), torch.stack(highs).amax(dim=0), count


def _weight(
    points: Float[Tensor, "height width xyz=3"],
    confidence: Float[Tensor, "height width"],
    still: Float[Tensor, "frame height width"] | None,
    frame: int,
) -> Float[Tensor, "height width"]:
    """The weight of a frame's pixels."""
    usable = usable_points(points, confidence)
    if still is None:
        return torch.where(usable, confidence, 0.0)
    share = still[frame].detach()
    return torch.where(usable & (share > _STILL), confidence * share, 0.0)


def _voxels(
    places: _Places, size: float, *, max_points: int | None
) -> tuple[list[Int[Tensor, " _"]], int, float]:
    """For each point the number of its voxel, how many there are, and the size that they took."""
    box = places.box()
    voxel, count = _numbered(places, box, size)
    if max_points is None or not count:
        return voxel, count, size
    too_small, fits = size, None
    for _ in range(_TRIALS):
        if count > max_points:
            too_small = size
        else:
            fits = size, count
            if count >= _CLOSE_ENOUGH * max_points or size == too_small:
                break
        # Surfaces: the number of voxels falls with the square of their size. Once there is a
        # size that fits, the middle of the interval is tried.
        size = (too_small * fits[0]) ** 0.5 if fits else size * 1.05 * (count / max_points) ** 0.5
        voxel, count = _numbered(places, box, size)
    while fits is None:
        fits = (size, count) if count <= max_points else None
        if fits is None:
            size *= 2
            voxel, count = _numbered(places, box, size)
    if size != fits[0]:
        voxel, count = _numbered(places, box, fits[0])
    return voxel, count, fits[0]


def _numbered(
    places: _Places, box: tuple[Tensor, Tensor, int], size: float
) -> tuple[list[Int[Tensor, " _"]], int]:
    """For each point the number of its voxel among those that hold points, from 0 without gaps."""
    low, high, _ = box

    def index() -> Iterator[Int[Tensor, "used xyz=3"]]:
        """Which voxels the points of each frame lie in, counted from the corner."""
        for where, _ in places.used():
            steps = where.sub_(low).div_(size).clamp_(max=_FARTHEST_VOXEL)
            yield steps.floor_().to(torch.int64)

    if float((high - low).max()) / size < _INDEX_LIMIT - 1:
        keys = [(at[:, 0] * _INDEX_LIMIT + at[:, 1]) * _INDEX_LIMIT + at[:, 2] for at in index()]
        return _ranked(keys)
    # Ranks are smaller than the number of points, so that two of them make a key as well.
    keys, _ = _ranked([at[:, 0] for at in index()])
    count = 0
    for axis in (1, 2):
        ranks, lengths = _ranked([at[:, axis] for at in index()])
        pairs = zip(keys, ranks, strict=True)
        keys, count = _ranked([key.long() * lengths + rank for key, rank in pairs])
    return keys, count


def _ranked(values: list[Int[Tensor, " _"]]) -> tuple[list[Int[Tensor, " _"]], int]:
    """For each value its place among the distinct ones of all lists, and how many these are.

    The places replace the values in `values`, as those of all pixels of a clip are large.
    """
    distinct, waiting = values[0][:0], 0
    pending: list[Tensor] = []
    for part in values:
        pending.append(torch.unique(part))
        waiting += len(pending[-1])
        # Frames see the same places, so that far fewer are distinct than all of them hold.
        if waiting > max(len(distinct), _SORTED_AT_ONCE):
            distinct, waiting = torch.unique(torch.cat([distinct, *pending])), 0
            pending.clear()
    distinct = torch.unique(torch.cat([distinct, *pending]))
    for place, part in enumerate(values):
        values[place] = torch.searchsorted(distinct, part.contiguous(), out_int32=True)
    return values, len(distinct)


def _means(
    places: _Places,
    colors: Shaped[Tensor, "frame height width rgb=3"],
    voxel: list[Int[Tensor, " _"]],
    count: int,
) -> tuple[
    Float[Tensor, " voxel"],
    Float[Tensor, "voxel xyz=3"],
    Float[Tensor, "voxel rgb=3"],
]:
    """Of each voxel the sum of weights, and weighted means of points and of colours."""
    total = torch.zeros(count, dtype=torch.float64, device=colors.device)
    for (_, given), number in zip(places.used(), voxel, strict=True):
        total.index_add_(0, number, given)
    sums = torch.zeros(6, count, dtype=torch.float64, device=colors.device)
    for frame, ((where, given), number) in enumerate(zip(places.used(), voxel, strict=True)):
        share = given / total[number]
        shown = colors[frame][places.weight[frame] > 0].double()
        for values, column in zip(sums, (*where.unbind(dim=1), *shown.unbind(dim=1)), strict=True):
            values.index_add_(0, number, share * column)
    return total, sums[:3].T, sums[3:].T


def _seen(
    voxel: list[Int[Tensor, " _"]], count: int
) -> tuple[Bool[Tensor, "voxel frame"], Int[Tensor, " voxel"]]:
    """Which frames have points in each voxel, and how many frames these are."""
    device = voxel[0].device
    seen = torch.zeros(count, len(voxel), dtype=torch.bool, device=device)
    frame_count = torch.zeros(count, dtype=torch.int64, device=device)
    for frame, number in enumerate(voxel):
        seen[number, frame] = True
        # Once for each voxel: several points in it write the same number.
        frame_count[number] = frame_count[number] + 1
    return seen, frame_count


def _nearest(
    places: _Places, voxel: list[Int[Tensor, " _"]], mean: Float[Tensor, "voxel xyz=3"]
) -> tuple[Int[Tensor, " voxel"], Int[Tensor, " voxel"], Int[Tensor, " voxel"]]:
    """Frame, row and column of the point of each voxel that is nearest to the mean.

    Of several the first.
    """
    count, device = len(mean), mean.device
    least = torch.full((count,), torch.inf, dtype=torch.float64, device=device)
    frame_of = torch.zeros(count, dtype=torch.int64, device=device)
    pixel_of = torch.zeros(count, dtype=torch.int64, device=device)
    for frame, ((where, _), number) in enumerate(zip(places.used(), voxel, strict=True)):
        index = number.long()
        aside = where.sub_(mean[index]).square_().sum(dim=1)
        # What overflows is nearer than nothing at all.
        aside.nan_to_num_(nan=_FARTHEST, posinf=_FARTHEST)
        nearer = aside < least[index]
        least.scatter_reduce_(0, index, aside, "amin")
        chosen = (nearer & (aside == least[index])).nonzero().squeeze(1)
        pixel = (places.weight[frame] > 0).flatten().nonzero().squeeze(1)[chosen]
        frame_of[index[chosen]] = frame
        pixel_of.scatter_reduce_(0, index[chosen], pixel, "amin", include_self=False)
    width = places.weight[0].shape[1] if places.weight else 1
    return frame_of, pixel_of // width, pixel_of % width


def _picked(
    points: Maps,
    frame: Int[Tensor, " point"],
    row: Int[Tensor, " point"],
    column: Int[Tensor, " point"],
) -> Float[Tensor, "point xyz=3"]:
    """Points of pixels of several maps."""
    order = frame.argsort(stable=True)
    parts = [points[0][:0, 0]]
    for index in frame.unique().tolist():
        chosen = order[frame[order] == index]
        parts.append(points[index][row[chosen], column[chosen]])
    return torch.cat(parts)[order.argsort()]
