"""Points of a scene as they are asked for and given: a decoder, tracks, the answer to a query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

FrameMaps: TypeAlias = tuple[
    Float32[np.ndarray, "map_height map_width xyz=3"], Float32[np.ndarray, "map_height map_width"]
]
"""Points (world, scene units) and confidence of all pixels of one frame's map, at one time."""


TrackedMaps: TypeAlias = tuple[
    Float32[np.ndarray, "map_height map_width xyz=3"],
    Float32[np.ndarray, "map_height map_width"],
    Float32[np.ndarray, "map_height map_width"],
]
"""The same with visibility before confidence."""


@runtime_checkable
class PointDecoder(Protocol):
    """What a reconstruction asks for points that it does not hold yet."""

    def decode(self, frames: Sequence[int], time: int, *, keep: bool = True) -> list[FrameMaps]:
        """For each of `frames`, finite points (world) and confidence of its pixels at `time`.

        `keep` says whether the answer is to be kept in case it is asked for again.
        """
        ...


@runtime_checkable
class WindowedPoints(PointDecoder, Protocol):
    """A decoder of a long clip, whose network saw neighbouring frames alone together."""

    def span(self, frame: int) -> range:
        """The times for which a network saw the frame; at others its points are handed over."""
        ...


@runtime_checkable
class MeasuredPictures(Protocol):
    """What maps show of every frame, grey and of one size; an array is such, too."""

    def __getitem__(self, frame: int, /) -> UInt8[np.ndarray, "tall wide"]:
        """That of one frame."""
        ...


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """The answer to a query. All arrays have a leading time axis if `time` was None.

    Attributes:
        points: Positions in the world, or in the camera asked for, in scene units. They are always
            finite, but mean nothing where not valid.
        valid: False where a place lies outside the image, or in a part that was cropped away
            before the network saw it.
        visible: Probability in [0, 1] that the camera of that time sees the point, by a depth test
            against that frame's own-time depth; 0 where not valid.
        confidence: Not negative, larger is better; 0 where not valid.
        expected_error: The mean error of points of such confidence, as a share of the scene's mean
            distance (`rec.expected_error`); NaN where the confidence is 0. None where that of the
            network is not calibrated.
    """

    points: Float32[np.ndarray, "*time points xyz=3"]
    valid: Bool[np.ndarray, "*time points"]
    visible: Float32[np.ndarray, "*time points"]
    confidence: Float32[np.ndarray, "*time points"]
    expected_error: Float32[np.ndarray, "*time points"] | None = None


@dataclass(frozen=True, kw_only=True)
class FrameTracks:
    """Tracks of all pixels of one frame's map.

    Attributes:
        points: Position of each pixel's point at each time, in the world and scene units.
        visible: Probability in [0, 1] that the camera of that time sees the point.
        confidence: Not negative, larger is better; 0 where unusable.
    """

    points: Float32[np.ndarray, "time height width xyz=3"]
    visible: Float32[np.ndarray, "time height width"]
    confidence: Float32[np.ndarray, "time height width"]
