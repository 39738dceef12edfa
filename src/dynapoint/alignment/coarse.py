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
    """Control points on a grid that spans the image, row by row.

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


def change_of_pixels(
    change: Float[Tensor, "*frame row column"], image_hw: tuple[int, int]
) -> Float[Tensor, "*frame height width"]:
    """The change at the centres of all pixels, from that at control points."""
    height, width = image_hw
    rows, columns = change.shape[-2:]
    x = (torch.arange(width, dtype=change.dtype) + 0.5) / width
    y = (torch.arange(height, dtype=change.dtype) + 0.5) / height
    return _hats(y, rows).T @ change @ _hats(x, columns)


def _hats(place: Float[Tensor, " pixel"], count: int) -> Float[Tensor, "control pixel"]:
    """How much each of some evenly spread points, from 0 to 1, counts at places between them."""
    if count == 1:
        return torch.ones_like(place)[None]
    knots = torch.arange(count, dtype=place.dtype)[:, None]
    return (1 - (place * (count - 1) - knots).abs()).clamp_min(0)
