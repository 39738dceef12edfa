"""Maps finer than a network's: which of its pixels each of theirs is mixed from."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

TAPS = 4
"""Of how many pixels each is mixed."""

WHOLE = 255
"""What the shares of a pixel add up to."""


def nearest_places(count: int, coarse: int) -> Int64[np.ndarray, " place"]:
    """For every row (or column) the coarse one whose centre is nearest."""
    place = (np.arange(count) + 0.5) * coarse / count
    return np.minimum(np.floor(place), coarse - 1).astype(np.int64)


def doubted(
    confidence: Float32[np.ndarray, "rows columns"], hw: tuple[int, int]
) -> Float32[np.ndarray, "height width"]:
    """Confidence at the pixels of finer maps: bilinear, and 0 where that of the nearest pixel is.

    It is not sharpened: near edges networks doubt themselves, and are right to.
    """
    found = confidence
    for axis, count in enumerate(hw):
        coarse = confidence.shape[axis]
        place = np.clip((np.arange(count) + 0.5) * coarse / count - 0.5, 0, coarse - 1)
        low = np.minimum(place.astype(np.int64), max(coarse - 2, 0))
        high = np.minimum(low + 1, coarse - 1)
        part = (place - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part
        found = found.take(low, axis) * (1 - part) + found.take(high, axis) * part
    row, column = (nearest_places(n, m) for n, m in zip(hw, confidence.shape, strict=True))
    return np.where(confidence[np.ix_(row, column)] > 0, found, np.float32(0))


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Pixels as mixes of few pixels of maps that are as fine or coarser.

    Attributes:
        taps: Which, by their places in the square of `2 * reach + 1` rows and columns around the
            pixel that is nearest, row after row.
        shares: How much of each, in parts of `WHOLE`.
        reach: How far, in rows and in columns, these are from that pixel at most.
        coarse_hw: The size of the maps mixed from.
    """

    taps: UInt8[Tensor, "frame height width tap"]
    shares: UInt8[Tensor, "frame height width tap"]
    reach: int
    coarse_hw: tuple[int, int]

    def of(
        self, values: Float[np.ndarray, "rows columns channel"], frame: int
    ) -> Float32[np.ndarray, "height width channel"]:
        """Values of a frame's coarse map at the pixels of the finer one."""
        taps = self.taps[frame].cpu().numpy().astype(np.int32)
        shares = self.shares[frame].cpu().numpy()
        (height, width), (rows, columns) = taps.shape[:2], self.coarse_hw
        side = 2 * self.reach + 1
        first_row = (nearest_places(height, rows) - self.reach).astype(np.int32)[:, None]
        first_column = (nearest_places(width, columns) - self.reach).astype(np.int32)
        first = first_row * columns + first_column
        flat = np.ascontiguousarray(values, np.float32).reshape(rows * columns, -1)
        mixed = np.zeros((height, width, flat.shape[1]), dtype=np.float32)
        for tap in range(taps.shape[-1]):
            down = taps[..., tap] // side
            place = first + down * (columns - side) + taps[..., tap]
            share = shares[..., tap].astype(np.float32)
            # Beyond the border nothing has a share.
            mixed += np.take(flat, place, axis=0, mode="clip") * share[..., None]
        mixed /= WHOLE
        return mixed


@dataclass(frozen=True, kw_only=True)
class FinerMaps:
    """How finer maps follow from coarse ones at any time.

    Attributes:
        points: The coarse own-time maps, in the world of the scene.
        sharpened: What coarse pixels near edges are made of: those on their side of the edge.
        finer: What finer pixels are made of, after that.
    """

    points: Float32[Tensor, "frame rows columns xyz=3"]
    sharpened: Mix
    finer: Mix

    def carried(
        self, values: Float[np.ndarray, "rows columns channel"], frame: int
    ) -> Float32[np.ndarray, "height width channel"]:
        """Values of a frame's coarse map at the pixels of the finer one."""
        return self.finer.of(self.sharpened.of(values, frame), frame)

    @property
    def hw(self) -> tuple[int, int]:
        """The size of the finer maps."""
        return self.finer.taps.shape[1], self.finer.taps.shape[2]

    def own_points(self, frame: int) -> Float32[np.ndarray, "rows columns xyz=3"]:
        """The coarse own-time map of a frame."""
        return self.points[frame].cpu().numpy()

    def scaled(self, factor: float) -> "FinerMaps":
        """The same in a world in which all lengths are multiplied by a factor."""
        return replace(self, points=self.points * torch.tensor(factor, dtype=torch.float32))
