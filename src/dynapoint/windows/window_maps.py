"""What one window says of its frames, in a world of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowMaps:
    """Cameras and own-time maps of a window.

    The world is the camera of the window's first frame, in a unit of the window's own.

    Attributes:
        frames: Indices of its frames in the clip, increasing.
        world_from_camera: Of each of them; `[0]` is the identity.
        map_intrinsics: In pixels of the maps.
        points: Where what each pixel shows is at its frame's own time.
        confidence: Not negative, larger is better; 0 where nothing is known.
        evidence: `models.kept.correction`'s STILL, MOVING or UNKNOWN for each pixel; None where
            nothing was asked.
    """

    frames: tuple[int, ...]
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    map_intrinsics: Float64[np.ndarray, "frame 3 3"]
    points: Float32[np.ndarray, "frame height width xyz=3"]
    confidence: Float32[np.ndarray, "frame height width"]
    evidence: UInt8[np.ndarray, "frame height width"] | None = None

    def local(self, frames: Sequence[int]) -> list[int]:
        """Where frames of the clip stand in this window; raises ValueError where one does not."""
        return [self.frames.index(frame) for frame in frames]

    def shared_with(self, other: "WindowMaps") -> tuple[int, ...]:
        """The frames of the clip that both windows hold, increasing."""
        return tuple(sorted(set(self.frames) & set(other.frames)))
