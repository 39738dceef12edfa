"""Fusion: the pixels of all frames as one cloud at one time, each piece of surface once.

With all points at one time, `points[frame, t]`, motion is undone and things that move line up as
well as the still scene does (DPM, arXiv 2503.16318, A.4: put all images at one common time). Space
is cut into cubes (voxels), and each voxel that holds points becomes one point.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from dynapoint.errors import ConfigError
from dynapoint.types import Array

# Three indices below this make one key of 63 bits; larger ones are replaced by their ranks.
_INDEX_LIMIT = 2**21
# Points farther than this many voxels from the corner share their last voxel: int64 ends soon.
_FARTHEST_VOXEL = 2.0**62
_STILL = 0.5
_SPACING_SAMPLES = 100_000
# Thinning stops when it is this close to as many points as allowed, or after so many trials.
_CLOSE_ENOUGH = 0.9
_TRIALS = 12


@dataclass(frozen=True, kw_only=True)
class FusedCloud:
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
    points: Float[Tensor, "frame height width xyz=3"],
    confidence: Float[Tensor, "frame height width"],
    colors: Shaped[Tensor, "frame height width rgb=3"],
    *,
    static: Float[Tensor, "frame height width"] | None = None,
    voxel_size: float | None = None,
    max_points: int | None = None,
) -> FusedCloud:
    """Join maps of several frames into one cloud that holds each piece of surface once.

    Args:
        points: In the world, all at one time. With `static`, own-time maps serve as well, because
            what stands still is at one place at all times.
        confidence: Not negative; points with 0, or that are not finite, take part in nothing.
        colors: Of the pixels, uint8 or floating point.
        static: Probability that a pixel shows something that stands still. Only pixels with more
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
    weight = torch.where(points.isfinite().all(dim=-1) & confidence.isfinite(), confidence, 0.0)
    if static is not None:
        weight = torch.where(static > _STILL, weight * static, 0.0)
    weight = weight.detach()
    size = sample_spacing(points.detach(), weight) if voxel_size is None else float(voxel_size)
    used = (weight > 0).flatten().nonzero().squeeze(1)
    where = points.detach().flatten(0, 2)[used].double()
    voxel, size = _voxels(where, size, max_points=max_points)
    return _gather(points, colors, weight, used=used, where=where, voxel=voxel, size=size)


def sample_spacing(
    points: Float[Tensor, "frame height width xyz=3"], weight: Float[Tensor, "frame height width"]
) -> float:
    """Median distance between the points of pixels side by side, where both have weight.

    Where there is none (no neighbours, or all in one place), the diagonal of the box about all
    points over the square root of their number; 1 where that is nothing either.
    """
    _, height, width = weight.shape
    flat, given = points.flatten(0, 2), weight.flatten()
    # A median does not need millions of distances.
    every = 1 + len(given) // _SPACING_SAMPLES
    pixel = torch.arange(0, len(given), every, device=given.device)
    left = pixel[pixel % width < width - 1]
    upper = pixel[pixel // width % height < height - 1]
    first, second = torch.cat([left, upper]), torch.cat([left + 1, upper + width])
    both = (given[first] > 0) & (given[second] > 0)
    apart = (flat[second[both]].double() - flat[first[both]].double()).norm(dim=-1)
    median = float(apart.median()) if len(apart) else 0.0
    if 0 < median < float("inf"):
        return median
    used = points[weight > 0].double()
    if not len(used):
        return 1.0
    diagonal = float((used.amax(dim=0) - used.amin(dim=0)).norm())
    return diagonal / len(used) ** 0.5 or 1.0


def _voxels(
    where: Float[Tensor, "used xyz=3"], size: float, *, max_points: int | None
) -> tuple[Int[Tensor, " used"], float]:
    """For each point the number of its voxel, counted from 0, and the size of voxels it took."""
    voxel = _numbered(where, size)
    if max_points is None or not len(where):
        return voxel, size
    too_small, fits = size, None
    for _ in range(_TRIALS):
        count = int(voxel.max()) + 1
        if count > max_points:
            too_small = size
        else:
            fits = size, voxel
            if count >= _CLOSE_ENOUGH * max_points or size == too_small:
                break
        # Surfaces: the number of voxels falls with the square of their size. Once there is a
        # size that fits, the middle of the interval is tried.
        size = (too_small * fits[0]) ** 0.5 if fits else size * 1.05 * (count / max_points) ** 0.5
        voxel = _numbered(where, size)
    while fits is None:
        count = int(voxel.max()) + 1
        fits = (size, voxel) if count <= max_points else None
        size *= 2
        voxel = _numbered(where, size)
    return fits[1], fits[0]


def _numbered(where: Float[Tensor, "used xyz=3"], size: float) -> Int[Tensor, " used"]:
    """For each point the number of its voxel among those that hold points, from 0 without gaps."""
    if not len(where):
        return torch.empty(0, dtype=torch.int64, device=where.device)
    steps = (where - where.amin(dim=0)).div_(size).clamp_(max=_FARTHEST_VOXEL)
    index = steps.floor_().to(torch.int64)
    x, y, z = index.unbind(dim=1)
    if int(index.max()) >= _INDEX_LIMIT:
        # Ranks are smaller than the number of points, so that two of them make a key as well.
        y, z = (torch.unique(axis, return_inverse=True)[1] for axis in (y, z))
        x = torch.unique(x, return_inverse=True)[1] * (int(y.max()) + 1) + y
        x = torch.unique(x, return_inverse=True)[1] * (int(z.max()) + 1) + z
        return torch.unique(x, return_inverse=True)[1]
    return torch.unique((x * _INDEX_LIMIT + y) * _INDEX_LIMIT + z, return_inverse=True)[1]


def _gather(
    points: Float[Tensor, "frame height width xyz=3"],
    colors: Shaped[Tensor, "frame height width rgb=3"],
    weight: Float[Tensor, "frame height width"],
    *,
    used: Int[Tensor, " used"],
    where: Float[Tensor, "used xyz=3"],
    voxel: Int[Tensor, " used"],
    size: float,
) -> FusedCloud:
    """Sums over the points of each voxel, and the point that stands for them."""
    frames, height, width = weight.shape
    count = int(voxel.max()) + 1 if len(voxel) else 0
    given = weight.flatten()[used].double()
    # Of nothing, the counts would be whole numbers.
    total = torch.bincount(voxel, weights=given, minlength=count).double()
    share = given / total[voxel]

    def mean(values: Tensor) -> Tensor:
        """Weighted means over the points of each voxel."""
        columns = [torch.bincount(voxel, share * v, count) for v in values.unbind(dim=1)]
        return torch.stack(columns, dim=1).double()

    aside = (where - mean(where)[voxel]).square_().sum(dim=1)
    least = torch.full_like(total, torch.inf).scatter_reduce_(0, voxel, aside, "amin")
    nearest = (aside == least[voxel]).nonzero().squeeze(1)
    first = torch.full((count,), len(used), dtype=torch.int64, device=used.device)
    first.scatter_reduce_(0, voxel[nearest], nearest, "amin")
    pixel = used[first]
    frame_of = used // (height * width)
    seen = torch.zeros(count, frames, dtype=torch.bool, device=used.device)
    seen[voxel, frame_of] = True
    mixed = mean(colors.flatten(0, 2)[used].double())
    whole = not colors.dtype.is_floating_point
    return FusedCloud(
        points=points.flatten(0, 2)[pixel],
        colors=(mixed.round() if whole else mixed).to(colors.dtype),
        confidence=total.to(weight.dtype),
        frame_count=seen.sum(dim=1),
        seen=seen,
        frame=frame_of[first],
        row=pixel % (height * width) // width,
        column=pixel % width,
        voxel_size=size,
    )
