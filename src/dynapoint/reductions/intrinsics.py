"""Intrinsics of the cameras under which point maps fall on their own pixels."""

from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from dynapoint.errors import InputError
from dynapoint.geometry.pose_from_points import cauchy_weight as by_scale
from dynapoint.geometry.similarity import weighted_median
from dynapoint.reductions.usable import usable_points
from dynapoint.types import Array

MOST_PIXELS = 4096
"""Pixels of one map that take part; more of them hardly lower the error."""

_ITERATIONS = 12
_REDESCENDING_ITERATIONS = 12
# Residuals below this slope (x/z or y/z) weigh no more than it.
_SMALLEST_RESIDUAL = 1e-9
# A longer focal length, in longer sides of the map, is none: all points lie on one ray.
_LONGEST_FOCAL = 1e6
# Of the eigenvalues of scaled normal equations: below, some unknown is free.
_SINGULAR = 1e-9


@dataclass(frozen=True, kw_only=True)
class FittedIntrinsics(Generic[Array]):
    """Cameras fitted to point maps.

    Intrinsics and residual are NaN where the points determine no camera: no usable point, all of
    them on one ray, or a map that is turned inside out.

    Attributes:
        intrinsics: In pixels of the map (of the original images from `rec.fit_intrinsics`), pixel
            centres at half-integers.
        residual_px: Weighted median distance between pixels and their projected points, in pixels
            of the map.
        used: Number of pixels used, at most `MOST_PIXELS` of a map.
    """

    intrinsics: Float[Array, "*batch 3 3"]
    residual_px: Float[Array, "*batch"]
    used: Int[Array, "*batch"]


def fit_focal(
    points_camera: Float[Tensor, "*batch height width xyz=3"],
    weight: Float[Tensor, "*batch height width"],
    *,
    principal_point_px: tuple[float, float] | None = None,
    square_pixels: bool = True,
    shared: bool = False,
) -> FittedIntrinsics:
    """The focal length under which the points of maps fall on their pixels.

    Solves Λ U = K P for the focal length (DPM, A.4), robustly as DUSt3R's code does: distances are
    not squared (Weiszfeld's repeated weighted least squares). Unlike there, the slopes x/z and y/z
    are explained by the pixels and not the other way about (`geometry.similarity.shared_focal`):
    pixels are exact, so that noise in the points does not shorten the focal length and a point far
    off the axis has no more say than any other. Differentiable.

    Args:
        points_camera: In the camera of the frame whose pixels they are, in any units.
        weight: Of every pixel, e.g. confidence; 0 leaves it out, as do points that are not finite
            or not in front of the camera.
        principal_point_px: (x, y) in pixels of the map; its centre by default.
        square_pixels: One focal length; otherwise one along x and one along y.
        shared: One camera for all maps along the last batch dimension (a clip's frames), which is
            repeated in the result.

    Raises:
        InputError: the principal point is not finite.
    """
    height, width = points_camera.shape[-3:-1]
    centre = principal_point_px or (width / 2, height / 2)
    if not torch.tensor(centre).isfinite().all():
        raise InputError(
            f"The principal point is {centre}; wanted two finite numbers, in pixels. "
            "Leave it out to use the centre of the map."
        )
    return _fit(
        points_camera, weight, centre, free_centre=False, square_pixels=square_pixels, shared=shared
    )


def fit_focal_and_principal_point(
    points_camera: Float[Tensor, "*batch height width xyz=3"],
    weight: Float[Tensor, "*batch height width"],
    *,
    square_pixels: bool = True,
    shared: bool = False,
) -> FittedIntrinsics:
    """The focal length and the principal point under which points fall on their pixels.

    Slopes are linear in the inverse focal length and in the principal point over it, so that
    `fit_focal`'s robust least squares finds them jointly.
    Arguments as there. Differentiable.
    """
    height, width = points_camera.shape[-3:-1]
    return _fit(
        points_camera,
        weight,
        (width / 2, height / 2),
        free_centre=True,
        square_pixels=square_pixels,
        shared=shared,
    )


def choose_pixels(
    usable: Bool[Tensor, "map pixel"], *, most: int = MOST_PIXELS
) -> tuple[Int[Tensor, "map chosen"], Bool[Tensor, "map chosen"]]:
    """Up to `most` usable pixels of every map, spread evenly over them, and which are no filling.

    One pixel is drawn at random, with a fixed seed, from each of equally long stretches of the
    usable pixels in row-major order: regular steps could fall on a few columns only. There is at
    least one place for each map, so that what follows need not ask for emptiness.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = []
    for row in usable:
        index = row.nonzero().squeeze(1)
        if len(index) > most:
            edge = torch.arange(most + 1) * len(index) // most
            drawn = torch.rand(most, generator=generator, dtype=torch.float64)
            place = edge[:-1] + (drawn * edge.diff()).long()
            index = index[place.to(index.device)]
        chosen.append(index)
    longest = max([1, *(len(index) for index in chosen)])
    filled = [torch.nn.functional.pad(index, (0, longest - len(index))) for index in chosen]
    known = [torch.arange(longest, device=usable.device) < len(index) for index in chosen]
    if not chosen:
        return usable.new_zeros(0, 0, dtype=torch.int64), usable.new_zeros(0, 0)
    return torch.stack(filled), torch.stack(known)


def cauchy_weight(
    residual: Float64[Tensor, "*batch point axis"], prior: Float64[Tensor, "*batch point"]
) -> Float64[Tensor, "*batch point"]:
    """Weights prior / (1 + (r / s)²) of residuals of length r, s being their median.

    They let go of a residual that is far larger than the others, whichever way it points; those of
    distances that are not squared only limit it. Residuals that are not finite weigh nothing.
    """
    size = residual.norm(dim=-1).nan_to_num(torch.inf)
    counted = torch.where(prior > 0, size, torch.nan)
    scale = counted.nanmedian(dim=-1, keepdim=True).values.clamp_min(_SMALLEST_RESIDUAL)
    return torch.where(size.isfinite(), by_scale(size, scale, prior), 0.0)


def _fit(
    points_camera: Tensor,
    weight: Tensor,
    centre_px: tuple[float, float],
    *,
    free_centre: bool,
    square_pixels: bool,
    shared: bool,
) -> FittedIntrinsics:
    """Robust least squares for one or two focal lengths and perhaps the principal point."""
    *batch, height, width, _ = points_camera.shape
    points, given = points_camera.reshape(-1, height * width, 3), weight.reshape(-1, height * width)
    usable = (points[..., 2] > 0) & usable_points(points, given)
    index, known = choose_pixels(usable)
    points = points.gather(1, index[..., None].expand(-1, -1, 3)).double()
    # What fills short rows must not turn into NaN, which a weight of 0 would not remove.
    points = torch.where(known[..., None], points, 1.0)
    prior = torch.where(known, given.gather(1, index).double(), 0.0)
    centre = torch.tensor(centre_px, dtype=torch.float64, device=points.device)
    side = float(max(height, width))
    xy = (torch.stack([index % width, index // width], dim=-1) + 0.5 - centre) / side
    slope = points[..., :2] / points[..., 2:]
    repeats = batch[-1] if shared and batch else 1
    if repeats > 1:
        slope, xy = (x.reshape(-1, repeats * x.shape[1], 2) for x in (slope, xy))
        prior, known = (x.reshape(-1, repeats * x.shape[1]) for x in (prior, known))
    solution, left = _solve(slope, xy, prior, free_centre=free_centre, square_pixels=square_pixels)
    inverse = solution[:, :1].expand(-1, 2) if square_pixels else solution[:, :2]
    good = (inverse > 1 / _LONGEST_FOCAL).all(dim=1)
    focal = side / torch.where(good[:, None], inverse, 1.0)
    shift = -solution[:, -2:] * focal if free_centre else torch.zeros_like(focal)
    intrinsics = torch.zeros(len(focal), 3, 3, dtype=torch.float64, device=points.device)
    intrinsics[:, :2, :2] = torch.diag_embed(focal)
    intrinsics[:, :2, 2], intrinsics[:, 2, 2] = shift + centre, 1.0
    intrinsics = torch.where(good[:, None, None], intrinsics, torch.nan).to(points_camera.dtype)
    residual = weighted_median((left * focal[:, None]).norm(dim=-1), prior)
    residual = torch.where(good, residual, torch.nan).to(points_camera.dtype)
    used = known.sum(dim=1)
    return FittedIntrinsics(
        intrinsics=intrinsics.repeat_interleave(repeats, dim=0).reshape(*batch, 3, 3),
        residual_px=residual.repeat_interleave(repeats, dim=0).reshape(batch),
        used=used.repeat_interleave(repeats, dim=0).reshape(batch),
    )


def _solve(
    slope: Float64[Tensor, "fit point xy=2"],
    xy: Float64[Tensor, "fit point xy=2"],
    prior: Float64[Tensor, "fit point"],
    *,
    free_centre: bool,
    square_pixels: bool,
) -> tuple[Float64[Tensor, "fit unknown"], Float64[Tensor, "fit point xy=2"]]:
    """One or two inverse focal lengths g (and a shift d) of slope = g · xy + d, and what is left.

    NaN where the pixels leave them undetermined.
    """
    first, second = xy.new_tensor([1.0, 0.0]), xy.new_tensor([0.0, 1.0])
    columns = [xy] if square_pixels else [xy * first, xy * second]
    if free_centre:
        columns += [first.expand_as(xy), second.expand_as(xy)]
    design = torch.stack(columns, dim=-1)
    solution, left, determined = _least_squares(design, slope, prior)
    for _ in range(_ITERATIONS):
        near = prior / left.norm(dim=-1).clamp_min(_SMALLEST_RESIDUAL)
        solution, left, _ = _least_squares(design, slope, near)
    for _ in range(_REDESCENDING_ITERATIONS):
        solution, left, _ = _least_squares(design, slope, cauchy_weight(left, prior))
    return torch.where(determined[:, None], solution, torch.nan), left


def _least_squares(
    design: Float64[Tensor, "fit point xy=2 unknown"],
    target: Float64[Tensor, "fit point xy=2"],
    weight: Float64[Tensor, "fit point"],
) -> tuple[Float64[Tensor, "fit unknown"], Float64[Tensor, "fit point xy=2"], Bool[Tensor, " fit"]]:
    """The solution, the residuals, and whether there is but one solution."""
    weighted = (design * weight[..., None, None]).flatten(1, 2).transpose(1, 2)
    normal, right = weighted @ design.flatten(1, 2), weighted @ target.flatten(1, 2)[..., None]
    size = normal.diagonal(dim1=1, dim2=2).sqrt()
    exists = (size > 0).all(dim=1) & size.isfinite().all(dim=1)
    size = torch.where(exists[:, None], size, 1.0)
    unit = torch.eye(size.shape[1], dtype=size.dtype, device=size.device)
    scaled = normal / (size[:, :, None] * size[:, None, :])
    scaled = torch.where(exists[:, None, None], scaled, unit)
    determined = exists & (torch.linalg.eigvalsh(scaled.detach())[:, 0] > _SINGULAR)
    scaled = torch.where(determined[:, None, None], scaled, unit)
    solution = torch.linalg.solve(scaled, right / size[..., None]).squeeze(-1) / size
    solution = torch.where(determined[:, None], solution, 0.0)
    return solution, target - (design @ solution[:, None, :, None]).squeeze(-1), determined
