"""Shadows of walls, and light that falls into rooms: rectangles between places and the sun.

Walls are too large for the shadow map that is fitted to the bodies, and too simple to need one:
where the ray from a place to the sun meets a wall's plane is affine in the place, so it is worked
out at the vertices and interpolated exactly.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batch import SceneBatch, spread_over_samples
from .stage import SCREENS

_SHARPEST, _SPREAD = 0.004, 0.03  # half the penumbra's width: at the edge, and per unit from it


@dataclass(frozen=True, kw_only=True)
class ScreenTables:
    """Where the ray to the sun passes each screen.

    `vertices` (row of (clip, time, vertex)): for each screen the position along its two edges from
    its centre and the distance to its plane, in scene units. `frames`: for each screen its half
    edges, what light it leaves outside and what it adds inside; then the softness. `any_on[image]`
    says whether the image's clip has a screen.
    """

    vertices: Float[Tensor, "row 6"]
    frames: Float[Tensor, "9 image"]
    any_on: list[bool]


def screen_tables(scenes: SceneBatch) -> ScreenTables:
    """Solve for every vertex where its ray to the sun meets the planes of the screens."""
    clips, times = scenes.vertices.shape[:2]
    screens = scenes.screens.double()
    centre, first, second = screens[..., 0:3], screens[..., 3:6], screens[..., 6:9]
    halves = torch.stack([first.norm(dim=-1), second.norm(dim=-1)], -1)
    sun = scenes.look.sun.double()[:, None].expand_as(centre)
    # place + distance · sun = centre + a · first direction + b · second direction
    edges = torch.nn.functional.normalize(torch.stack([first, second], -1), dim=-2)
    system = torch.cat([edges, -sun[..., None]], -1)
    possible = torch.linalg.det(system).abs() > 1e-3
    whole = torch.where(possible[..., None, None], system, torch.eye(3, device=system.device))
    solve = torch.linalg.inv(whole) * possible[..., None, None]
    shift = -(solve @ centre[..., None])[..., 0]
    rows = scenes.vertices.view(clips, -1, 3) @ solve.float().flatten(1, 2).transpose(1, 2)
    rows = rows + shift.float().view(clips, 1, 3 * SCREENS)
    opens = screens[..., 9]
    numbers = torch.cat([halves, 1.0 - opens[..., None], 2.0 * opens[..., None] - 1.0], -1)
    numbers = torch.cat([numbers.flatten(1), scenes.look.shadow_softness[:, None].double()], 1)
    return ScreenTables(
        vertices=rows.view(-1, 3 * SCREENS),
        frames=numbers.float().repeat_interleave(times, 0).T.contiguous(),
        any_on=possible.any(1).repeat_interleave(times).tolist(),
    )


def screened_light(
    tables: ScreenTables,
    image: Int[Tensor, " sample"],
    corners: Int[Tensor, "sample corner=3"],
    weights: Float[Tensor, "sample corner=3"],
) -> Float[Tensor, " sample"] | None:
    """Share of the sun's light that the screens let through; None where there are no screens.

    Samples are sorted by image.
    """
    if not any(tables.any_on[int(image[0]) : int(image[-1]) + 1]):
        return None
    met = torch.nn.functional.embedding_bag(
        corners, tables.vertices, per_sample_weights=weights, mode="sum"
    ).T.contiguous()
    frame = spread_over_samples(tables.frames, image)
    light = torch.ones_like(met[0])
    for k in range(SCREENS):
        along, up, distance = met[3 * k : 3 * k + 3]
        half_along, half_up, outside, change = frame[4 * k : 4 * k + 4]
        inside_by = torch.minimum(half_along - along.abs(), half_up - up.abs())
        width = frame[4 * SCREENS] * (_SHARPEST + _SPREAD * distance.clamp_min(0.0))
        cover = (0.5 + 0.5 * inside_by / width).clamp_(0.0, 1.0) * (distance > 1e-3)
        light = light * torch.addcmul(outside, change, cover)
    return light
