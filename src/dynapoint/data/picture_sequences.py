"""Image files that hold several pictures: animated WebP, PNG and AVIF, and the pages of a TIFF."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from dynapoint.data.images import opened_image, shown_picture, upright
from dynapoint.data.memory import require_room_to_decode

# Players show a picture that is to be shown for no time for so long.
_LEAST_STAY_S = 0.01
_USUAL_STAY_S = 0.1

# TIFF's tag that says what a page is, and its marks of pages that are no pictures of their own.
_PAGE_KIND, _SMALLER_COPY, _MASK = 254, 1, 4


@dataclass(frozen=True, kw_only=True)
class PictureSequence:
    """The pictures of an image file in their order.

    Attributes:
        pages: The number of each picture in the file.
        times_s: When each is shown, in seconds since the first; None for pages, which have no
            times.
        remark: One line about pages that are left out, or None.
    """

    pages: tuple[int, ...]
    times_s: Float64[np.ndarray, " picture"] | None
    remark: str | None


def sequence_in(path: Path) -> PictureSequence | None:
    """The pictures of a file that holds several which belong to one scene; None for others.

    Raises:
        InputError: The file is missing, empty, damaged or of an unknown kind.
    """
    with opened_image(path) as image:
        count = getattr(image, "n_frames", 1)
        if count < 2:
            return None
        require_room_to_decode(path, (image.height, image.width), 12)
        if image.format == "TIFF":
            return _pages_of_tiff(image, count)
        if image.format not in {"WEBP", "PNG", "AVIF", "GIF"}:
            return None
        # The still picture of an animated PNG may be no part of it.
        first = 1 if getattr(image, "default_image", False) else 0
        pages = tuple(range(first, count))
        stays_s = []
        for page in pages:
            image.seek(page)
            # WebP and AVIF say how long a picture stays when it is decoded.
            image.load()
            stay_s = float(image.info.get("duration") or 0) / 1000
            stays_s.append(stay_s if stay_s > _LEAST_STAY_S else _USUAL_STAY_S)
        times_s = np.cumsum([0.0, *stays_s[:-1]])
        return PictureSequence(pages=pages, times_s=times_s, remark=None)


def _pages_of_tiff(image: Image.Image, count: int) -> PictureSequence | None:
    """Pages of one size, without smaller copies and masks; of several sizes the largest."""
    sizes: dict[int, tuple[int, int]] = {}
    for page in range(count):
        image.seek(page)
        kind = image.tag_v2.get(_PAGE_KIND, 0)  # type: ignore[attr-defined]
        if not int(kind) & (_SMALLER_COPY | _MASK):
            sizes[page] = image.size
    if not sizes:
        return None
    largest = max(sizes.values(), key=lambda size: size[0] * size[1])
    pages = tuple(page for page, size in sizes.items() if size == largest)
    left = len(sizes) - len(pages)
    remark = (
        f"{left} pages of other sizes than {largest[0]}x{largest[1]} left out" if left else None
    )
    if pages == (0,) and remark is None:
        return None
    return PictureSequence(pages=pages, times_s=None, remark=remark)


def pictures_in(
    path: Path, sequence: PictureSequence, numbers: Sequence[int]
) -> Iterator[UInt8[np.ndarray, "height width rgb=3"]]:
    """Some pictures of a sequence as people see them, one after another.

    Args:
        path: The file.
        sequence: What is in it.
        numbers: Which pictures, ascending, counted in the sequence.

    Raises:
        InputError: The file is damaged.
    """
    with opened_image(path) as image:
        for number in numbers:
            image.seek(sequence.pages[number])
            image.load()
            yield shown_picture(path, upright(image)).pixels
