"""Pictures of something that keeps still, with published pairs of them that see the same."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64, UInt8

from dynapoint.data.images import image_size
from dynapoint.datasets.files import depth_map, need_file, read_exr, read_picture
from dynapoint.datasets.sequence import Holds, TruthSequence


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """The pictures of one scene.

    Attributes:
        names: Of the pictures, as their files are called.
        pairs: Places in `names` of two pictures that see the same surface, as published; none where
            no list was published or none is there.
    """

    names: tuple[str, ...]
    pairs: Int64[np.ndarray, "pair two=2"]


class StillViews(TruthSequence):
    """One scene. Its frames are numbered in the order of their names and have no order of time.

    Nothing that has a depth moves, so points are at all times where they are at their own. Windows
    of neighbouring frames need not see the same: draw frames from `pairs`. Pictures may differ in
    size within a scene; `image_hw` is that of the first one.
    """

    def __init__(self, folder: Path, *, dataset: str, name: str, metric: bool = False) -> None:
        self.folder = folder
        self.dataset = dataset
        self.name = name
        self.holds = Holds(lens=True, poses=True, depth=True, motion="still", metric=metric)

    @cached_property
    def views(self) -> Views:
        """Which pictures there are.

        Raises:
            InputError: A list of them is missing or damaged.
        """
        return self.read_views()

    @abstractmethod
    def read_views(self) -> Views:
        """`views`, read anew."""

    @property
    def pairs(self) -> Int64[np.ndarray, "pair two=2"]:
        """Frames that see the same surface, as published; for a training mixture to draw from.

        Raises:
            InputError: As `views`.
        """
        return self.views.pairs

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many pictures there are."""
        return len(self.views.names)

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the first picture."""
        return self.picture_hw(0)

    def picture_hw(self, frame: int) -> tuple[int, int]:
        """Height and width of a picture, without decoding it."""
        return image_size(need_file(self.picture_path(frame)))

    @abstractmethod
    def picture_path(self, frame: int) -> Path:
        """The file of a picture."""

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture."""
        return read_picture(self.picture_path(frame))


class ViewFiles(StillViews):
    """A scene of which each picture has its own files: NAME.jpg, NAME.exr (depth), NAME.npz."""

    def picture_path(self, frame: int) -> Path:
        """The file of a picture."""
        return self.folder / f"{self.views.names[frame]}.jpg"

    def camera_path(self, frame: int) -> Path:
        """The file of a picture's camera."""
        return self.folder / f"{self.views.names[frame]}.npz"

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Depth of the surface; zero and less in the file are unknown."""
        path = self.folder / f"{self.views.names[frame]}.exr"
        return depth_map(path, read_exr(path), self.picture_hw(frame))


def rows_of_each(group: Int[np.ndarray, " row"], count: int) -> list[Int64[np.ndarray, " _own"]]:
    """The rows that belong to each of so many groups, in their order."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.searchsorted(group[order], np.arange(1, count)))


def between_pixels(lens: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """A lens whose pixel centres were at integers, with pixel centres at half-integers."""
    moved = lens.copy()
    moved[:2, 2] += 0.5
    return moved
