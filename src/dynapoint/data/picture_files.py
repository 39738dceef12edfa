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


def of_one_size(paths: Sequence[Path]) -> PictureFiles:
    """Image files of one aspect at the size of the first.

    Raises:
        InputError: One cannot be read, has another aspect, or memory does not suffice.
    """
    require_room(len(paths), image_size(paths[0]))
    first = read_picture(paths[0])
    # Filled one after another, so that large pictures are never held twice.
    canvas = np.empty((len(paths), *first.pixels.shape), dtype=np.uint8)
    canvas[0] = first.pixels
    sizes, said = [first.pixels.shape[:2]], [first.remarks]
    for place, path in zip(canvas[1:], paths[1:], strict=True):
        picture = read_picture(path)
        sizes.append(picture.pixels.shape[:2])
        said.append(picture.remarks)
        place[:] = _fit_to_first(picture.pixels, first.pixels, path, paths[0])
    given = np.array(sizes, dtype=np.int64)
    resized = int((given != given[0]).any(axis=1).sum())
    remarks = counted(said)
    if resized:
        size = f"{given[0, 1]}x{given[0, 0]}"
        remarks += (f"{resized} images brought to {size}, in whose pixels answers are",)
    return PictureFiles(
        images=canvas, sizes_hw=None, given_hw=given if resized else None, remarks=remarks
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
