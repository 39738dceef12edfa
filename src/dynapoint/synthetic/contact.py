"""Contact darkening: how much the bodies hang over each place of the ground, one map per frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batch import SceneBatch
from .raster import (
    TriangleSetup,
    centre_grid,
    corner_values,
    edge_functions,
    rasterize,
    row_bounds,
)

MAP_SIZE = 64
_MARGIN = 4.0
_REACH = 0.16  # scene units above the ground over which a body's darkening falls to 1/e


@dataclass(frozen=True, kw_only=True)
class GroundView:
    """Every vertex over the ground plane: texel x, texel y and height above the ground."""

    vertices: Float[Tensor, "clip time vertex 3"]
    casts: Float[Tensor, "clip vertex"]  # 1 for vertices of bodies that stand on or over the ground


def casting_vertices(scenes: SceneBatch) -> Float[Tensor, "clip vertex"]:
    """1 for the vertices of faces that cast shadows, else 0."""
    flags = scenes.face_casts[:, :, None].expand(-1, -1, 3).flatten(1).float()
    empty = torch.zeros(scenes.texture.shape[:2], device=flags.device)
    return empty.scatter_reduce(1, scenes.faces.flatten(1).long(), flags, "amax")


def along_axes(
    vertices: Float[Tensor, "clip time vertex xyz=3"], axes: Float[Tensor, "clip xyz=3 3"]
) -> Float[Tensor, "clip time vertex 3"]:
    """Vertices along the columns of `axes`; each coordinate lies contiguous in memory."""
    clips, times, count, _ = vertices.shape
    flat = axes.transpose(1, 2) @ vertices.view(clips, -1, 3).transpose(1, 2)
    return flat.view(clips, 3, times, count).permute(0, 2, 3, 1)


def bounds_of(
    values: Float[Tensor, "clip time vertex 3"], chosen: Float[Tensor, "clip vertex"]
) -> tuple[Float[Tensor, "clip 3"], Float[Tensor, "clip 3"]]:
    """Least and greatest values over time of the chosen vertices; ∓1 where none is chosen."""
    mask = chosen[:, None, None] > 0
    rows = values.permute(0, 3, 1, 2)
    low = torch.where(mask, rows, torch.inf).amin((2, 3))
    high = torch.where(mask, rows, -torch.inf).amax((2, 3))
    empty = ~(low < high).all(1, keepdim=True)
    return torch.where(empty, -1.0, low), torch.where(empty, 1.0, high)


def ground_view(scenes: SceneBatch) -> GroundView:
    """Fit a plan of all casting bodies at all times into one map per clip."""
    up, offset = scenes.look.ground[:, :3], scenes.look.ground[:, 3]
    # World x is the first camera's right, close to upright only where the camera lies on its side.
    helper = torch.tensor([1.0, 0.0, 0.0], device=up.device).expand_as(up)
    helper = torch.where(up[:, :1].abs() < 0.8, helper, helper.roll(1, dims=1))
    second = torch.nn.functional.normalize(torch.linalg.cross(up, helper), dim=1)
    first = torch.linalg.cross(second, up)
    plan = along_axes(scenes.vertices, torch.stack([first, second, up], 2))
    casts = casting_vertices(scenes)
    low, high = bounds_of(plan, casts)
    scale = (MAP_SIZE - 2 * _MARGIN) / (high - low)[:, :2].amax(1)
    factor = torch.stack([scale, scale, torch.ones_like(scale)], 1)
    shift = torch.stack([_MARGIN - low[:, 0] * scale, _MARGIN - low[:, 1] * scale, offset], 1)
    return GroundView(vertices=plan * factor[:, None, None] + shift[:, None, None], casts=casts)


def contact_maps(scenes: SceneBatch, view: GroundView) -> Float[Tensor, "image row column"]:
    """Darkening in [0, 1] of the ambient light at each place of the ground."""
    corners = corner_values(view.vertices, scenes.faces)
    heights = corners[:, 2].clone()
    corners[:, 2] = 1.0
    edges, determinant = edge_functions(corners)
    casts = scenes.face_casts[:, None].expand(-1, scenes.vertices.shape[1], -1).reshape(-1)
    # Seen from below, the faces that look down are in front; beyond a few reaches nothing darkens.
    low = heights.amin(0) < 6.0 * _REACH
    kept = ((determinant > 0) & casts & low).nonzero()[:, 0]
    corners, edges = corners.index_select(2, kept), edges.index_select(2, kept)
    lowness = 1.0 - heights.index_select(1, kept) / (16.0 * _REACH)
    values = lowness / determinant.index_select(0, kept)
    first_y, last_y = row_bounds(corners, float(MAP_SIZE))
    triangles = TriangleSetup(
        edges=edges,
        nearness=(edges * values[:, None]).sum(0),
        first_y=first_y,
        last_y=last_y,
        image=kept // scenes.faces.shape[1],
    )
    images = scenes.vertices.shape[0] * scenes.vertices.shape[1]
    keys = rasterize(triangles, centre_grid(MAP_SIZE, MAP_SIZE), images=images)
    found = (keys >> 32).int().view(torch.float32)
    dark = torch.where(keys > 0, (16.0 * (found - 1.0)).clamp_max(0.0).exp(), 0.0)
    for _ in range(2):
        dark = torch.nn.functional.avg_pool2d(dark[:, None], 3, 1, 1)[:, 0]
    return dark


def darkening(
    maps: Float[Tensor, "image row column"],
    image: Int[Tensor, " sample"],
    x: Float[Tensor, " sample"],
    y: Float[Tensor, " sample"],
) -> Float[Tensor, " sample"]:
    """Bilinear look-up; places off the map are not darkened."""
    size = maps.shape[2]
    x = (x - 0.5).clamp(0.0, size - 1.001)
    y = (y - 0.5).clamp(0.0, size - 1.001)
    column, row = x.floor(), y.floor()
    fx, fy = x - column, y - row
    base = (image * size + row.long()) * size + column.long()
    flat = maps.view(-1)
    upper = torch.lerp(flat.index_select(0, base), flat.index_select(0, base + 1), fx)
    base = base + size
    lower = torch.lerp(flat.index_select(0, base), flat.index_select(0, base + 1), fx)
    return torch.lerp(upper, lower, fy)
