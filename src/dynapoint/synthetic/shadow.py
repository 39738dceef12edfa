"""Shadow maps: what the sun sees, one map per frame, looked up with a smooth 3 × 3 comparison."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batch import SceneBatch
from .contact import along_axes, bounds_of
from .raster import (
    TriangleSetup,
    centre_grid,
    corner_values,
    edge_functions,
    rasterize,
    row_bounds,
)

_MARGIN = 3.0


@dataclass(frozen=True, kw_only=True)
class SunView:
    """Every vertex as the sun sees it: texel x, texel y, and nearness to the sun in (0, 1)."""

    vertices: Float[Tensor, "clip time vertex 3"]
    texel: Float[Tensor, " clip"]  # width of a texel in units of nearness
    map_size: int  # texels along both sides of a map


def sun_view(scenes: SceneBatch, casts: Float[Tensor, "clip vertex"], *, map_size: int) -> SunView:
    """Fit an orthographic view along the sun's direction to all casting vertices at all times."""
    sun = torch.nn.functional.normalize(scenes.look.sun, dim=1)
    helper = torch.tensor([1.0, 0.0, 0.0], device=sun.device).expand_as(sun)
    other = torch.tensor([0.0, 1.0, 0.0], device=sun.device).expand_as(sun)
    helper = torch.where(sun[:, :1].abs() < 0.8, helper, other)
    right = torch.nn.functional.normalize(torch.linalg.cross(helper, sun), dim=1)
    # right × down points away from the sun, as x × y = z does in a camera.
    down = torch.linalg.cross(right, sun)
    axes = torch.stack([right, down, sun], 2)
    seen = along_axes(scenes.vertices, axes)
    low, high = bounds_of(seen, casts)
    # Edges are as soft as texels are large, so a softer sun gets a coarser map.
    scale = (map_size - 2 * _MARGIN) / (high - low)[:, :2].amax(1) / scenes.look.shadow_softness
    depth_scale = 0.8 / (high - low)[:, 2]
    factor = torch.stack([scale, scale, depth_scale], 1)
    shift = torch.tensor([_MARGIN, _MARGIN, 0.1], device=seen.device) - low * factor
    return SunView(
        vertices=seen * factor[:, None, None] + shift[:, None, None],
        texel=depth_scale / scale,
        map_size=map_size,
    )


def shadow_maps(scenes: SceneBatch, view: SunView) -> Float[Tensor, "image row column"]:
    """Nearness to the sun of the casters' far sides, 0 where nothing casts.

    Far sides (faces turned away from the sun) cannot shade the lit side of their own body.
    """
    size = view.map_size
    corners = corner_values(view.vertices, scenes.faces)
    values = corners[:, 2].clone()
    corners[:, 2] = 1.0
    edges, determinant = edge_functions(corners)
    images = scenes.vertices.shape[0] * scenes.vertices.shape[1]
    casts = scenes.face_casts[:, None].expand(-1, scenes.vertices.shape[1], -1).reshape(-1)
    kept = ((determinant < 0) & casts).nonzero()[:, 0]
    corners, edges = corners.index_select(2, kept), -edges.index_select(2, kept)
    values = values.index_select(1, kept) / -determinant.index_select(0, kept)
    first_y, last_y = row_bounds(corners, float(size))
    triangles = TriangleSetup(
        edges=edges,
        nearness=(edges * values[:, None]).sum(0),
        first_y=first_y,
        last_y=last_y,
        image=kept // scenes.faces.shape[1],
    )
    keys = rasterize(triangles, centre_grid(size, size), images=images)
    return (keys >> 32).int().view(torch.float32)


def lit_fraction(
    maps: Float[Tensor, "image row column"],
    image: Int[Tensor, " sample"],
    x: Float[Tensor, " sample"],
    y: Float[Tensor, " sample"],
    nearness: Float[Tensor, " sample"],
) -> Float[Tensor, " sample"]:
    """Share of a 2 × 2 texel window around each position that the sun reaches, smoothly."""
    size = maps.shape[2]
    x = (x - 0.5).clamp(1.0, size - 2.001)
    y = (y - 0.5).clamp(1.0, size - 2.001)
    # Receivers beyond the casters are past the range of nearness; empty texels (0) shade nothing.
    nearness = nearness.clamp_min(1e-3)
    column, row = x.floor(), y.floor()
    fx, fy = x - column, y - row
    # The window of two texels covers three, the outer ones in part.
    left, top = (fx < 0.5).float(), (fy < 0.5).float()
    base = (image * size + (row - top).long()) * size + (column - left).long()
    fx, fy = fx + left - 0.5, fy + top - 0.5
    weights_x = (1.0 - fx, torch.ones_like(fx), fx)
    flat = maps.view(-1)
    total = torch.zeros_like(x)
    for j, weight_y in enumerate((1.0 - fy, torch.ones_like(fy), fy)):
        line = torch.zeros_like(x)
        for i, weight_x in enumerate(weights_x):
            blocker = flat.index_select(0, base + (j * size + i))
            line = torch.addcmul(line, weight_x, (blocker <= nearness).float())
        total = total + line * weight_y
    return total * 0.25
