"""A sequence that reads each file once while several answers are compared with it."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from dynapoint.datasets.sequence import TruthSequence, WorldTracks

Told = TypeVar("Told")


class HeldTruth(TruthSequence):
    """Another sequence, whose answers are kept as long as this is."""

    def __init__(self, inner: TruthSequence) -> None:
        self._inner = inner
        self._kept: dict[tuple[str, int, int], object] = {}
        self.dataset, self.name = inner.dataset, inner.name
        self.frame_count, self.image_hw = inner.frame_count, inner.image_hw
        self.holds = inner.holds

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """As the sequence; not kept, because no scorer looks at pictures."""
        return self._inner.image(frame)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """As the sequence."""
        return self._kept_or(lambda: self._inner.intrinsics(frame), "intrinsics", frame)

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """As the sequence."""
        return self._kept_or(lambda: self._inner.world_from_camera(frame), "camera", frame)

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """As the sequence."""
        return self._kept_or(lambda: self._inner.depth(frame), "depth", frame)

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """As the sequence."""
        return self._kept_or(lambda: self._inner.points(frame, time), "points", frame, time)

    def visible(self, frame: int, time: int) -> Bool[np.ndarray, "height width"]:
        """As the sequence."""
        return self._kept_or(lambda: self._inner.visible(frame, time), "visible", frame, time)

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """As the sequence."""
        return self._kept_or(lambda: self._inner.moving(frame), "moving", frame)

    def instances(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """As the sequence."""
        return self._kept_or(lambda: self._inner.instances(frame), "instances", frame)

    def object_poses(self) -> Float64[np.ndarray, "object frame 4 4"]:
        """As the sequence."""
        return self._kept_or(self._inner.object_poses, "object_poses")

    def tracks(self) -> WorldTracks:
        """As the sequence."""
        return self._kept_or(self._inner.tracks, "tracks")

    def _kept_or(
        self, read: Callable[[], Told], what: str, frame: int = -1, time: int = -1
    ) -> Told:
        place = what, frame, time
        if place not in self._kept:
            self._kept[place] = read()
        found: Told = self._kept[place]  # type: ignore[assignment]
        return found
