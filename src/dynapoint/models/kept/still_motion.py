"""Where the pixels of a still world's maps are at other times, as their paths and both maps say.

Networks of a still world displace nothing. What moves, and how far, is worked out once for a clip
(`refinement.still_world`) on a grid of its maps' pixels; here it is kept, and brought to the maps.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor

from dynapoint.geometry.arrays import transform_points

GUESSED, CARRIED, SEEN = 1, 2, 3
"""How a displacement is known: by what its thing did before or after, by what is seen of its thing
at that time, or by the pixel's own path."""

CONFIDENCE = np.array([0.0, 0.2, 0.5, 1.0], dtype=np.float32)
"""How much is left of a pixel's confidence, by how its displacement is known."""

# Depths that differ by this share are of one surface with the weight 1/e.
_SURFACE = 0.04


@dataclass(frozen=True, kw_only=True, eq=False)
class StillWorldMotion:
    """Displacements of the pixels that move, of all frames.

    Attributes:
        step: The grid has every so manieth row and column of the maps, from the middle of the
            first `step` on.
        first: Where the pixels of each frame begin, and, last, how many there are in all.
        pixel: Of each pixel that moves its place in its frame's grid, row after row, ascending.
        displacement: From its own time's point, in the world of the scene.
        known: `SEEN`, `CARRIED` or `GUESSED`.
    """

    step: int
    first: Int64[Tensor, " frames_and_one"]
    pixel: Int32[Tensor, " moving"]
    displacement: Float32[Tensor, "time moving xyz=3"]
    known: UInt8[Tensor, "time moving"]

    def scaled(self, factor: float) -> "StillWorldMotion":
        """The same in a world in which all lengths are multiplied by a factor."""
        scale = torch.tensor(factor, dtype=torch.float32)
        return replace(self, displacement=self.displacement * scale)

    def moved(
        self,
        own: Float32[np.ndarray, "height width xyz=3"],
        camera_from_world: np.ndarray,
        *,
        frame: int,
        time: int,
    ) -> tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]:
        """Displacements of a frame's pixels at a time, and how much of their confidence is left.

        What does not move is displaced by exactly nothing. Pixels between those of the grid are
        displaced as the ones around them that lie on the same surface.

        Args:
            own: The frame's points at its own time.
            camera_from_world: The frame's camera.
            frame: Whose pixels.
            time: A frame whose time it is.
        """
        height, width = own.shape[:2]
        moved = np.zeros((height, width, 3), dtype=np.float32)
        left = np.ones((height, width), dtype=np.float32)
        start, end = (int(each) for each in self.first[frame : frame + 2])
        if start == end or frame == time:
            return moved, left
        rows, columns = grid_hw((height, width), self.step)
        values = np.zeros((rows * columns, 5), dtype=np.float32)
        pixel = self.pixel[start:end].cpu().numpy()
        values[pixel, :3] = self.displacement[time, start:end].cpu().numpy()
        values[pixel, 3] = CONFIDENCE[self.known[time, start:end].cpu().numpy()]
        values[pixel, 4] = 1
        if self.step == 1:
            fine = values.reshape(height, width, 5)
        else:
            depth = transform_points(camera_from_world, own.astype(np.float64))[..., 2]
            fine = _brought_to_maps(values, depth, self.step)
        moves = fine[..., 4] > 0.5
        moved[moves] = fine[..., :3][moves]
        left[moves] = fine[..., 3][moves]
        return moved, left


def grid_hw(map_hw: tuple[int, int], step: int) -> tuple[int, int]:
    """Rows and columns of the grid of every `step`-th pixel."""
    rows, columns = (max(1, (side - step // 2 + step - 1) // step) for side in map_hw)
    return rows, columns


def grid_places(count: int, side: int, step: int) -> Int64[np.ndarray, " place"]:
    """Rows (or columns) of a map that a grid of so many has."""
    return np.minimum(step // 2 + step * np.arange(count), side - 1).astype(np.int64)


def _brought_to_maps(
    values: Float32[np.ndarray, "pixel channel=5"],
    depth: np.ndarray,
    step: int,
) -> Float32[np.ndarray, "height width channel=5"]:
    """Values of the grid's pixels at those of the map, from the four around on the same surface.

    The last channel says which of the grid's pixels move; the others are means over those.
    """
    height, width = depth.shape
    hw = grid_hw((height, width), step)
    log_depth = np.log(np.maximum(depth, 1e-9)).astype(np.float32)
    on_grid = log_depth[
        np.ix_(*(grid_places(n, s, step) for n, s in zip(hw, depth.shape, strict=True)))
    ]
    sums = np.zeros((height, width, 5), dtype=np.float32)
    total = np.zeros((height, width), dtype=np.float32)
    moving = values[:, 4].reshape(hw) > 0
    # Only rows and columns near something that moves are worked on.
    rows, columns = (np.flatnonzero(moving.any(axis=axis)) for axis in (1, 0))
    top, bottom = max(0, (rows[0] - 1) * step), min(height, (rows[-1] + 2) * step)
    left, right = max(0, (columns[0] - 1) * step), min(width, (columns[-1] + 2) * step)
    part = np.s_[top:bottom, left:right]
    place_y = (np.arange(top, bottom) - step // 2) / step
    place_x = (np.arange(left, right) - step // 2) / step
    low_y, low_x = np.floor(place_y).astype(int), np.floor(place_x).astype(int)
    for down in (0, 1):
        for across in (0, 1):
            row = np.clip(low_y + down, 0, hw[0] - 1)
            column = np.clip(low_x + across, 0, hw[1] - 1)
            share_y = np.abs(1 - down - (place_y - low_y))[:, None]
            share = (share_y * np.abs(1 - across - (place_x - low_x))).astype(np.float32)
            off = (on_grid[np.ix_(row, column)] - log_depth[part]) / _SURFACE
            weight = share * np.exp(-np.minimum(off * off, 40)) + 1e-12
            taken = values.reshape(*hw, 5)[np.ix_(row, column)]
            sums[part] += weight[..., None] * taken
            total[part] += weight
    moves = np.maximum(sums[..., 4:], 1e-30)
    mean = sums / moves
    mean[..., 4] = sums[..., 4] / np.maximum(total, 1e-30)
    return mean
