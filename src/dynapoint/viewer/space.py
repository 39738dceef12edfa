"""From the world to what a browser is sent: depths of about 1, half floats, hidden points aside."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float16, Float64

from dynapoint.results.reconstruction import Reconstruction

# Hidden points go where no camera sees them: beyond the far plane from anywhere in the scene. A
# cloud that never changes its length is written into the same memory of the graphics card.
ASIDE = (0.0, 3e4, -3e4)
_LARGEST = 2e4


@dataclass(frozen=True, kw_only=True)
class ViewSpace:
    """The world (camera of frame 0, OpenCV axes) in units of `unit` scene units.

    Half floats keep 11 bits, a 2000th of the distance from the first camera, a quarter of what a
    pixel of 518 covers there; but only between 6e-5 and 65504, hence the unit.
    """

    unit: float

    @classmethod
    def of(cls, rec: Reconstruction) -> "ViewSpace":
        """With the median depth of frame 0 as the unit; 1 where nothing lies before the camera."""
        depth, confidence = rec.own_time_points[0, ..., 2], rec.own_time_confidence[0]
        depth = depth[(confidence > 0) & np.isfinite(depth) & (depth > 0)]
        return cls(unit=float(np.median(depth)) if depth.size else 1.0)

    def scaled(self, lengths: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Points (world) or lengths in units of the view, of their own type."""
        return lengths / lengths.dtype.type(self.unit)

    def pose(self, world_from_camera: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
        """A camera's pose with its place in units of the view."""
        placed = np.array(world_from_camera, dtype=np.float64)
        placed[:3, 3] /= self.unit
        return placed


def packed(
    points: Float[np.ndarray, "*points xyz=3"], shown: Bool[np.ndarray, "*points"]
) -> Float16[np.ndarray, "*points xyz=3"]:
    """Points (view) as half floats; those not shown, not finite or too far for them lie aside."""
    with np.errstate(invalid="ignore"):
        fits = shown & (np.abs(points) < _LARGEST).all(axis=-1)
    return np.where(fits[..., None], points, np.array(ASIDE, dtype=np.float32)).astype(np.float16)
