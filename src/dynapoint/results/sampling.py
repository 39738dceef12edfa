"""Reading point maps between pixels without inventing points that float between two surfaces."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

# Neighbours whose depths differ by less than this ratio lie on one surface whatever is around them.
_SMOOTH_RATIO = 1.04
# Neighbours that differ by more never do; between the two, the slope must go on on both sides.
_EDGE_RATIO = 1.5
_SLOPE_CHANGE = 1.5


@dataclass(frozen=True, kw_only=True)
class PixelSampler:
    """Four map pixels and their weights for each place asked for.

    The weights come from the frame's own-time depth only, so every time is read with the same
    weights and a track stays on the surface on which it begins.
    """

    rows: Int[np.ndarray, "points corner=4"]
    columns: Int[np.ndarray, "points corner=4"]
    weights: Float[np.ndarray, "points corner=4"]

    def points(
        self, values: Float[np.ndarray, "height width xyz=3"]
    ) -> Float[np.ndarray, "points xyz=3"]:
        """Weighted sum of a map's points, in float64."""
        corners = values[self.rows, self.columns].astype(np.float64)
        return np.einsum("nk,nkc->nc", self.weights, corners)

    def scores(self, values: Float[np.ndarray, "height width"]) -> Float[np.ndarray, " points"]:
        """Weighted sum of a map of scores, kept within the range of the four pixels."""
        corners = values[self.rows, self.columns].astype(np.float64)
        mixed = np.einsum("nk,nk->n", self.weights, corners)
        return np.clip(mixed, corners.min(axis=1), corners.max(axis=1))


def surface_cells(
    depth: Float[np.ndarray, "height width"],
) -> Bool[np.ndarray, "height-1 width-1"]:
    """Which cells between four pixel centres lie on one surface, judged by depth along the axis.

    Two neighbours are joined if their depths are nearly equal, or if they differ moderately and
    inverse depth (which is linear in the pixel on a plane) changes about as much on both sides.
    Depths that are not positive join nothing.
    """
    across = _joined(depth)
    down = _joined(depth.T).T
    return across[:-1] & across[1:] & down[:, :-1] & down[:, 1:]


def pixel_sampler(
    cells: Bool[np.ndarray, "cell_row cell_column"],
    map_xy: Float[np.ndarray, "points xy=2"],
) -> PixelSampler:
    """Weights for places in map pixels (centres at half-integers): bilinear, nearest across edges.

    Within half a pixel of the map's border one surface is continued linearly; places beyond the
    border are moved onto it.
    """
    height, width = cells.shape[0] + 1, cells.shape[1] + 1
    centred = np.clip(map_xy, 0.0, [width, height]) - 0.5
    corner = np.clip(np.floor(centred), 0, [width - 2, height - 2]).astype(np.int64)
    column, row = corner[:, 0], corner[:, 1]
    along_x, along_y = (centred - corner).T
    rows = np.stack([row, row, row + 1, row + 1], axis=1)
    columns = np.stack([column, column + 1, column, column + 1], axis=1)
    bilinear = np.stack(
        [
            (1 - along_x) * (1 - along_y),
            along_x * (1 - along_y),
            (1 - along_x) * along_y,
            along_x * along_y,
        ],
        axis=1,
    )
    nearest = np.zeros_like(bilinear)
    nearest_corner = 2 * (along_y > 0.5).astype(np.int64) + (along_x > 0.5)
    nearest[np.arange(len(nearest)), nearest_corner] = 1.0
    on_one_surface = cells[row, column]
    return PixelSampler(
        rows=rows, columns=columns, weights=np.where(on_one_surface[:, None], bilinear, nearest)
    )


def _joined(depth: Float[np.ndarray, "line place"]) -> Bool[np.ndarray, "line place-1"]:
    """Whether each pair of neighbours along the last axis lies on one surface."""
    positive = depth > 0
    safe = np.where(positive, depth, 1.0).astype(np.float64)
    ratio = np.maximum(safe[:, 1:], safe[:, :-1]) / np.minimum(safe[:, 1:], safe[:, :-1])
    step = np.diff(1.0 / safe, axis=1)
    before = np.concatenate([step[:, :1], step[:, :-1]], axis=1)
    after = np.concatenate([step[:, 1:], step[:, -1:]], axis=1)
    # A slope that turns round has no smaller step of its own sign and so counts as an edge.
    same_sign = (before * step > 0) & (after * step > 0)
    smaller = np.minimum(np.abs(before), np.abs(after))
    goes_on = same_sign & (np.abs(step) <= _SLOPE_CHANGE * smaller)
    both_positive = positive[:, 1:] & positive[:, :-1]
    return both_positive & ((ratio <= _SMOOTH_RATIO) | ((ratio <= _EDGE_RATIO) & goes_on))
