"""The surface that the points of one map sample: places between pixels, nearest places in 3D.

Around a pixel the surface is made of four flat pieces, each spanned by a step to the left or right
neighbour and one to the neighbour above or below. Where a neighbour is missing or lies on another
surface, the step from the opposite side is continued for half a pixel.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from scipy.spatial import KDTree

# Neighbours in a map whose distance is at most so many times that of the next pair along the line
# lie on one surface; at a step from one surface to another it is many times larger.
_LARGEST_GROWTH = 2.0
# A surface reaches half a pixel beyond the last of its pixel centres.
_REACH_BEYOND_PX = 0.5
# Steps in x and y that enclose an angle whose squared sine is below this span no area.
_SMALLEST_SQUARED_SINE = 1e-12
# Beyond this, squares of coordinates overflow.
_FARTHEST = 1e150
# Far from all points large leaves search faster, and near them as fast as smaller ones.
_LEAF_POINTS = 32


@dataclass(frozen=True, kw_only=True)
class Landing:
    """The places of a surface that are nearest to some points; NaN where there is no surface."""

    pixel: Int[np.ndarray, " point"]
    found: Bool[np.ndarray, " point"]
    xy_px: Float[np.ndarray, "point xy=2"]
    points: Float[np.ndarray, "point xyz=3"]
    distance: Float[np.ndarray, " point"]


@dataclass(frozen=True, kw_only=True)
class MapSurface:
    """Points of one map and how the surface goes on around each; pixels are in row-major order.

    Attributes:
        image_hw: height and width of the map in pixels.
        usable: pixels with a finite point and a positive confidence.
        points: in float64, the origin where they are not usable.
        steps: from each pixel's point towards its neighbours right, left, below and above.
        reach_px: how far the surface follows these steps: 1 to a neighbour, half a pixel in
            continuation of the opposite step, 0 where there is neither.
        spacing: the distance to the nearest of the usable neighbours, which is about the size of
            the pixel at the point's depth; 0 without a neighbour.
    """

    image_hw: tuple[int, int]
    usable: Bool[np.ndarray, " pixel"]
    points: Float[np.ndarray, "pixel xyz=3"]
    steps: Float[np.ndarray, "side=4 pixel xyz=3"]
    reach_px: Float[np.ndarray, "side=4 pixel"]
    spacing: Float[np.ndarray, " pixel"]

    @cached_property
    def usable_pixels(self) -> Int[np.ndarray, " usable"]:
        """Indices of the usable pixels."""
        return np.flatnonzero(self.usable)

    @cached_property
    def _tree(self) -> "KDTree":
        # SciPy is slow to import, and few callers search.
        from scipy.spatial import KDTree  # noqa: PLC0415

        points = self.points[self.usable_pixels]
        return KDTree(points, leafsize=_LEAF_POINTS, compact_nodes=False, balanced_tree=False)

    def centres_px(self, pixel: Int[np.ndarray, " point"]) -> Float[np.ndarray, "point xy=2"]:
        """(column, row) of the centres of pixels."""
        row, column = np.divmod(pixel, self.image_hw[1])
        return np.stack([column, row], axis=1) + 0.5

    def at(
        self, xy_px: Float[np.ndarray, "point xy=2"]
    ) -> tuple[Int[np.ndarray, " point"], Float[np.ndarray, "point xyz=3"]]:
        """The pixels around places of the map, -1 outside and where no point is, and the points.

        Beyond the surface's reach the answer is the point where it ends.
        """
        height, width = self.image_hw
        inside = np.all((xy_px >= 0) & (xy_px <= [width, height]), axis=1)
        cell = np.where(inside[:, None], xy_px, 0).astype(np.int64).clip(0, [width - 1, height - 1])
        pixel = cell[:, 1] * width + cell[:, 0]
        offset = np.where(inside[:, None], xy_px - cell - 0.5, 0.0)
        points = self.points[pixel]
        for axis in (0, 1):
            side = 2 * axis + (offset[:, axis] < 0)
            length = np.minimum(np.abs(offset[:, axis]), self.reach_px[side, pixel])
            points = points + length[:, None] * self.steps[side, pixel]
        return np.where(inside & self.usable[pixel], pixel, -1), points

    def nearest_pixel(
        self, points: Float[np.ndarray, "point xyz=3"], workers: int
    ) -> tuple[Int[np.ndarray, " point"], Bool[np.ndarray, " point"]]:
        """The usable pixels whose points are nearest in 3D, exactly; whether there is any."""
        _, index = self._tree.query(points, workers=workers)
        found = index < len(self.usable_pixels)
        pixel = np.zeros(len(points), dtype=np.int64)
        pixel[found] = self.usable_pixels[index[found]]
        return pixel, found

    def closest(self, points: Float[np.ndarray, "point xyz=3"], workers: int) -> Landing:
        """The places nearest to points on the flat pieces around the nearest pixel's point."""
        pixel, found = self.nearest_pixel(points, workers)
        offset = points - self.points[pixel]
        best = np.full(len(points), np.inf)
        place = np.zeros((len(points), 2))
        shift = np.zeros_like(offset)
        for x_side in (0, 1):
            for y_side in (2, 3):
                a, b = self.steps[x_side, pixel], self.steps[y_side, pixel]
                u, v = _nearest_on_piece(
                    offset, a, b, self.reach_px[x_side, pixel], self.reach_px[y_side, pixel]
                )
                moved = u[:, None] * a + v[:, None] * b
                squared = ((offset - moved) ** 2).sum(axis=1)
                nearer = squared < best
                best = np.where(nearer, squared, best)
                signed = np.stack([u if x_side == 0 else -u, v if y_side == 2 else -v], axis=1)
                place[nearer], shift[nearer] = signed[nearer], moved[nearer]
        missing = ~found[:, None]
        return Landing(
            pixel=pixel,
            found=found,
            xy_px=np.where(missing, np.nan, self.centres_px(pixel) + place),
            points=self.points[pixel] + shift,
            distance=np.where(found, np.sqrt(best), np.nan),
        )


def map_surface(
    points: Float[Tensor, "height width xyz=3"], confidence: Float[Tensor, "height width"]
) -> MapSurface:
    """The surface of a map without pixels of confidence 0 or with points that are not finite."""
    # Not a number is not below any bound either.
    near = (points.detach().cpu().double().abs() < _FARTHEST).all(dim=-1)
    usable = ((confidence > 0).cpu() & near).numpy()
    grid = np.where(usable[..., None], points.detach().cpu().double().numpy(), 0.0)
    right, left, to_right = _line_steps(grid, usable)
    below, above, to_below = _line_steps(grid.swapaxes(0, 1), usable.T)
    sides = [right, left, *((step.swapaxes(0, 1), reach.T) for step, reach in (below, above))]
    lengths = np.full((4, *usable.shape), np.inf)
    lengths[0, :, :-1] = lengths[1, :, 1:] = to_right
    lengths[2, :-1] = lengths[3, 1:] = to_below.T
    spacing = lengths.min(axis=0)
    return MapSurface(
        image_hw=(usable.shape[0], usable.shape[1]),
        usable=usable.reshape(-1),
        points=grid.reshape(-1, 3),
        steps=np.stack([step for step, _ in sides]).reshape(4, -1, 3),
        reach_px=np.stack([reach for _, reach in sides]).reshape(4, -1),
        spacing=np.where(np.isfinite(spacing), spacing, 0.0).reshape(-1),
    )


def _line_steps(
    points: Float[np.ndarray, "line place xyz=3"], usable: Bool[np.ndarray, "line place"]
) -> tuple[
    tuple[Float[np.ndarray, "line place xyz=3"], Float[np.ndarray, "line place"]],
    tuple[Float[np.ndarray, "line place xyz=3"], Float[np.ndarray, "line place"]],
    Float[np.ndarray, "line place-1"],
]:
    """Steps and reaches forward and backward along lines, and distances of usable neighbours."""
    step = np.diff(points, axis=1)
    both = usable[:, 1:] & usable[:, :-1]
    length = np.sqrt((step * step).sum(axis=-1))
    # A neighbouring step that turns back says nothing: that is how one pixel before a wall looks.
    same_way = (step[:, 1:] * step[:, :-1]).sum(axis=-1) > 0
    beside = np.zeros_like(length)
    beside[:, :-1] = np.where(same_way & both[:, 1:], length[:, 1:], 0.0)
    before = np.where(same_way & both[:, :-1], length[:, :-1], 0.0)
    beside[:, 1:] = np.maximum(beside[:, 1:], before)
    joined = both & (length <= _LARGEST_GROWTH * beside)
    ends = np.zeros((len(points), 1, 3)), np.zeros((len(points), 1), dtype=bool)
    ahead = np.concatenate([np.where(joined[..., None], step, 0.0), ends[0]], axis=1)
    behind = np.concatenate([ends[0], np.where(joined[..., None], -step, 0.0)], axis=1)
    has_ahead = np.concatenate([joined, ends[1]], axis=1)
    has_behind = np.concatenate([ends[1], joined], axis=1)
    return (
        _continued(ahead, has_ahead, behind, has_behind),
        _continued(behind, has_behind, ahead, has_ahead),
        np.where(both, length, np.inf),
    )


def _continued(
    step: Float[np.ndarray, "line place xyz=3"],
    has: Bool[np.ndarray, "line place"],
    opposite: Float[np.ndarray, "line place xyz=3"],
    has_opposite: Bool[np.ndarray, "line place"],
) -> tuple[Float[np.ndarray, "line place xyz=3"], Float[np.ndarray, "line place"]]:
    """Steps and how far they may be followed, with the opposite ones where they are missing."""
    reach = np.where(has, 1.0, np.where(has_opposite, _REACH_BEYOND_PX, 0.0))
    return np.where(has[..., None], step, -opposite), reach


def _nearest_on_piece(
    offset: Float[np.ndarray, "point xyz=3"],
    a: Float[np.ndarray, "point xyz=3"],
    b: Float[np.ndarray, "point xyz=3"],
    reach_a: Float[np.ndarray, " point"],
    reach_b: Float[np.ndarray, " point"],
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """The exact minimum of |offset - u a - v b| over u in [0, reach_a] and v in [0, reach_b]."""
    aa, bb, ab, oa, ob = (
        np.einsum("nk,nk->n", p, q) for p, q in ((a, a), (b, b), (a, b), (offset, a), (offset, b))
    )
    determinant = aa * bb - ab * ab
    flat = determinant > _SMALLEST_SQUARED_SINE * aa * bb
    safe = np.where(flat, determinant, 1.0)
    u = np.where(flat, (oa * bb - ob * ab) / safe, -1.0)
    v = np.where(flat, (ob * aa - oa * ab) / safe, -1.0)
    inside = (u >= 0) & (u <= reach_a) & (v >= 0) & (v <= reach_b)
    # Outside, the nearest place lies on an edge: on that of u or that of v which was crossed.
    safe_aa, safe_bb = np.where(aa > 0, aa, 1.0), np.where(bb > 0, bb, 1.0)
    u1 = np.clip(u, 0.0, reach_a)
    v1 = np.clip((ob - u1 * ab) / safe_bb, 0.0, reach_b)
    v2 = np.clip(v, 0.0, reach_b)
    u2 = np.clip((oa - v2 * ab) / safe_aa, 0.0, reach_a)
    cost1 = u1 * (u1 * aa + 2 * v1 * ab - 2 * oa) + v1 * (v1 * bb - 2 * ob)
    cost2 = u2 * (u2 * aa + 2 * v2 * ab - 2 * oa) + v2 * (v2 * bb - 2 * ob)
    first = inside | (cost1 <= cost2)
    return np.where(first, u1, u2), np.where(first, v1, v2)
