"""Sequences that are a list of picture files."""

from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dynapoint.data.images import image_size
from dynapoint.datasets.files import read_picture
from dynapoint.datasets.sequence import TruthSequence


class ListedPictures(TruthSequence):
    """A sequence of which nothing is read before it is asked for.

    So what is missing in one sequence is said when that one is read, and does not hide the others.
    """

    @cached_property
    @abstractmethod
    def _pictures(self) -> list[Path]:
        """The pictures in the order of time."""

    # Attributes of the interface that are looked for when they are asked for.
    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames have a picture."""
        return len(self._pictures)

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the pictures."""
        return image_size(self._pictures[0])

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB."""
        return read_picture(self._pictures[frame])
