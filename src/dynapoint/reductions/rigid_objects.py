"""How one thing moves as a rigid body over all times, and a box that follows it.

For the pixels of one frame that show the thing, the motion from the source time to time t is
argmin over R, t of the distances between R P(source) + t and P(t) (DPM, arXiv 2503.16318, appendix
A.4), found robustly: a start by least median of squares over small samples (Rousseeuw 1984), which
bears up to half of the points being wrong, then least squares over the points that agree.
"""

from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from dynapoint.errors import InputError
from dynapoint.geometry.similarity import fit_similarity, move, split_similarity
from dynapoint.types import Array

from .boxes import box_corners, fit_box

# Samples of four points, of which one in eight is clean among 40 % of wrong ones.
_SAMPLES = 128
_SAMPLE_POINTS = 4
# How many points judge a sample, and how many take part in a fit.
_JUDGES = 256
_FITTED = 4096
_REFINEMENTS = 10
# An inlier's residual is at most so many times the median one; with Gaussian noise in x, y and z
# 99.8 % of all points are.
_MEDIANS = 2.5
# Rounding moves a coordinate by about so many of its type's spacings.
_ROUNDING = 8.0
# Across a line, points must spread this many times farther than their residuals to tell a turn.
_SPREAD_OVER_RESIDUAL = 2.0


@dataclass(frozen=True, kw_only=True)
class RigidObject(Generic[Array]):
    """The motion of one thing from the source time to every time, and its box at every time.

    Attributes:
        target_from_source: Rigid part [R | t]: a point x at the source time is at scale · R x + t
            at the target time, in the world. NaN at times with no usable point.
        scale: 1 unless asked for.
        determined: Whether the points fix the turn: not with fewer than three of them, nor if they
            lie on a line. The answer is then about the smallest turn that explains them.
        inlier: Which points take part in the motion; the others move otherwise or are wrong.
        inlier_share: Their number over that of usable points; 0 without any.
        residual: Root mean square distance of inliers from where the motion takes them, in scene
            units.
        relative_residual: The same over the length of the box's diagonal at that time.
        box_centre: The box is fitted at the source time and carried by the motion.
        box_axes: Unit directions of its sides from long to short, right-handed.
        box_size: Lengths of its sides.
        box_corners: Corner 4i + 2j + k lies at the far end of sides 0, 1, 2 where i, j, k is 1.
    """

    target_from_source: Float[Array, "time 4 4"]
    scale: Float[Array, " time"]
    determined: Bool[Array, " time"]
    inlier: Bool[Array, "time point"]
    inlier_share: Float[Array, " time"]
    residual: Float[Array, " time"]
    relative_residual: Float[Array, " time"]
    box_centre: Float[Array, "time xyz=3"]
    box_axes: Float[Array, "time side=3 xyz=3"]
    box_size: Float[Array, "time side=3"]
    box_corners: Float[Array, "time corner=8 xyz=3"]


def rigid_object(
    points: Float[Tensor, "time point xyz=3"],
    confidence: Float[Tensor, "time point"],
    *,
    source_time: int,
    fit_scale: bool = False,
) -> RigidObject:
    """Fit one rigid motion per time to the points of one thing, and a box around it.

    Args:
        points: Where the pixels of one frame that show the thing (`points[frame][:, mask]`) are at
            every time, in the world.
        confidence: 0 where a point is unusable; points that are not finite are so too.
        source_time: The time from which the motion counts and at which the box is fitted, e.g. the
            frame's own.
        fit_scale: Whether the thing may change its size (Sim(3)), e.g. because of errors in depth.

    Returns:
        In the dtype and on the device of `points`; the same at every call.

    Raises:
        InputError: there is no such time.
    """
    if not 0 <= source_time < len(points):
        raise InputError(
            f"The source time is {source_time}; wanted one of 0 to {len(points) - 1}. Give the "
            "time at which the motion starts."
        )
    where = points.detach().cpu().double()
    usable = where.isfinite().all(dim=-1) & (confidence.detach().cpu() > 0)
    where = torch.where(usable[..., None], where, 0.0)
    rounding = _ROUNDING * torch.finfo(points.dtype).eps
    fits = [
        _fit(where[source_time], there, both, rounding=rounding, rigid=not fit_scale)
        for there, both in zip(where, usable & usable[source_time], strict=True)
    ]
    matrix, inlier, residual, determined = (torch.stack(part) for part in zip(*fits, strict=True))
    scale, rigid = split_similarity(matrix)
    box = _carried_box(
        where[source_time], usable, inlier, source_time=source_time, rigid=rigid, scale=scale
    )
    diagonal = box["box_size"].norm(dim=-1)
    count = (usable & usable[source_time]).sum(dim=1)
    # What rounding leaves of a thing without extent is not infinitely much of it.
    rounded = residual <= rounding * where.flatten(1).norm(dim=1)
    answer = {
        "target_from_source": rigid,
        "scale": scale,
        "inlier_share": inlier.sum(dim=1) / count.clamp_min(1),
        "residual": residual,
        "relative_residual": torch.where(rounded, 0.0, residual / diagonal),
        **box,
    }
    return RigidObject(
        inlier=inlier.to(points.device),
        determined=determined.to(points.device),
        **{name: value.to(points) for name, value in answer.items()},
    )


def _fit(
    source: Float64[Tensor, "point xyz=3"],
    target: Float64[Tensor, "point xyz=3"],
    usable: Bool[Tensor, " point"],
    *,
    rounding: float,
    rigid: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Matrix [s·R | t], inliers, their residual and whether they fix the turn, for one time."""
    index = usable.nonzero()[:, 0]
    inlier = torch.zeros_like(usable)
    nothing = source.new_tensor(torch.nan)
    if len(index) == 0:
        return nothing.expand(4, 4), inlier, nothing, torch.tensor(False)
    p, q = source[index], target[index]
    # Distances below this may be due to the coordinates' own rounding.
    floor = rounding * torch.maximum(p.abs().max(), q.abs().max())
    some = _evenly(len(index), _FITTED)
    chosen_p, chosen_q = p[some], q[some]
    matrix = _least_median_fit(chosen_p, chosen_q, rigid=rigid)
    agree = _agreeing(_residual(matrix, chosen_p, chosen_q), floor)
    for _ in range(_REFINEMENTS):
        matrix = fit_similarity(chosen_p[None], chosen_q[None], agree[None].double(), rigid=rigid)
        before, agree = agree, _agreeing(_residual(matrix, chosen_p, chosen_q), floor)
        if torch.equal(before, agree):
            break
    left = _residual(matrix, p, q)
    agrees = _agreeing(left, floor)
    inlier[index] = agrees
    residual = left[agrees].square().mean().sqrt()
    across = _spread_across(p[agrees][_evenly(int(agrees.sum()), _FITTED)])
    determined = across > torch.maximum(_SPREAD_OVER_RESIDUAL * residual, floor)
    return matrix[0], inlier, residual, determined


def _least_median_fit(
    p: Float64[Tensor, "point xyz=3"], q: Float64[Tensor, "point xyz=3"], *, rigid: bool
) -> Float64[Tensor, "1 4 4"]:
    """The fit of least median residual among those to random samples and that to all points."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(p), (_SAMPLES, _SAMPLE_POINTS), generator=generator)
    ones = p.new_ones(drawn.shape)
    samples = fit_similarity(p[drawn], q[drawn], ones, rigid=rigid)
    everything = fit_similarity(p[None], q[None], p.new_ones(1, len(p)), rigid=rigid)
    matrices = torch.cat([everything, samples])
    judges = _evenly(len(p), _JUDGES)
    left = (move(matrices, p[judges].expand(len(matrices), -1, -1)) - q[judges]).norm(dim=-1)
    best = _middle(left).argmin()
    return matrices[best][None]


def _residual(
    matrix: Float64[Tensor, "1 4 4"],
    p: Float64[Tensor, "point xyz=3"],
    q: Float64[Tensor, "point xyz=3"],
) -> Float64[Tensor, " point"]:
    return (move(matrix, p[None])[0] - q).norm(dim=-1)


def _middle(residual: Float64[Tensor, "*fit point"]) -> Float64[Tensor, "*fit"]:
    """What half of the residuals keep within, beside three that some motion always explains."""
    count = residual.shape[-1]
    return residual.kthvalue(min(count, (count + 4) // 2), dim=-1).values


def _agreeing(
    residual: Float64[Tensor, " point"], floor: Float64[Tensor, ""]
) -> Bool[Tensor, " point"]:
    """Points whose residual is not far above that of the better half of all."""
    return residual <= torch.maximum(_MEDIANS * _middle(residual), floor)


def _spread_across(points: Float64[Tensor, "point xyz=3"]) -> Float64[Tensor, ""]:
    """The standard deviation of points across the line from which they deviate least."""
    centred = points - points.mean(dim=0)
    # Singular values of the points themselves are exact where those of their squares are not.
    spread = torch.linalg.svdvals(centred) / len(points) ** 0.5
    return spread[1] if len(spread) > 1 else spread.new_zeros(())


def _evenly(count: int, most: int) -> Int[Tensor, " chosen"]:
    """At most so many of the indices below `count`, evenly spread."""
    return torch.arange(min(count, most)) * count // min(count, most)


def _carried_box(
    source: Float64[Tensor, "point xyz=3"],
    usable: Bool[Tensor, "time point"],
    inlier: Bool[Tensor, "time point"],
    *,
    source_time: int,
    rigid: Float64[Tensor, "time 4 4"],
    scale: Float64[Tensor, " time"],
) -> dict[str, Tensor]:
    """The box around the points that mostly move with the thing, at every time."""
    counted = usable & usable[source_time]
    if len(usable) > 1:
        # At the source time itself all points agree.
        others = torch.arange(len(usable)) != source_time
        mostly = 2 * inlier[others].sum(dim=0) >= counted[others].sum(dim=0)
    else:
        mostly = usable[source_time]
    box = fit_box(source[mostly & usable[source_time]].numpy())
    axes, centre, size = (torch.from_numpy(part) for part in (box.axes, box.centre, box.size))
    turn, shift = rigid[:, :3, :3], rigid[:, :3, 3]
    box_axes = axes @ turn.transpose(1, 2)
    box_centre = scale[:, None] * (turn @ centre) + shift
    box_size = scale[:, None] * size
    corners = box_corners(box_centre.numpy(), box_axes.numpy(), box_size.numpy())
    return {
        "box_centre": box_centre,
        "box_axes": box_axes,
        "box_size": box_size,
        "box_corners": torch.from_numpy(corners),
    }
