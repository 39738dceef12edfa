"""Where the pixels of the pictures lie in the network's maps."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

# Places this close to an edge, in map pixels, are rounding and not beyond it.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelMap:
    """A place in a frame's map is `scale` times the place in its picture plus `offset`.

    x and y are scaled apart; pixel centres are at half-integers in both. Where an offset is
    negative the map shows a part of the picture only; where it is positive, or the picture ends
    before the map does, the rest of the map shows nothing.

    Attributes:
        scale: Map pixels per picture pixel.
        offset: The place of the picture's top-left corner in the map, in map pixels.
        picture_hw: (height, width) of each frame's picture.
        map_hw: (height, width) of all maps.
    """

    scale: Float64[np.ndarray, "frame xy=2"]
    offset: Float64[np.ndarray, "frame xy=2"]
    picture_hw: Int64[np.ndarray, "frame hw=2"]
    map_hw: tuple[int, int]

    @cached_property
    def map_from_image(self) -> Float64[np.ndarray, "frame 3 3"]:
        """The same as matrices: map pixels from picture pixels, and so for intrinsics."""
        matrices = np.tile(np.eye(3), (len(self.scale), 1, 1))
        matrices[:, [0, 1], [0, 1]] = self.scale
        matrices[:, :2, 2] = self.offset
        return matrices

    def to_map(
        self, frame: int, xy: Float[np.ndarray, "points xy=2"]
    ) -> Float64[np.ndarray, "points xy=2"]:
        """Places in a frame's map, moved onto the nearest part of it that shows the picture."""
        low, high = self.shown_box(frame)
        placed = xy * self.scale[frame] + self.offset[frame]
        return np.clip(placed, low + _ROUNDING, high - _ROUNDING)

    def to_picture(
        self, frame: int, xy: Float[np.ndarray, "*points xy=2"]
    ) -> Float64[np.ndarray, "*points xy=2"]:
        """Places of a frame's map in its picture, wherever they are."""
        return (xy - self.offset[frame]) / self.scale[frame]

    def shows(
        self, frame: int, xy: Float[np.ndarray, "points xy=2"]
    ) -> Bool[np.ndarray, " points"]:
        """Whether places lie in a frame's picture and in the part of it that the map shows."""
        low, high = self.shown_box(frame)
        inside = (xy >= 0) & (xy <= self.picture_hw[frame, ::-1])
        placed = xy * self.scale[frame] + self.offset[frame]
        inside &= (placed >= low - _ROUNDING) & (placed <= high + _ROUNDING)
        return inside[:, 0] & inside[:, 1]

    def shown_box(
        self, frame: int
    ) -> tuple[Float64[np.ndarray, "xy=2"], Float64[np.ndarray, "xy=2"]]:
        """The corners, in map pixels, of what a frame's map shows of its picture."""
        end = self.offset[frame] + self.picture_hw[frame, ::-1] * self.scale[frame]
        return np.maximum(self.offset[frame], 0.0), np.minimum(end, self.map_hw[::-1])

    def picture_box(
        self, frame: int
    ) -> tuple[Float64[np.ndarray, "xy=2"], Float64[np.ndarray, "xy=2"]]:
        """The corners, in picture pixels, of what a frame's map shows of its picture."""
        low, high = (self.to_picture(frame, xy) for xy in self.shown_box(frame))
        size = self.picture_hw[frame, ::-1]
        return np.clip(np.round(low, 6), 0, size), np.clip(np.round(high, 6), 0, size)

    def shown_pixels(self, frame: int) -> Bool[np.ndarray, "map_height map_width"]:
        """Which pixels of a frame's map show its picture; the others were added around it."""
        low, high = self.shown_box(frame)
        columns, rows = (np.arange(side) + 0.5 for side in self.map_hw[::-1])
        across = (columns > low[0]) & (columns < high[0])
        down = (rows > low[1]) & (rows < high[1])
        return down[:, None] & across
