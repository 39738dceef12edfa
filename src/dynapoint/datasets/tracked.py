"""Sequences that know motion from followed points, which fall on some pixels only."""

from abc import abstractmethod

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from dynapoint.datasets.sequence import TruthSequence, WorldTracks
from dynapoint.geometry.arrays import points_in_camera, project

DEPTH_TOLERANCE = 0.03
"""How far a followed point's z may lie from a pixel's depth, as a part of z, to be what the pixel
shows. It is the tolerance with which PointOdyssey's own `gen_tracking.py` calls a point visible."""


class TrackedSequence(TruthSequence):
    """A sequence in which points are followed (`holds.motion` is "sparse" where they are).

    A pixel has points at other times if a followed point that its frame sees falls into it; of
    several it is the nearest. That point lies up to half a pixel from the ray of the pixel's
    centre. At a frame's own time the points are those of its depth, where the set has depth.

    Attributes:
        depth_step: The step of the set's depth (its unit): what rounding may add to differences.
    """

    depth_step: float = 0.0

    @abstractmethod
    def track_xyz(self, frame: int) -> Float32[np.ndarray, "track xyz=3"]:
        """Where all followed points are at the time of a frame, in the world; NaN if unknown."""

    @abstractmethod
    def track_visible(self, frame: int) -> Bool[np.ndarray, " track"]:
        """Which followed points the camera of a frame sees."""

    def tracks(self) -> WorldTracks:
        """Points followed through the sequence."""
        if not self.holds.tracks:
            raise self.lacks("tracks")
        frames = range(self.frame_count)
        return WorldTracks(
            xyz=np.stack([self.track_xyz(frame) for frame in frames]),
            visible=np.stack([self.track_visible(frame) for frame in frames]),
        )

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """Where the surface seen at each pixel of `frame` is at `time`; NaN where unknown."""
        if not self.holds.tracks or (time == frame and self.holds.depth):
            return super().points(frame, time)
        shown = self._tracks_shown(frame)
        points = np.full((*shown.shape, 3), np.nan, np.float32)
        points[shown >= 0] = self.track_xyz(time)[shown[shown >= 0]]
        return points

    def visible(self, frame: int, time: int) -> Bool[np.ndarray, "height width"]:
        """Whether the camera of frame `time` sees `points(frame, time)`; False where unknown."""
        if not self.holds.visible:
            raise self.lacks("visibility")
        if time == frame and self.holds.depth:
            return np.isfinite(self.depth(frame))
        shown = self._tracks_shown(frame)
        seen = np.zeros(shown.shape, bool)
        seen[shown >= 0] = self.track_visible(time)[shown[shown >= 0]]
        return seen

    def _tracks_shown(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """Which followed point each pixel shows; -1 for none."""
        points = points_in_camera(
            self.track_xyz(frame).astype(np.float64), self.world_from_camera(frame)
        )
        shown = self.track_visible(frame)
        pixels = project(points, self.intrinsics(frame))
        return tracks_on_pixels(
            np.where(shown, points[:, 2], np.nan),
            pixels,
            self.image_hw,
            depth=self.depth(frame) if self.holds.depth else None,
            depth_step=self.depth_step,
        )


def tracks_on_pixels(
    z: Float[np.ndarray, " track"],
    pixels: Float[np.ndarray, "track xy=2"],
    image_hw: tuple[int, int],
    *,
    depth: Float32[np.ndarray, "height width"] | None = None,
    depth_step: float = 0.0,
) -> Int32[np.ndarray, "height width"]:
    """Which point each pixel shows: the nearest that falls into it; -1 for none.

    Args:
        z: Along the camera's axis; NaN for points that are not seen.
        pixels: (x, y), pixel centres at half-integers.
        image_hw: Height and width of the grid of pixels.
        depth: A point whose z is farther from its pixel's depth than `DEPTH_TOLERANCE` of z and
            `depth_step` is not what the pixel shows. NaN refuses none.
        depth_step: In the unit of z.
    """
    height, width = image_hw
    with np.errstate(invalid="ignore"):
        inside = (z > 0) & (pixels >= 0).all(axis=1) & (pixels < [width, height]).all(axis=1)
    which = np.flatnonzero(inside)
    column, row = np.floor(pixels[which]).astype(np.intp).T
    if depth is not None:
        far = np.abs(z[which] - depth[row, column]) > DEPTH_TOLERANCE * z[which] + depth_step
        which, row, column = which[~far], row[~far], column[~far]
    # Of several values for one place NumPy keeps the last: here the nearest.
    order = np.argsort(-z[which], kind="stable")
    found = np.full(image_hw, -1, np.int32)
    found[row[order], column[order]] = which[order]
    return found
