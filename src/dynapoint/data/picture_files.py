"""Image files as the frames of one scene: of one size, or each in its own."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from dynapoint.data.images import image_size, read_picture, same_aspect
from dynapoint.data.memory import require_room
from dynapoint.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PictureFiles:
    """Pictures of image files.

    Attributes:
        images: Those of different sizes lie in the top left corners of one white canvas.
        sizes_hw: How high and wide each is in `images`; None: all fill it.
        given_hw: How high and wide each is in its file, where some were brought to another size.
        remarks: A line on each thing that could not be shown as people see it.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"]
    sizes_hw: Int64[np.ndarray, "frame hw=2"] | None
    given_hw: Int64[np.ndarray, "frame hw=2"] | None
    remarks: tuple[str, ...]


class FirstSize:
    """Reads image files of one aspect one after another, each at the size of the first.

    It holds the first picture, and what is to be said of all that were read.
    """

    def __init__(self) -> None:
        self._first: tuple[Path, UInt8[np.ndarray, "height width rgb=3"]] | None = None
        self._sizes: list[tuple[int, int]] = []
        self._said: list[tuple[str, ...]] = []

    def read(self, path: Path) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture of a file.

        Raises:
            InputError: It cannot be read, or has another aspect than the first.
        """
        picture = read_picture(path)
        if self._first is None:
            self._first = (path, picture.pixels)
        self._sizes.append(picture.pixels.shape[:2])
        self._said.append(picture.remarks)
        return _fit_to_first(picture.pixels, self._first[1], path, self._first[0])

    def check(self, path: Path, *, skipped: bool = False) -> None:
        """Refuse a file whose picture would be refused when it is read, mostly by its head alone.

        Args:
            path: The file.
            skipped: It will not be read, and is counted here.

        Raises:
            InputError: Its head cannot be read, or its picture has another aspect than the first.
        """
        size = image_size(path)
        if self._first is not None and not same_aspect(size, self._first[1].shape[:2]):
            # Its head may not say that it lies on its side.
            picture = read_picture(path).pixels
            size = (picture.shape[0], picture.shape[1])
            _fit_to_first(picture, self._first[1], path, self._first[0])
        if skipped:
            self._sizes.append(size)
            self._said.append(())

    @property
    def last_hw(self) -> tuple[int, int]:
        """How high and wide the picture read last is in its file."""
        return self._sizes[-1]

    @property
    def given_hw(self) -> Int64[np.ndarray, "frame hw=2"] | None:
        """How high and wide each is in its file, where some were brought to another size."""
        given = np.array(self._sizes, dtype=np.int64).reshape(-1, 2)
        return given if (given != given[:1]).any() else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line on each thing that was done to them or could not be shown."""
        given = self.given_hw
        if given is None:
            return counted(self._said)
        resized = int((given != given[0]).any(axis=1).sum())
        size = f"{given[0, 1]}x{given[0, 0]}"
        return (
            *counted(self._said),
            f"{resized} images brought to {size}, in whose pixels answers are",
        )


def of_one_size(paths: Sequence[Path]) -> PictureFiles:
    """Image files of one aspect at the size of the first.

    Raises:
        InputError: One cannot be read, has another aspect, or memory does not suffice.
    """
    require_room(len(paths), image_size(paths[0]))
    reader = FirstSize()
    first = reader.read(paths[0])
    # Filled one after another, so that large pictures are never held twice.
    canvas = np.empty((len(paths), *first.shape), dtype=np.uint8)
    canvas[0] = first
    for place, path in zip(canvas[1:], paths[1:], strict=True):
        place[:] = reader.read(path)
    return PictureFiles(
        images=canvas, sizes_hw=None, given_hw=reader.given_hw, remarks=reader.remarks
    )


def _fit_to_first(
    image: UInt8[np.ndarray, "height width rgb=3"],
    first: UInt8[np.ndarray, "first_height first_width rgb=3"],
    path: Path,
    first_path: Path,
) -> UInt8[np.ndarray, "first_height first_width rgb=3"]:
    """Bring an image to the first one's size if it has the same aspect; refuse it otherwise."""
    height, width = image.shape[:2]
    first_height, first_width = first.shape[:2]
    if (height, width) == (first_height, first_width):
        return image
    if not same_aspect((height, width), (first_height, first_width)):
        raise InputError(
            f"image {path} is {width}x{height} but {first_path} is {first_width}x{first_height}; "
            "images of one scene must have one size or at least one aspect: give them separately, "
            "or with --prepare published (prepare='published')"
        )
    resized = Image.fromarray(image).resize((first_width, first_height), Image.Resampling.LANCZOS)
    return np.array(resized)


def on_one_canvas(paths: Sequence[Path]) -> PictureFiles:
    """Image files as they are, in the top left corners of one white canvas.

    Raises:
        InputError: One cannot be read, or memory does not suffice.
    """
    sizes = np.array([image_size(path) for path in paths], dtype=np.int64)
    canvas = _white_canvas(len(paths), sizes)
    said = []
    for index, path in enumerate(paths):
        picture = read_picture(path)
        image = picture.pixels
        said.append(picture.remarks)
        sizes[index] = height, width = image.shape[:2]
        if height > canvas.shape[1] or width > canvas.shape[2]:
            # A picture that turned out to lie on its side only when it was read.
            smaller, canvas = canvas, _white_canvas(len(paths), sizes)
            canvas[:, : smaller.shape[1], : smaller.shape[2]] = smaller[
                :, : canvas.shape[1], : canvas.shape[2]
            ]
        canvas[index, :height, :width] = image
    same = bool((sizes == sizes[0]).all())
    height, width = sizes.max(axis=0).tolist()
    return PictureFiles(
        images=np.ascontiguousarray(canvas[:, :height, :width]),
        sizes_hw=None if same else sizes,
        given_hw=None,
        remarks=counted(said),
    )


def _white_canvas(
    count: int, sizes: Int64[np.ndarray, "frame hw=2"]
) -> UInt8[np.ndarray, "frame height width rgb=3"]:
    """A white picture for each frame, as high and wide as the largest of them."""
    height, width = sizes.max(axis=0).tolist()
    require_room(count, (height, width))
    return np.full((count, height, width, 3), 255, dtype=np.uint8)


def counted(said: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Each line once, with the number of pictures it is true of where there are several."""
    pictures = list(said)
    count = Counter(line for lines in pictures for line in dict.fromkeys(lines))
    if len(pictures) == 1:
        return tuple(count)
    return tuple(f"{line} ({number} of {len(pictures)} images)" for line, number in count.items())
