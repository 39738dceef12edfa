"""One question to a method and its answer: the files between predicting and scoring hold these."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method is shown, and what it is asked.

    Maps are asked on a grid of the pictures, `picture[stride // 2 :: stride, stride // 2 ::
    stride]`.

    Attributes:
        dataset, sequence: Keys of the set and of the sequence in it.
        name: Unique among the tasks of a protocol on that sequence, fit for a file's name.
        frames: Numbers of the frames shown, in this order; points are in the camera of the first.
        maps: Point maps asked: (source, time), both positions in `frames`.
        swapped: The same maps are asked once more in the camera of the second frame, as a method
            that has one reference frame answers when it is shown the frames in the other order.
        depth: Depth of every frame in its own camera is asked.
        cameras: Poses and intrinsics of every frame are asked.
        moving: Masks of what moves are asked.
        track_xy: Pixels of the first frame (x, y; pixel centres at half-integers) that are to be
            followed through all frames shown.
        known_lens: The method is told the intrinsics.
    """

    dataset: str
    sequence: str
    name: str
    frames: tuple[int, ...]
    maps: tuple[tuple[int, int], ...] = ()
    swapped: bool = False
    depth: bool = False
    cameras: bool = False
    moving: bool = False
    track_xy: tuple[tuple[float, float], ...] = ()
    known_lens: bool = False
    stride: int = 1

    @property
    def key(self) -> str:
        """`dataset/sequence/name`: its place among the files of a run."""
        return f"{self.dataset}/{self.sequence}/{self.name}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all fields, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the grid for pictures of this size."""
        rows, columns = (len(range(self.stride // 2, side, self.stride)) for side in image_hw)
        return rows, columns

    def grid_xy(self, image_hw: tuple[int, int]) -> Float64[np.ndarray, "row column xy=2"]:
        """Pixel centres (x, y) of the grid, in pixels of the pictures."""
        y, x = (np.arange(self.stride // 2, side, self.stride) + 0.5 for side in image_hw)
        return np.stack(np.meshgrid(x, y), axis=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a method says to a task; None for what was not asked (or that it cannot say).

    Attributes:
        points: `points[k]` for map k of the task, in the camera of the first frame shown.
        confidence: Of `points`, larger is better.
        swapped_points: The same maps in the camera of the second frame shown.
        depth: z in the frame's own camera.
        world_from_camera: The world is the camera of the first frame shown.
        intrinsics: In pixels of the pictures, pixel centres at half-integers.
        moving: True where something moves.
        tracks: Places of the points `track_xy`, in the camera of the first frame shown.
        tracks_visible: Whether they are seen.
        metric: One unit is a metre, says the method.
        seconds: What predicting took, without loading.
        peak_mib: The largest memory while predicting, where it was measured.
    """

    points: Float32[np.ndarray, "map row column xyz=3"] | None = None
    confidence: Float32[np.ndarray, "map row column"] | None = None
    swapped_points: Float32[np.ndarray, "map row column xyz=3"] | None = None
    depth: Float32[np.ndarray, "frame row column"] | None = None
    world_from_camera: Float[np.ndarray, "frame 4 4"] | None = None
    intrinsics: Float[np.ndarray, "frame 3 3"] | None = None
    moving: Bool[np.ndarray, "frame row column"] | None = None
    tracks: Float32[np.ndarray, "frame track xyz=3"] | None = None
    tracks_visible: Bool[np.ndarray, "frame track"] | None = None
    metric: bool = False
    seconds: float = 0.0
    peak_mib: float = 0.0
