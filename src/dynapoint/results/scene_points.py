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


@runtime_checkable
class PointDecoder(Protocol):
    """What a reconstruction asks for points that it does not hold yet."""

    def decode(self, frames: Sequence[int], time: int, *, keep: bool = True) -> list[FrameMaps]:
        """For each of `frames`, finite points (world) and confidence of its pixels at `time`.

        `keep` says whether the answer is to be kept in case it is asked for again.
        """
        ...


@runtime_checkable
class MeasuredPictures(Protocol):
    """What maps show of every frame, grey and of one size; an array is such, too."""

    def __getitem__(self, frame: int, /) -> UInt8[np.ndarray, "tall wide"]:
        """That of one frame."""
        ...


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """The answer to a query; all four have a leading time axis if all times were asked for.

    Attributes:
        points: Finite positions in the world or the camera asked for, in scene units. Outside the
            image they are those of the nearest place on its border and mean nothing.
        valid: False only where the place asked for lies outside the image, or in a part of it that
            was cropped away before the network saw it.
        visible: Probability in [0, 1] that the point is seen by the camera of the frame whose time
            was asked for: a depth test against that frame's own-time depth. 0 where not valid.
        confidence: Not negative, larger is better; 0 where not valid.
    """

    points: Float32[np.ndarray, "*time points xyz=3"]
    valid: Bool[np.ndarray, "*time points"]
    visible: Float32[np.ndarray, "*time points"]
    confidence: Float32[np.ndarray, "*time points"]


@dataclass(frozen=True, kw_only=True)
class FrameTracks:
    """Where the pixels of one frame are at all times, at the resolution of the maps."""

    points: Float32[np.ndarray, "time height width xyz=3"]
    visible: Float32[np.ndarray, "time height width"]
    confidence: Float32[np.ndarray, "time height width"]
