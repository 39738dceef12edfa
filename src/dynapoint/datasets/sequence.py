"""What a data set tells of one sequence: the one interface of evaluation and training to truth."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from dynapoint.errors import InputError
from dynapoint.geometry.arrays import pixel_centres

Motion = Literal["still", "own_time", "sparse", "dense"]
"""What is known of points at other times than their frame's own: "still" nothing moves, so all is;
"own_time" nothing; "sparse" of some pixels; "dense" of all pixels that have a point."""


@dataclass(frozen=True, kw_only=True)
class Holds:
    """Which truth a sequence has; asking for other truth raises `InputError`."""

    lens: bool = False
    poses: bool = False
    depth: bool = False
    motion: Motion = "own_time"
    visible: bool = False
    moving: bool = False
    instances: bool = False
    object_poses: bool = False
    tracks: bool = False
    # One unit of lengths is one metre.
    metric: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class WorldTracks:
    """Points followed through a sequence.

    Attributes:
        xyz: In the sequence's world and unit; NaN where unknown.
        visible: Whether the camera of that frame sees the point.
    """

    xyz: Float32[np.ndarray, "frame track xyz=3"]
    visible: Bool[np.ndarray, "frame track"]


class TruthSequence(ABC):
    """One sequence of a data set, read file by file when asked.

    Frames are numbered from 0 in the order of time; a time is the number of a frame. The world is
    the data set's own, with OpenCV axes in cameras (x right, y down, z forward). Pixel centres are
    at half-integers. Lengths are in the data set's unit (metres where `holds.metric`).

    A reader overrides what its set has, and says so in `holds`. It is `points` that motion is asked
    by; that of a set without motion follows from depth, poses and lens.

    Attributes:
        dataset: The set's key, as in `datasets.registry`.
        name: Unique within the set; may hold "/".
        frame_count: How many frames have a picture.
        image_hw: Height and width of the pictures (of the first one, where they differ).
        holds: Which truth there is.
    """

    dataset: str
    name: str
    frame_count: int
    image_hw: tuple[int, int]
    holds: Holds

    @abstractmethod
    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB.

        Raises:
            InputError: A file is missing or damaged; the message names it (so do all methods).
        """

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture, pixel centres at half-integers."""
        raise self.lacks("lens")

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        raise self.lacks("poses")

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Give z along the camera's axis; NaN where it is unknown or there is no surface."""
        raise self.lacks("depth")

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """Where the surface seen at each pixel of `frame` is at `time`, in the world.

        NaN where it is unknown or there is no surface.
        """
        if time != frame and self.holds.motion != "still":
            raise self.lacks("points of a frame at another time")
        z = self.depth(frame).astype(np.float64)[..., None]
        rays = _rays(z.shape[:2], self.intrinsics(frame).tobytes())
        camera = self.world_from_camera(frame)
        return (rays * z @ camera[:3, :3].T + camera[:3, 3]).astype(np.float32)

    def visible(self, frame: int, time: int) -> Bool[np.ndarray, "height width"]:
        """Whether the camera of frame `time` sees the points of `points(frame, time)`."""
        raise self.lacks("visibility")

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Which pixels show something that moves in the world, at any time of the sequence."""
        raise self.lacks("masks of what moves")

    def instances(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """Which object each pixel shows: 0 for none, k + 1 for row k of `object_poses`."""
        raise self.lacks("masks of objects")

    def object_poses(self) -> Float64[np.ndarray, "object frame 4 4"]:
        """world_from_object of the rigid objects; NaN where an object is not there."""
        raise self.lacks("poses of objects")

    def tracks(self) -> WorldTracks:
        """Points followed through the sequence."""
        raise self.lacks("tracks")

    def lacks(self, what: str) -> InputError:
        """The error for truth that this sequence does not have."""
        return InputError(
            f"{self.dataset} has no {what} ({self.name}); use a protocol or a set that fits"
        )


@lru_cache(maxsize=8)
def _rays(image_hw: tuple[int, int], lens: bytes) -> Float64[np.ndarray, "height width xyz=3"]:
    """Directions of the pixels with z = 1."""
    matrix = np.frombuffer(lens, np.float64).reshape(3, 3)
    xy = np.concatenate([pixel_centres(image_hw), np.ones((*image_hw, 1))], axis=-1)
    return xy @ np.linalg.inv(matrix).T
