"""Reading image files as people look at them: upright, opaque, eight bits, RGB."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from dynapoint.data.memory import require_room_to_decode
from dynapoint.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}
    # Not every Pillow reads these, but passing them over in silence would surprise.
    | {".heic", ".heif", ".avif"}
)

# How files of these kinds begin (ISO/IEC 23008-12 and AV1's), after the length of their first box.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif")

# Folders of data sets keep the pictures in a subfolder of one of these names, and masks, flow or
# depth, which are images too, beside it.
IMAGE_SUBFOLDERS = ("images", "image", "rgb", "frames")

_ASPECT_TOLERANCE = 0.01


def is_image_path(path: Path) -> bool:
    """Whether a path is named like an image file that can be read."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key that orders numbers in names by value, so that `frame_10` follows `frame_9`."""
    pieces = re.split(r"(\d+)", str(path))
    return tuple(
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece.casefold())
        for piece in pieces
        if piece
    )


def images_in_folder(folder: Path) -> list[Path]:
    """Image files of a folder in natural order; hidden files and other kinds are passed over.

    A subfolder named `images`, `image`, `rgb` or `frames` that holds images goes before the folder
    itself.

    Raises:
        InputError: There is no image, or the folder cannot be listed.
    """
    for place in (*(folder / name for name in IMAGE_SUBFOLDERS), folder):
        if not os.path.isdir(place):
            continue
        try:
            found = [
                path
                for path in place.iterdir()
                if is_image_path(path) and not path.name.startswith(".") and path.is_file()
            ]
        except OSError as error:
            raise InputError(f"folder {place} cannot be listed: {error.strerror}") from error
        if found:
            return sorted(found, key=natural_key)
    raise InputError(
        f"folder {folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))} were looked for); "
        "give a folder of images, a list of image files or a video"
    )


def read_image(path: Path) -> UInt8[np.ndarray, "height width rgb=3"]:
    """Read an image file: upright by EXIF, transparency laid on white, 16 bits reduced to 8.

    Raises:
        InputError: The file is missing, empty, damaged or of an unknown kind.
    """
    image = open_image(path)
    try:
        return _to_rgb8(image)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def open_image(path: Path) -> Image.Image:
    """Read an image file, upright by EXIF, with the values and bands that it has.

    Raises:
        InputError: The file is missing, empty, damaged or of an unknown kind.
    """
    with _opened(path) as image:
        # Beside the pixels as they are stored there are those turned upright and converted.
        bytes_per_pixel = 28 if image.mode.startswith(("I", "F")) else 18
        require_room_to_decode(path, (image.height, image.width), bytes_per_pixel)
        image.load()
        return ImageOps.exif_transpose(image)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as it is seen, from what stands before its pixels.

    A PNG may say only behind them that it lies on its side: then it is as it is stored.

    Raises:
        InputError: The file is missing, empty, damaged or of an unknown kind.
    """
    with _opened(path) as image:
        known = image.format != "PNG" or "exif" in image.info
        turn = image.getexif().get(ExifTags.Base.Orientation, 1) if known else 1
        # From 5 on, rows of the file are columns of the picture.
        return (image.width, image.height) if turn >= 5 else (image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file whose pixels are not decoded yet; what goes wrong with it is an InputError."""
    if not os.path.isfile(path):
        raise InputError(f"image {path} does not exist; give the path of an image file")
    if path.stat().st_size == 0:
        raise InputError(f"image {path} is empty (0 bytes); give an image file with content")
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    """What to say of an image that an error stops from being read."""
    if _is_heif(path):
        return InputError(
            f"image {path} is HEIF or AVIF, as telephones make them, which Pillow does not read "
            "here; convert it to JPEG or PNG first"
        )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"image {path} cannot be read ({reason}); give an undamaged JPEG, PNG, TIFF or WebP"
    )


def _is_heif(path: Path) -> bool:
    """Whether a file is HEIF or AVIF by its content; names of telephones' files often lie."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _to_rgb8(image: Image.Image) -> UInt8[np.ndarray, "height width rgb=3"]:
    """Convert any PIL image to opaque eight-bit RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_wide_gray_to_8_bits(image)[..., None], 3, axis=-1)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _wide_gray_to_8_bits(image: Image.Image) -> UInt8[np.ndarray, "height width"]:
    """Scale a gray image of 16 or 32 bits: integers from 0-65535, floats from 0-1 (or 0-255)."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        whole = 255.0 if values.max(initial=0.0) > 1.0 else 1.0
    else:
        whole = 65535.0
    if not np.isfinite(values).all() or values.min(initial=0.0) < 0 or values.max() > whole:
        raise ValueError(f"gray values outside 0 to {whole:g}")
    return np.round(values * (255.0 / whole)).astype(np.uint8)


def same_aspect(first_hw: tuple[int, int], second_hw: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) have one aspect, to a hundredth: rounding is no other."""
    ratio = (first_hw[1] * second_hw[0]) / (first_hw[0] * second_hw[1])
    return abs(ratio - 1) <= _ASPECT_TOLERANCE
