"""Whether a camera sees points: how much of a pixel's surfaces lies before them, calibrated."""

from dataclasses import dataclass
from typing import Generic

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynapoint.geometry.pinhole import mixing_step, project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.types import Array

# Points looked at for the agreement of two maps, and the share of them that has to be seen.
_SAMPLE = 4096
_SEEN_SHARE = 0.4
# The middle 40 % of a normal distribution are so many standard deviations wide.
_WIDTH_OF_SHARE = 1.0488
_FEWEST = 32
_LARGEST_SPREAD = 0.3
# A point lies clearly off a surface beyond so many spreads and this share of depth.
_CLEAR_SPREADS = 3.0
_CLEAR_SHARE = 0.015
# Where a point counts as half hidden by a surface before it, and how softly: in spreads and as a
# share of depth. Fitted, as are the four below, to the least cross-entropy on held-out clips of the
# data engine with true maps (full and half resolution), true maps with noise, and nano's maps.
_HALF_WAY_SPREADS, _HALF_WAY_SHARE = 3.5, 0.013
_SOFTNESS_SPREADS, _SOFTNESS_SHARE = 0.67, 0.0016
# The share of points that are hidden though no surface lies before them.
_HIDDEN_PER_SPREAD, _HIDDEN_PER_BEFORE = 0.6, 0.26
# The share hidden of those behind surfaces, where errors explain as many of them.
_HIDDEN_WITHOUT_TRUST = 0.3


@dataclass(frozen=True, kw_only=True)
class SeenSurface(Generic[Array]):
    """What one camera sees at its own time, ready to be compared with points.

    Attributes:
        planes: Inverse depth at each pixel's centre and its changes per pixel to the right and
            down; zeros where the map says nothing, which hides nothing.
        shown: Which pixels show the camera's picture; the others (padding) see nothing.
        world_from_camera: Its pose.
        intrinsics: In pixels of the map.
    """

    planes: Float[Array, "height width 3"]
    shown: Bool[Array, "height width"]
    world_from_camera: Float[Array, "4 4"]
    intrinsics: Float[Array, "3 3"]


@dataclass(frozen=True, kw_only=True)
class Visibility(Generic[Array]):
    """Whether a camera sees points.

    Attributes:
        visible: Probability in [0, 1]; 0 outside the picture, behind the camera, or not finite.
        xy: Where the points fall, in map pixels; NaN where not finite or not before the camera.
    """

    visible: Float[Array, "*point"]
    xy: Float[Array, "*point xy=2"]


def seen_surface(
    points: Float[Tensor, "height width xyz=3"],
    confidence: Float[Tensor, "height width"],
    world_from_camera: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    *,
    shown: Bool[Tensor, "height width"] | None = None,
) -> SeenSurface:
    """Local planes of a frame's own-time map.

    Inverse depth is linear in the pixel on a plane. Its slope is the smaller one of those towards
    the two neighbours, so that a pixel beside an outline keeps the slope of its own surface.

    Args:
        points: The frame's own-time map, in the world.
        confidence: 0 where a pixel's point is unusable; such pixels hide nothing.
        world_from_camera: The frame's pose.
        intrinsics: In pixels of the map.
        shown: Which pixels show the picture; None for all.
    """
    height, width = confidence.shape
    pose = world_from_camera.to(points)
    depth = transform_points(invert_rigid(pose), points.reshape(-1, 3))[:, 2].view(height, width)
    usable = (confidence > 0) & (depth > 0) & depth.isfinite()
    inverse = torch.where(usable, 1 / torch.where(usable, depth, 1.0), 0.0)
    across, down = _smaller_slope(inverse), _smaller_slope(inverse.T).T
    planes = torch.stack([inverse, across * usable, down * usable], dim=-1)
    if shown is None:
        shown = torch.ones_like(usable)
    return SeenSurface(
        planes=planes, shown=shown, world_from_camera=pose, intrinsics=intrinsics.to(points)
    )


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the points of other frames agree with what a camera sees.

    Attributes:
        spread: Standard deviation of the difference of the two maps where the camera sees the
            points, as a share of depth; more where a large part of the points is hidden.
        before: Share of points clearly before all surfaces around them. No point of a scene can be
            there, so they tell how many of the points behind are there by mistake.
        behind: Share of points clearly behind all surfaces around them.
    """

    spread: float
    before: float
    behind: float

    @property
    def trust(self) -> float:
        """Share of the points clearly behind that errors on both sides alike do not explain."""
        return min(max(1 - (self.before + 1e-4) / (self.behind + 1e-4), 0.0), 1.0)


# What is taken where too few points are there to measure it: a small network's.
_USUAL = Agreement(spread=0.05, before=0.04, behind=0.08)


def agreement(
    surface: SeenSurface,
    points: Float[Tensor, "*point xyz=3"],
    confidence: Float[Tensor, "*point"] | None = None,
) -> Agreement:
    """Measure how well points agree with a camera's own map, without truth.

    Points that are seen lie together about the surface, hidden ones anywhere behind it: the
    shortest interval that holds 40 % of the points is that of points seen (the shorth; Andrews et
    al. 1972). At most 4096 points, evenly chosen, are looked at; where fewer than 32 of them fall
    in the picture, the answer is that of a small network.

    Args:
        surface: What the camera sees.
        points: In the world, at the camera's time; all pixels of another frame, say.
        confidence: 0 for points to be left out.
    """
    flat = points.reshape(-1, 3)
    step = mixing_step(len(flat) // _SAMPLE, surface.shown.shape[-1])
    xy, depth = _in_camera(surface, flat[::step])
    good = _inside(surface, xy)
    if confidence is not None:
        good &= confidence.reshape(-1)[::step] > 0
    behind, share = _behind(surface, xy[good], depth[good])
    # Beside pixels that say nothing there is no surface to compare with.
    known = (behind > -1).all(dim=-1)
    if int(known.sum()) < _FEWEST:
        return _USUAL
    behind, share = behind[known], share[known]
    nearest = behind.gather(-1, share.argmax(dim=-1, keepdim=True)).squeeze(-1).sort().values
    held = int(len(nearest) * _SEEN_SHARE)
    width = float((nearest[held:] - nearest[:-held]).min())
    spread = min(width / _WIDTH_OF_SHARE, _LARGEST_SPREAD)
    clear = _CLEAR_SPREADS * spread + _CLEAR_SHARE
    return Agreement(
        spread=spread,
        before=float((behind.amax(dim=-1) < -clear).double().mean()),
        behind=float((behind.amin(dim=-1) > clear).double().mean()),
    )


def visibility(
    surface: SeenSurface, points: Float[Tensor, "*point xyz=3"], agreed: Agreement
) -> Visibility:
    """Probability that a camera sees points.

    Each of the four pixels around a point's projection hides it if its surface, taken at the exact
    place, lies clearly before it, and counts by its bilinear share: at an outline the answer is the
    share of the pixel that the nearer surface covers. What "clearly" is, and how far to believe it,
    follow from how well the maps agree, so true maps give sharp answers and a small network's mild
    ones. The answer never rises as a point moves back along its ray.

    Args:
        surface: What the camera sees.
        points: In the world, at the camera's time.
        agreed: `agreement` of all pixels of the frame that these points come from.
    """
    flat = points.reshape(-1, 3)
    xy, depth = _in_camera(surface, flat)
    inside = _inside(surface, xy)
    behind, share = _behind(surface, torch.where(inside[:, None], xy, 0.0), depth)
    half_way = _HALF_WAY_SPREADS * agreed.spread + _HALF_WAY_SHARE
    softness = _SOFTNESS_SPREADS * agreed.spread + _SOFTNESS_SHARE
    covered = (share * torch.sigmoid((behind - half_way) / softness)).sum(dim=-1)
    least = _HIDDEN_PER_SPREAD * agreed.spread + _HIDDEN_PER_BEFORE * agreed.before
    believed = _HIDDEN_WITHOUT_TRUST + (1 - _HIDDEN_WITHOUT_TRUST) * agreed.trust
    visible = torch.where(inside, (1 - least) * (1 - believed * covered), 0.0)
    shape = points.shape[:-1]
    return Visibility(visible=visible.reshape(shape), xy=xy.reshape(*shape, 2))


def _in_camera(
    surface: SeenSurface, points: Float[Tensor, "point xyz=3"]
) -> tuple[Float[Tensor, "point xy=2"], Float[Tensor, " point"]]:
    """Pixels and depths of points in the world."""
    camera = transform_points(invert_rigid(surface.world_from_camera), points)
    in_front = (camera[:, 2:] > 0) & camera.isfinite().all(dim=-1, keepdim=True)
    # A stand-in is projected for the others, as gradients through NaN would be NaN.
    camera = torch.where(in_front, camera, camera.new_tensor([0.0, 0.0, 1.0]))
    xy = torch.where(in_front, project(camera, surface.intrinsics), torch.nan)
    return xy, camera[:, 2]


def _inside(surface: SeenSurface, xy: Float[Tensor, "point xy=2"]) -> Bool[Tensor, " point"]:
    """Whether places (NaN: no) lie in the image on a pixel that shows the picture."""
    height, width = surface.shown.shape
    inside = ((xy >= 0) & (xy <= xy.new_tensor([width, height]))).all(dim=-1)
    column = xy[:, 0].nan_to_num(0.0).clamp(0, width - 1).long()
    row = xy[:, 1].nan_to_num(0.0).clamp(0, height - 1).long()
    return inside & surface.shown[row, column]


def _behind(
    surface: SeenSurface, xy: Float[Tensor, "point xy=2"], depth: Float[Tensor, " point"]
) -> tuple[Float[Tensor, "point 4"], Float[Tensor, "point 4"]]:
    """How far behind the surfaces of the four pixels around them places are, and their shares.

    As a share of the surface's depth. A surface is taken at the place asked for, on the pixel's
    local plane, or at the pixel itself if that is farther.
    """
    height, width = surface.shown.shape
    centred = xy - 0.5
    corner = centred.floor().long()
    column, row = (
        corner[:, 0].clamp(0, max(width - 2, 0)),
        corner[:, 1].clamp(0, max(height - 2, 0)),
    )
    along_x = (centred[:, 0] - column).clamp(0, 1)
    along_y = (centred[:, 1] - row).clamp(0, 1)
    planes = surface.planes.reshape(-1, 3)
    behind, share = [], []
    for down in (0, 1):
        for right in (0, 1):
            at_row, at_column = (
                (row + down).clamp_max(height - 1),
                (column + right).clamp_max(width - 1),
            )
            plane = planes[at_row * width + at_column]
            away_x, away_y = centred[:, 0] - at_column, centred[:, 1] - at_row
            change = plane[:, 1] * away_x + plane[:, 2] * away_y
            behind.append(depth * (plane[:, 0] + change.clamp_max(0)) - 1)
            share.append((along_x if right else 1 - along_x) * (along_y if down else 1 - along_y))
    return torch.stack(behind, dim=-1), torch.stack(share, dim=-1)


def _smaller_slope(values: Float[Tensor, "line place"]) -> Float[Tensor, "line place"]:
    """The smaller of the changes to the next and from the previous value along the last axis."""
    step = values.diff(dim=-1)
    if step.shape[-1] == 0:
        return torch.zeros_like(values)
    before = torch.cat([step[:, :1], step], dim=-1)
    after = torch.cat([step, step[:, -1:]], dim=-1)
    return torch.where(before.abs() < after.abs(), before, after)
