"""Files of data sets, read with errors of one line that name the file and its fault."""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Real, UInt8, UInt16
from PIL import Image

from dynapoint.data.images import read_image
from dynapoint.errors import InputError

_FLAGS = {"True": 1.0, "False": 0.0}


def need_folder(path: Path, layout: str) -> Path:
    """The path, which has to be a folder.

    Raises:
        InputError: It is none; the message says which layout was wanted.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; wanted {layout}; unpack the data set there")
    return path


def need_file(path: Path) -> Path:
    """The path, which has to be a file that is not empty.

    Raises:
        InputError: It is not.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; download this part of the data set again")
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    return path


def need_pictures(pictures: Sequence[Path], masks: Path) -> list[Path]:
    """Pictures, none of which may be missing that a folder has a mask (NAME.png) of.

    Raises:
        InputError: One is.
    """
    named = {path.stem for path in pictures}
    for mask in sorted(masks.glob("*.png")):
        if pictures and mask.stem not in named:
            missing = pictures[0].with_name(f"{mask.stem}{pictures[0].suffix}")
            raise damaged(missing, f"no such picture, but {mask} is its mask")
    return list(pictures)


def listed(folder: Path, pattern: str, layout: str) -> list[Path]:
    """The files of a folder that fit a pattern, sorted by name.

    Raises:
        InputError: There are none.
    """
    found = sorted(need_folder(folder, layout).glob(pattern))
    if not found:
        raise InputError(f"{folder}: no {pattern} in it; wanted {layout}; unpack the set again")
    return found


def listed_folders(folder: Path, pattern: str, layout: str) -> list[Path]:
    """The folders in a folder that fit a pattern, sorted by name.

    Raises:
        InputError: There are none.
    """
    found = [path for path in listed(folder, pattern, layout) if path.is_dir()]
    if not found:
        raise InputError(f"{folder}: no folder {pattern} in it; wanted {layout}; unpack the set")
    return found


def read_picture(path: Path) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture in sRGB.

    Raises:
        InputError: It is missing or damaged.
    """
    return read_image(need_file(path))


def read_png16(path: Path) -> UInt16[np.ndarray, "height width"]:
    """A picture of one channel with 16 bits.

    Raises:
        InputError: It is missing, damaged, or another kind of picture.
    """
    try:
        with Image.open(need_file(path)) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise damaged(path, f"it holds {values.dtype} of shape {values.shape}, not one channel")
    return values.astype(np.uint16)


def read_exr(path: Path) -> Float32[np.ndarray, "height width"]:
    """The only channel of an OpenEXR picture.

    Raises:
        InputError: It is missing or damaged or has several, or OpenEXR is not installed.
    """
    try:
        # An extra. OpenCV's own reader is left out of its newer wheels.
        import OpenEXR  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"{path}: it needs OpenEXR, which is not installed; pip install 'dynapoint[datasets]'"
        ) from error
    need_file(path)
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    # Damaged bytes make the library raise nearly every kind of exception.
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if len(channels) != 1:
        raise damaged(path, f"it has the channels {', '.join(channels)}, not one")
    return np.asarray(next(iter(channels.values()))).astype(np.float32)


def depth_map(
    path: Path, z: Real[np.ndarray, "height width"], image_hw: tuple[int, int]
) -> Float32[np.ndarray, "height width"]:
    """Depth that a file holds, NaN where it is not a positive number.

    Raises:
        InputError: It has another size than its picture.
    """
    if z.shape != image_hw:
        seen = f"{z.shape[1]} x {z.shape[0]}"
        raise damaged(path, f"it is {seen}, its picture {image_hw[1]} x {image_hw[0]}")
    return np.where(np.isfinite(z) & (z > 0), z, np.nan).astype(np.float32)


def read_npz(path: Path, keys: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Some arrays of a NumPy archive; no Python objects are loaded.

    Raises:
        InputError: The archive is missing or damaged, or lacks one.
    """
    need_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            there = set(archive.files)
            found = tuple(archive[key] for key in keys if key in there)
    # Damaged bytes make the zip, zlib and NumPy readers raise nearly every kind of exception.
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if len(found) < len(keys):
        missing = [key for key in keys if key not in there]
        raise damaged(path, f"it has no {', '.join(missing)}")
    return found


def numbers_of(
    path: Path, what: str, values: np.ndarray, shape: tuple[int, ...]
) -> Float64[np.ndarray, "*shape"]:
    """Numbers that a file holds.

    Raises:
        InputError: They have another shape, are not finite, or are no numbers.
    """
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise damaged(path, f"{what} is {values.dtype} of shape {values.shape}, not {shape}")
    if not np.isfinite(values).all():
        raise damaged(path, f"{what} is not finite")
    return values.astype(np.float64)


def read_npy(path: Path) -> np.ndarray:
    """A NumPy array; no Python objects are loaded.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        return np.asarray(np.load(need_file(path), allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, str(error)) from error


def read_numbers(path: Path, columns: int | None = None) -> Float64[np.ndarray, "row column"]:
    """A text file of numbers, a row a line; lines that begin with # are comments.

    Raises:
        InputError: It is missing, or not such a file, or does not have so many columns.
    """
    try:
        rows = np.loadtxt(need_file(path), dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if columns is not None and rows.shape[1] != columns:
        raise damaged(path, f"it has {rows.shape[1]} columns, not {columns}")
    return rows


def decoded_picture(data: bytes, path: Path) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture of encoded bytes as its file stores it; transparency is dropped.

    Args:
        data: The bytes of a JPEG or PNG file.
        path: The file that they are from.

    Raises:
        InputError: They are damaged.
    """
    try:
        with Image.open(BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
    # Damaged bytes make Pillow's decoders raise nearly every kind of exception.
    except Exception as error:
        raise damaged(path, f"a picture in it: {error}") from error


def stamp(path: Path) -> tuple[Path, int, int]:
    """The path and what changes when the file does: a key under which its content may be kept.

    Raises:
        InputError: It is missing or empty.
    """
    status = need_file(path).stat()
    return path, status.st_mtime_ns, status.st_size


def damaged(path: Path, fault: str) -> InputError:
    """The error for a file that cannot be used."""
    said = " ".join(fault.split())[:200]
    return InputError(f"{path}: damaged ({said}); download this part of the data set again")


def numbered(folder: Path, name: str, first: int, layout: str) -> list[Path]:
    """The files `name.format(number)` of a folder, whose numbers run on from `first`.

    Raises:
        InputError: There are none, or a number is left out.
    """
    found = listed(folder, re.sub(r"\{[^}]*\}", "*", name), layout)
    for number, path in enumerate(found, first):
        wanted = name.format(number)
        if path.name != wanted:
            raise InputError(
                f"{folder / wanted}: no such file, but there is {path.name}; "
                "download this part of the data set again"
            )
    return found


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """Where a picture is not black.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        with Image.open(need_file(path)) as picture:
            picture.load()
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return values != 0 if values.ndim == 2 else (values[..., :3] != 0).any(axis=-1)


def read_h5(path: Path, key: str) -> np.ndarray:
    """An array of an HDF5 file.

    Raises:
        InputError: The file is missing or damaged, or lacks the array; or h5py is not installed.
    """
    try:
        import h5py  # noqa: PLC0415 - an extra.
    except ImportError as error:
        raise InputError(
            f"{path}: HDF5 needs h5py, which is not installed; pip install 'dynapoint[datasets]'"
        ) from error
    need_file(path)
    try:
        with h5py.File(path, "r") as file:
            found = file.get(key)
            if isinstance(found, h5py.Dataset):
                return np.asarray(found[()])
    # Damaged bytes make HDF5 raise OSError, RuntimeError, KeyError, ValueError and others.
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    raise damaged(path, f"it has no {key}")


def read_table(path: Path, columns: Sequence[str]) -> Float64[np.ndarray, "row column"]:
    """Columns of a text file whose first line names them; True counts as 1 and False as 0.

    Raises:
        InputError: It is missing, or no such file, or lacks a column.
    """
    try:
        lines = need_file(path).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    names = lines[0].split()
    missing = [column for column in columns if column not in names]
    if missing:
        raise damaged(path, f"its first line has no {', '.join(missing)}")
    places = [names.index(column) for column in columns]
    rows = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if not words:
            continue
        if len(words) != len(names):
            raise damaged(path, f"line {number} has {len(words)} words, not {len(names)}")
        try:
            rows.append([float(_FLAGS.get(words[place], words[place])) for place in places])
        except ValueError as error:
            raise damaged(path, f"line {number}: {error}") from error
    return np.array(rows, np.float64).reshape(-1, len(columns))
