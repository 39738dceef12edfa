"""Sequences whose pictures are numbered files of one folder."""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from dynapoint.datasets.files import damaged, numbered
from dynapoint.datasets.listed_pictures import ListedPictures
from dynapoint.errors import InputError


class NumberedPictures(ListedPictures):
    """A sequence whose pictures are numbered without a gap, and of one size."""

    def __init__(
        self,
        *,
        dataset: str,
        name: str,
        folder: Path,
        picture: str,
        first: int,
        layout: str,
    ) -> None:
        """Take the pictures `picture.format(number)` of a folder, numbered from `first` on."""
        self.dataset = dataset
        self.name = name
        self._folder = folder
        self._picture = picture
        self._first = first
        self._layout = layout

    @cached_property
    def _pictures(self) -> list[Path]:
        return numbered(self._folder, self._picture, self._first, self._layout)

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB."""
        picture = super().image(frame)
        self._check_size(self._pictures[frame], picture)
        return picture

    def _number(self, frame: int) -> int:
        """The number of a frame in the names of its files."""
        return self._first + frame

    def _check_size(self, path: Path, values: np.ndarray, times: int = 1) -> None:
        """Refuse a map of another size than (so many times) that of the pictures.

        Raises:
            InputError: It has.
        """
        height, width = self.image_hw
        if values.shape[:2] != (times * height, times * width):
            found = "x".join(str(side) for side in values.shape)
            raise damaged(path, f"it is {found}, where {times * height}x{times * width} belongs")

    def _row(self, path: Path, rows: Float64[np.ndarray, "row column"], frame: int) -> np.ndarray:
        """The row of a frame in a file that has a row for each.

        Raises:
            InputError: The file has fewer or more rows than there are pictures.
        """
        if len(rows) != self.frame_count:
            raise InputError(
                f"{path}: {len(rows)} rows for the {self.frame_count} pictures of {self._folder}; "
                "download both again"
            )
        row: np.ndarray = rows[frame]
        return row
