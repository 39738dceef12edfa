"""Where the pixels of the pictures lie in the network's maps."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from dynapoint.geometry.arrays import pixel_centres
from dynapoint.geometry.distortion import DistortedLens

# Places this close to an edge, in map pixels, are rounding and not beyond it.
_ROUNDING = 1e-6
_FAR = 1e6


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelMap:
    """A place in a frame's map is `scale` times the place in its picture plus `offset`.

    With a lens that is no pinhole this holds for the undistorted picture, which has the size and
    the intrinsics of the picture: its borders may show nothing, and not all of the picture.

    x and y are scaled apart; pixel centres are at half-integers in both. Where an offset is
    negative the map shows a part of the picture only; where it is positive, or the picture ends
    before the map does, the rest of the map shows nothing.

    Attributes:
        scale: Map pixels per picture pixel.
        offset: The place of the picture's top-left corner in the map, in map pixels.
        picture_hw: (height, width) of each frame's picture.
        map_hw: (height, width) of all maps.
        lenses: How each frame's lens distorts; None for pinholes.
    """

    scale: Float64[np.ndarray, "frame xy=2"]
    offset: Float64[np.ndarray, "frame xy=2"]
    picture_hw: Int64[np.ndarray, "frame hw=2"]
    map_hw: tuple[int, int]
    lenses: tuple[DistortedLens, ...] | None = None

    @cached_property
    def map_from_image(self) -> Float64[np.ndarray, "frame 3 3"]:
        """The same as matrices: map pixels from picture pixels, and so for intrinsics."""
        matrices = np.tile(np.eye(3), (len(self.scale), 1, 1))
        matrices[:, [0, 1], [0, 1]] = self.scale
        matrices[:, :2, 2] = self.offset
        return matrices

    def distorted(
        self, frame: int, xy: Float[np.ndarray, "*points xy=2"]
    ) -> Float[np.ndarray, "*points xy=2"]:
        """Where places of a frame's undistorted picture are in its picture; NaN where unseen.

        Points project with `intrinsics` into the undistorted picture; that of a pinhole is the
        picture itself.
        """
        return xy if self.lenses is None else self.lenses[frame].distorted(xy)

    def to_map(
        self, frame: int, xy: Float[np.ndarray, "points xy=2"]
    ) -> Float64[np.ndarray, "points xy=2"]:
        """Places in a frame's map, moved onto the nearest part of it that shows the picture."""
        low, high = self.shown_box(frame)
        if self.lenses is not None:
            lens = self.lenses[frame]
            inside = np.clip(xy, 0, self.picture_hw[frame, ::-1])
            xy = lens.undistorted(inside)
            # Rays too wide for the map leave it in the direction in which they are seen.
            xy = np.where(np.isnan(xy), inside + (inside - np.array(lens.centre_px)) * _FAR, xy)
        placed = xy * self.scale[frame] + self.offset[frame]
        return np.clip(placed, low + _ROUNDING, high - _ROUNDING)

    def to_picture(
        self, frame: int, xy: Float[np.ndarray, "*points xy=2"]
    ) -> Float64[np.ndarray, "*points xy=2"]:
        """Places of a frame's map in its picture, wherever they are; NaN where no lens sees."""
        return self.distorted(frame, (xy - self.offset[frame]) / self.scale[frame])

    def shows(
        self, frame: int, xy: Float[np.ndarray, "points xy=2"]
    ) -> Bool[np.ndarray, " points"]:
        """Whether places lie in a frame's picture and in the part of it that the map shows."""
        low, high = self.shown_box(frame)
        inside = (xy >= 0) & (xy <= self.picture_hw[frame, ::-1])
        straight = xy if self.lenses is None else self.lenses[frame].undistorted(xy)
        placed = straight * self.scale[frame] + self.offset[frame]
        inside &= (placed >= low - _ROUNDING) & (placed <= high + _ROUNDING)
        return inside[:, 0] & inside[:, 1]

    def shown_box(
        self, frame: int
    ) -> tuple[Float64[np.ndarray, "xy=2"], Float64[np.ndarray, "xy=2"]]:
        """The corners, in map pixels, of what a frame's map shows of its undistorted picture."""
        end = self.offset[frame] + self.picture_hw[frame, ::-1] * self.scale[frame]
        return np.maximum(self.offset[frame], 0.0), np.minimum(end, self.map_hw[::-1])

    def picture_box(
        self, frame: int
    ) -> tuple[Float64[np.ndarray, "xy=2"], Float64[np.ndarray, "xy=2"]]:
        """The same in pixels of the undistorted picture."""
        low, high = ((xy - self.offset[frame]) / self.scale[frame] for xy in self.shown_box(frame))
        size = self.picture_hw[frame, ::-1]
        return np.clip(np.round(low, 6), 0, size), np.clip(np.round(high, 6), 0, size)

    def shown_pixels(self, frame: int) -> Bool[np.ndarray, "map_height map_width"]:
        """Which pixels of a frame's map show its picture; the others were added around it."""
        low, high = self.shown_box(frame)
        columns, rows = (np.arange(side) + 0.5 for side in self.map_hw[::-1])
        across = (columns > low[0]) & (columns < high[0])
        down = (rows > low[1]) & (rows < high[1])
        shown = down[:, None] & across
        if self.lenses is None:
            return shown
        seen = self.to_picture(frame, pixel_centres(self.map_hw))
        # Written so that NaN, which compares false with everything, shows nothing.
        inside = (seen > 0) & (seen < self.picture_hw[frame, ::-1])
        return shown & inside[..., 0] & inside[..., 1]
