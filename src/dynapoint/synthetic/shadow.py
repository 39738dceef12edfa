"""Shadow maps: what the sun sees, one map per frame, looked up with a smooth 3 × 3 comparison."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batch import SceneBatch
from .clip import gather_corners
from .raster import TriangleSetup, centre_grid, edge_functions, rasterize, row_bounds

MAP_SIZE = 176
_MARGIN = 3.0


@dataclass(frozen=True, kw_only=True)
class SunView:
    """Every vertex as the sun sees it: texel x, texel y, and nearness to the sun in (0, 1)."""

    vertices: Float[Tensor, "clip time vertex 3"]
    texel: Float[Tensor, " clip"]  # width of a texel in units of nearness


def sun_view(scenes: SceneBatch) -> SunView:
    """Fit an orthographic view along the sun's direction to all casting bodies at all times."""
    sun = torch.nn.functional.normalize(scenes.look.sun, dim=1)
    helper = torch.tensor([1.0, 0.0, 0.0], device=sun.device).expand_as(sun)
    other = torch.tensor([0.0, 1.0, 0.0], device=sun.device).expand_as(sun)
    helper = torch.where(sun[:, :1].abs() < 0.8, helper, other)
    right = torch.nn.functional.normalize(torch.linalg.cross(helper, sun), dim=1)
    # right × down points away from the sun, as x × y = z does in a camera.
    down = torch.linalg.cross(right, sun)
    axes = torch.stack([right, down, sun], 2)
    seen = torch.einsum("ctvi,cij->ctvj", scenes.vertices, axes)
    casting = torch.zeros(seen.shape[0], seen.shape[2], device=seen.device)
    corners = scenes.faces.flatten(1).long()
    flags = scenes.face_casts[:, :, None].expand(-1, -1, 3).flatten(1).float()
    casting = casting.scatter_reduce(1, corners, flags, "amax")[:, None, :, None] > 0
    low = torch.where(casting, seen, torch.inf).amin((1, 2))
    high = torch.where(casting, seen, -torch.inf).amax((1, 2))
    empty = ~(low < high).all(1, keepdim=True)
    low, high = torch.where(empty, -1.0, low), torch.where(empty, 1.0, high)
    scale = (MAP_SIZE - 2 * _MARGIN) / (high - low)[:, :2].amax(1)
    depth_scale = 0.8 / (high - low)[:, 2]
    factor = torch.stack([scale, scale, depth_scale], 1)
    shift = torch.tensor([_MARGIN, _MARGIN, 0.1], device=seen.device) - low * factor
    return SunView(
        vertices=seen * factor[:, None, None] + shift[:, None, None],
        texel=depth_scale / scale,
    )


def shadow_maps(scenes: SceneBatch, view: SunView) -> Float[Tensor, "image row column"]:
    """Nearness to the sun of the casters' far sides, 0 where nothing casts.

    Far sides (faces turned away from the sun) cannot shade the lit side of their own body.
    """
    corners = gather_corners(view.vertices.double(), scenes.faces)
    values = corners[..., 2].clone()
    corners[..., 2] = 1.0
    edges, determinant = edge_functions(corners)
    away = (determinant < 0) & scenes.face_casts[:, None]
    kept = away.flatten().nonzero()[:, 0]
    corners = corners.flatten(0, 2).index_select(0, kept)
    edges = -edges.flatten(0, 2).index_select(0, kept)
    determinant = -determinant.flatten().index_select(0, kept)
    values = values.flatten(0, 2).index_select(0, kept)
    nearness = (edges * (values / determinant[:, None])[:, :, None]).sum(1)
    first_y, last_y = row_bounds(corners, float(MAP_SIZE))
    images = scenes.vertices.shape[0] * scenes.vertices.shape[1]
    triangles = TriangleSetup(
        edges=edges,
        nearness=nearness,
        first_y=first_y,
        last_y=last_y,
        image=kept // scenes.faces.shape[1],
    )
    keys = rasterize(triangles, centre_grid(MAP_SIZE, MAP_SIZE), images=images)
    return (keys >> 32).int().view(torch.float32)


def lit_fraction(
    maps: Float[Tensor, " texel"],
    image: Int[Tensor, " sample"],
    x: Float[Tensor, " sample"],
    y: Float[Tensor, " sample"],
    nearness: Float[Tensor, " sample"],
) -> Float[Tensor, " sample"]:
    """Share of a 2 × 2 texel window around each position that the sun reaches, smooth in x and y."""
    x = (x - 0.5).clamp(1.0, MAP_SIZE - 2.001)
    y = (y - 0.5).clamp(1.0, MAP_SIZE - 2.001)
    # Receivers beyond the casters lie past the range of nearness; an empty texel (0) shades nothing.
    nearness = nearness.clamp_min(1e-3)
    column, row = x.floor(), y.floor()
    fx, fy = x - column, y - row
    # The window of two texels covers three, the outer ones in part.
    left, top = (fx < 0.5).float(), (fy < 0.5).float()
    base = (image * MAP_SIZE + (row - top).long()) * MAP_SIZE + (column - left).long()
    fx, fy = fx + left - 0.5, fy + top - 0.5
    weights_x = (1.0 - fx, torch.ones_like(fx), fx)
    total = torch.zeros_like(x)
    for j, weight_y in enumerate((1.0 - fy, 1.0, fy)):
        line = torch.zeros_like(x)
        for i, weight_x in enumerate(weights_x):
            blocker = maps.index_select(0, base + (j * MAP_SIZE + i))
            line = torch.addcmul(line, weight_x, (blocker <= nearness).float())
        total = total + line * weight_y
    return total * 0.25
