"""Smooth changes of depth: logarithms at a few control points, bilinear in between."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# What a change itself costs, against the differences between neighbouring control points.
_SHARE_OF_SIZE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class CoarseDepth:
    """Which changes of depth are possible, and what they cost.

    Attributes:
        basis: By how much the logarithm of a pixel's depth goes with that at a control point.
        cost: Of a frame: half the second derivative of the cost by its controls; positive definite.
    """

    basis: Float[Tensor, "control pixel"]
    cost: Float[Tensor, "control control"]


def coarse_depth(
    uv: Float[Tensor, "xy=2 pixel"], rows: int, columns: int, *, dtype: torch.dtype = torch.float64
) -> CoarseDepth:
    """Control points in the middle of equal cells of the image, row by row.

    Bilinear interpolation is that of `cv2.resize`, by which the field is brought to a map's size.

    A change of 1 everywhere costs 0.1; differences between neighbouring control points cost their
    mean square, so that where nothing is seen the change is that of the neighbourhood.

    Args:
        uv: Where pixels are in the image, from 0 to 1.
        rows: How many control points there are from top to bottom.
        columns: And from left to right.
        dtype: Of the result.
    """
    across = _hats(uv[0].to(dtype), columns)
    down = _hats(uv[1].to(dtype), rows)
    basis = (down[:, None] * across[None]).flatten(0, 1)
    count = rows * columns
    index = torch.arange(count).reshape(rows, columns)
    pairs = torch.cat(
        [
            torch.stack([index[:, :-1].flatten(), index[:, 1:].flatten()], dim=1),
            torch.stack([index[:-1].flatten(), index[1:].flatten()], dim=1),
        ]
    )
    difference = torch.zeros(len(pairs), count, dtype=dtype)
    each = torch.arange(len(pairs))
    difference[each, pairs[:, 0]], difference[each, pairs[:, 1]] = -1.0, 1.0
    cost = difference.T @ difference / max(len(pairs), 1)
    cost = cost + _SHARE_OF_SIZE * torch.eye(count, dtype=dtype) / count
    return CoarseDepth(basis=basis, cost=cost)


def _hats(place: Float[Tensor, " pixel"], count: int) -> Float[Tensor, "control pixel"]:
    """How much each control point counts at places from 0 to 1; beyond the outer ones, they do."""
    place = (place * count - 0.5).clamp(0, count - 1)
    knots = torch.arange(count, dtype=place.dtype)[:, None]
    return (1 - (place - knots).abs()).clamp_min(0)
