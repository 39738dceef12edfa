"""Photographs as textures, laid on the surfaces of scenes.

Procedural patterns lack what pictures of real surfaces have. A scene takes some of its materials
from them where its configuration says how many there are.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.nn import functional

from .materials import Column

SIDE = 128
"""Of the finest level of a photograph, in texels; each next level has half of it, the last four."""
LEVELS = 6

_SCENES_WITH, _MATERIALS_WITH = 0.7, 0.7


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """All levels of all photographs as rows of linear RGB: level by level, picture by picture."""

    texels: Float[Tensor, "row rgb=3"]
    count: int


@dataclass(frozen=True, kw_only=True)
class LaidPhotographs:
    """Photographs, and for each triangle the axis of the texture's space along which they lie."""

    photographs: Photographs
    axis: Int[Tensor, " triangle"]


def stacked_levels(pictures: Float[Tensor, "picture rgb=3 side side"]) -> Photographs:
    """Photographs of linear RGB of `SIDE` texels; coarser levels are means of the finer ones."""
    levels, level = [], pictures
    for _ in range(LEVELS):
        levels.append(level.permute(0, 2, 3, 1).reshape(-1, 3))
        level = functional.avg_pool2d(level, 2)
    return Photographs(texels=torch.cat(levels).contiguous(), count=len(pictures))


def lay_on(
    materials: Float32[np.ndarray, "instance parameter"], *, count: int, seed: int
) -> Float32[np.ndarray, "instance parameter"]:
    """Some of a scene's materials made of photographs; bodies that share a material still do.

    Seven scenes in ten have any, on seven materials in ten.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    if rng.random() >= _SCENES_WITH:
        return materials
    laid = materials.copy()
    kinds, kind_of = np.unique(materials, axis=0, return_inverse=True)
    for kind in range(len(kinds)):
        chosen, number = rng.random(), int(rng.integers(count))
        rate, gain = np.exp(rng.uniform(np.log(2.0), np.log(8.0))), np.exp(rng.normal() * 0.3)
        if chosen < _MATERIALS_WITH:
            own = kind_of.reshape(-1) == kind
            laid[own, Column.PHOTO] = 1 + number
            laid[own, Column.PHOTO_RATE] = rate * kinds[kind, Column.NOISE_RATE]
            laid[own, Column.PHOTO_GAIN] = np.clip(gain, 0.5, 1.6)
    return laid


def texture_axis(
    texture: Float[Tensor, "clip vertex xyz=3"], faces: Int[Tensor, "clip face corner=3"]
) -> Int[Tensor, "clip face"]:
    """The axis of the texture's space that each face is most square to."""
    a, b, c = (texture.gather(1, faces[..., k, None].long().expand(-1, -1, 3)) for k in range(3))
    return torch.linalg.cross(b - a, c - a).abs().argmax(dim=-1)


def photographed(
    photographs: Photographs,
    material: Float[Tensor, "parameter sample"],
    at: tuple[Tensor, Tensor, Tensor],
    axis: Int[Tensor, " sample"],
    footprint: Float[Tensor, " sample"],
) -> Float[Tensor, "rgb=3 sample"]:
    """Albedo of samples whose material is a photograph, of the level as fine as their footprint.

    Beyond its sides a picture goes on as its own mirror image.
    """
    rate = material[Column.PHOTO_RATE]
    across = torch.where(axis == 0, at[1], at[0])
    along = torch.where(axis == 2, at[1], at[2])
    offset = material[Column.OFFSET : Column.OFFSET + 2]
    places = []
    for value, shift in ((across, offset[0]), (along, offset[1])):
        turn = torch.remainder(torch.addcmul(shift, value, rate), 2.0)
        places.append(1.0 - (1.0 - turn).abs())
    level = (footprint * rate * SIDE).clamp_min(1.0).log2().round().long().clamp_max(LEVELS - 1)
    side = torch.full_like(level, SIDE) >> level
    sizes = [(SIDE >> k) ** 2 * photographs.count for k in range(LEVELS)]
    starts = torch.tensor([sum(sizes[:k]) for k in range(LEVELS)], device=level.device)
    first = starts[level] + (material[Column.PHOTO].long() - 1) * side * side
    rows, shares = [], []
    low, part = [], []
    for place in places:
        texel = (place * side - 0.5).clamp_min(0.0)
        whole = texel.floor()
        low.append(whole.long())
        part.append(texel - whole)
    for down in (0, 1):
        row = torch.minimum(low[1] + down, side - 1)
        for right in (0, 1):
            column = torch.minimum(low[0] + right, side - 1)
            rows.append(first + row * side + column)
            share_x = part[0] if right else 1.0 - part[0]
            share_y = part[1] if down else 1.0 - part[1]
            shares.append(share_x * share_y)
    colours = functional.embedding_bag(
        torch.stack(rows, 1),
        photographs.texels,
        per_sample_weights=torch.stack(shares, 1),
        mode="sum",
    )
    return (colours.T * material[Column.PHOTO_GAIN]).clamp(0.0, 1.0)
