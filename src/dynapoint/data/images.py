"""Reading image files as people look at them: upright, opaque, eight bits, RGB."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from dynapoint.data.memory import require_room_to_decode
from dynapoint.data.names import natural_order
from dynapoint.data.picture_colours import to_srgb8
from dynapoint.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pnm", ".jp2"}
    # Not every Pillow reads these, but passing them over in silence would surprise.
    | {".heic", ".heif", ".avif"}
)

# How HEIC begins (ISO/IEC 23008-12), after the length of its first box; names often lie.
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# The boxes before the pixels are not longer in any file seen.
_LONGEST_HEAD = 1 << 16

# Formats whose further pictures are as good as the first (pages of TIFF may be smaller copies).
_MOVING_FORMATS = frozenset({"WEBP", "PNG", "AVIF", "GIF", "HEIF"})

# How a picture that is stored in one of Exif's eight ways is turned upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Folders of data sets keep the pictures in a subfolder of one of these names, and masks, flow or
# depth, which are images too, beside it.
IMAGE_SUBFOLDERS = ("images", "image", "rgb", "frames")

_ASPECT_TOLERANCE = 0.01


def is_image_path(path: Path) -> bool:
    """Whether a path is named like an image file that can be read."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def images_in_folder(folder: Path) -> list[Path]:
    """Image files of a folder in natural order; hidden files and other kinds are skipped.

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
            return natural_order(found).paths
    raise InputError(
        f"folder {folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))} were looked for); "
        "give a folder of images, a list of image files or a video"
    )


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image file as people look at it, and lines about what could not be shown so."""

    pixels: UInt8[np.ndarray, "height width rgb=3"]
    remarks: tuple[str, ...]


def read_image(path: Path) -> UInt8[np.ndarray, "height width rgb=3"]:
    """The pixels that `read_picture` gives."""
    return read_picture(path).pixels


def read_picture(path: Path) -> Picture:
    """Read an image file: upright by Exif, in sRGB, transparency laid on white, 8 bits.

    Raises:
        InputError: The file is missing, empty, damaged or of an unknown kind.
    """
    image, remarks = _upright(path)
    return shown_picture(path, image, remarks)


def shown_picture(path: Path, image: Image.Image, remarks: tuple[str, ...] = ()) -> Picture:
    """An upright image in sRGB.

    Raises:
        InputError: Its values cannot be shown.
    """
    try:
        pixels, more = to_srgb8(image, head_of(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return Picture(pixels=pixels, remarks=(*remarks, *more))


def open_image(path: Path) -> Image.Image:
    """Read an image file, upright by Exif, with the values and bands that it has.

    Raises:
        InputError: The file is missing, empty, damaged or of an unknown kind.
    """
    return _upright(path)[0]


def _upright(path: Path) -> tuple[Image.Image, tuple[str, ...]]:
    """An image file turned by Exif, and lines about what it holds beside the picture."""
    with opened_image(path) as image:
        # Beside the pixels as they are stored there are those turned upright and converted.
        bytes_per_pixel = 28 if image.mode.startswith(("I", "F")) else 18
        require_room_to_decode(path, (image.height, image.width), bytes_per_pixel)
        remarks = _left_out(path, image)
        image.load()
        turned = upright(image)
        return turned, remarks if _turn_of(image) else (*remarks, "damaged Exif was left out")


def upright(image: Image.Image) -> Image.Image:
    """A copy of an image, turned as its Exif says."""
    method = _TURNS.get(_turn_of(image) or 1)
    turned = image.copy() if method is None else image.transpose(method)
    turned.format = image.format
    return turned


def _turn_of(image: Image.Image) -> int | None:
    """How Exif (or XMP) says that an image is stored, 1 to 8; None where its Exif is damaged."""
    try:
        with warnings.catch_warnings(action="ignore"):
            turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    # Damaged Exif raises nearly anything, and is no reason to refuse a picture.
    except Exception:
        return None
    return turn if turn in range(1, 9) else 1


def _left_out(path: Path, image: Image.Image) -> tuple[str, ...]:
    """Lines about what an image file holds and is not shown."""
    remarks = []
    head = head_of(path)
    if image.format in _MOVING_FORMATS and getattr(image, "n_frames", 1) > 1:
        remarks.append("only the first of several pictures in a file was taken")
    if image.format == "MPO":
        remarks.append("a second picture in the file (gain map, depth or other eye) was left out")
    elif b"tmap" in head and head[4:8] == b"ftyp":
        remarks.append("a gain map was left out")
    if image.format == "AVIF" and b"clap" in head:
        remarks.append("the file says that only a part is shown; all of it was taken")
    return tuple(remarks)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as it is seen, from what stands before its pixels.

    A PNG may say only behind them that it lies on its side: then it is as it is stored.

    Raises:
        InputError: The file is missing, empty, damaged or of an unknown kind.
    """
    with opened_image(path) as image:
        known = image.format != "PNG" or "exif" in image.info
        turn = (_turn_of(image) if known else None) or 1
        # From 5 on, rows of the file are columns of the picture.
        return (image.width, image.height) if turn >= 5 else (image.height, image.width)


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """An image file whose pixels are not decoded yet; what goes wrong with it is an InputError."""
    if not os.path.isfile(path):
        raise InputError(f"image {path} does not exist; give the path of an image file")
    if path.stat().st_size == 0:
        raise InputError(f"image {path} is empty (0 bytes); give an image file with content")
    head = head_of(path)
    # AVIF may begin like HEIC; then it names itself among the kinds that it is as well.
    if head[8:12] in _HEIC_BRANDS and b"avif" not in head[: head[3]]:
        _learn_heic(path)
    try:
        with warnings.catch_warnings():
            # It is said in a remark.
            warnings.filterwarnings("ignore", message="Corrupt EXIF data")
            image = Image.open(path)
        with image:
            yield image
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def head_of(path: Path) -> bytes:
    """The beginning of a file, where HEIF and AVIF say what they hold; empty for other kinds."""
    try:
        with path.open("rb") as file:
            first = file.read(12)
            return first + file.read(_LONGEST_HEAD) if first[4:8] == b"ftyp" else b""
    except OSError:
        return b""


def _learn_heic(path: Path) -> None:
    """Teach Pillow to read HEIC, which an extra does.

    Raises:
        InputError: It is not installed.
    """
    try:
        import pillow_heif  # noqa: PLC0415 - an extra.
    except ImportError as error:
        raise InputError(
            f"image {path} is HEIC, as telephones make them, which needs pillow-heif; "
            "pip install 'dynapoint[heic]', or convert it to JPEG or PNG first"
        ) from error
    pillow_heif.register_heif_opener()


def _unreadable(path: Path, error: Exception) -> InputError:
    """What to say of an image that an error stops from being read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"image {path} cannot be read ({reason}); give an undamaged JPEG, PNG, TIFF or WebP"
    )


def same_aspect(first_hw: tuple[int, int], second_hw: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) have one aspect, to a hundredth: rounding is no other."""
    ratio = (first_hw[1] * second_hw[0]) / (first_hw[0] * second_hw[1])
    return abs(ratio - 1) <= _ASPECT_TOLERANCE
