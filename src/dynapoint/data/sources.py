"""What a source is: image files, an image file that holds several, a video or an array."""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Shaped, UInt8

from dynapoint.data.identity import identity_of
from dynapoint.data.images import images_in_folder, is_image_path
from dynapoint.data.names import natural_order
from dynapoint.data.picture_sequences import PictureSequence, sequence_in
from dynapoint.errors import InputError

# What begins like the address of something elsewhere; `Path` makes one stroke of two.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Image files of one scene in their order.

    Attributes:
        paths: One or more files that are there and are named like images.
        name: Of the scene.
        remarks: Lines about where they were found and in which order.
    """

    paths: tuple[Path, ...]
    name: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SequenceFile:
    """An image file that holds several pictures of one scene."""

    path: Path
    several: PictureSequence


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """What is taken for a video: a file that may be read and is no image."""

    path: Path


class PictureArray:
    """Pictures in an array or a torch tensor, taken out one by one so that it is never copied.

    Raises:
        InputError: It has another shape or type than pictures have.
    """

    def __init__(self, source: Any) -> None:
        sliced = all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__"))
        self._source = source if sliced else np.asarray(source)
        shape = tuple(self._source.shape)
        if _is_tensor(source) and len(shape) == 4 and shape[1] == 3:
            shape = (shape[0], *shape[2:], 3)
        if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise InputError(
                f"array has shape {shape}; give (frame, height, width, 3) with none of them zero "
                "(a torch tensor may have its channels second)"
            )
        self.count = int(shape[0])
        self.image_hw = (int(shape[1]), int(shape[2]))
        check_values(self.given(0).dtype)

    def given(self, index: int) -> Shaped[np.ndarray, "height width rgb=3"]:
        """A picture with the values that it has."""
        return as_array(self._source[index : index + 1])[0]

    def picture(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """A picture in eight bits."""
        return to_8_bits(self.given(index))

    def checked(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The same; raises InputError where it holds floats beyond 0 to 1."""
        given = self.given(index)
        check_range([given])
        return to_8_bits(given)


Source: TypeAlias = ImageFiles | SequenceFile | VideoFile | PictureArray


def source_of(source: Any) -> Source:
    """What was given to read frames from.

    Raises:
        InputError: It is missing, empty, may not be read, or is of another kind.
    """
    if isinstance(source, str | os.PathLike):
        return _of_path(Path(source))
    if hasattr(source, "__array__"):
        return PictureArray(source)
    if isinstance(source, Sequence) and all(isinstance(item, str | os.PathLike) for item in source):
        paths = [Path(item) for item in source]
        if len(paths) == 1:
            return _of_path(paths[0])
        return _image_files(paths, name=_folder_name(paths))
    raise InputError(
        f"source is a {type(source).__name__}; give the path of a video or folder, a list of image "
        "files, or an array (frame, height, width, 3)"
    )


def source_identity(source: Any) -> str | None:
    """What tells the files of a source apart (`data.identity`); None for arrays."""
    if hasattr(source, "__array__"):
        return None
    given = [source] if isinstance(source, str | os.PathLike) else source
    return identity_of([file for item in given for file in expand_pattern(Path(item))])


def expand_pattern(path: Path) -> list[Path]:
    """Files matching a glob pattern in natural order, or the path itself if it is no pattern.

    Raises:
        InputError: It is neither there nor a pattern, or a pattern that nothing matches.
    """
    if os.path.exists(path):
        return [path]
    if _ADDRESS.match(str(path)):
        raise InputError(
            f"{path} is an address, and nothing is fetched here; download the file first, or give "
            "the address to reconstruct_many or the command"
        )
    if not glob.has_magic(str(path)):
        raise InputError(f"{path} does not exist; give a video, a folder or image files")
    matches = natural_order([Path(match) for match in glob.glob(str(path))]).paths
    if not matches:
        raise InputError(f"no file matches {path}; check the pattern")
    return matches


def _of_path(path: Path) -> Source:
    """A folder, an image, a video or what matches a pattern."""
    matches = expand_pattern(path)
    if len(matches) > 1:
        remark = natural_order(matches).remark
        return _image_files(matches, remark, name=_folder_name(matches))
    path = matches[0]
    if path.is_dir():
        found = images_in_folder(path)
        elsewhere = found[0].parent != path
        taken = f"images taken from {found[0].parent}" if elsewhere else None
        return _image_files(
            found, taken, natural_order(found).remark, name=path.resolve().name or "scene"
        )
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder; give a video, folder or images")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read; change its permissions")
    if is_image_path(path):
        several = sequence_in(path)
        if several is not None:
            return SequenceFile(path=path, several=several)
        return _image_files([path], name=path.stem)
    return VideoFile(path=path)


def _image_files(paths: Sequence[Path], *remarks: str | None, name: str) -> ImageFiles:
    """Image files, each of which is there."""
    if not paths:
        raise InputError("the list of image files is empty; give at least one")
    for path in paths:
        check_image_file(path)
    said = tuple(line for line in remarks if line)
    return ImageFiles(paths=tuple(paths), name=name, remarks=said)


def check_image_file(path: Path) -> None:
    """Refuse what is not named like an image, or is not there.

    Raises:
        InputError: It is so.
    """
    if not is_image_path(path):
        kind = "folder" if path.is_dir() else "file"
        raise InputError(
            f"{kind} {path} stands in a list of images but is none; "
            "give image files only, or one video or folder at a time"
        )
    if not os.path.exists(path):
        raise InputError(f"image {path} does not exist; check the list of image files")


def as_array(source: Any) -> np.ndarray:
    """An array or a torch tensor as an array, channels last."""
    if not _is_tensor(source):
        return np.asarray(source)
    tensor = source.detach().cpu()
    # NumPy knows no bfloat16.
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.moveaxis(array, 1, -1) if array.ndim == 4 and array.shape[1] == 3 else array


def _is_tensor(source: Any) -> bool:
    """Whether something is a torch tensor, without torch being loaded."""
    return hasattr(source, "detach")


def check_values(dtype: np.dtype[Any]) -> None:
    """Refuse values of a type that pictures do not have.

    Raises:
        InputError: They are neither uint8 nor uint16 nor floats.
    """
    if dtype not in (np.uint8, np.uint16) and not np.issubdtype(dtype, np.floating):
        raise InputError(f"array holds {dtype}; give uint8, uint16, or floats from 0 to 1")


def check_range(pictures: Iterable[Shaped[np.ndarray, "height width rgb=3"]]) -> None:
    """Refuse floats beyond 0 to 1, and NaN; only one picture is held at a time.

    Raises:
        InputError: There are such.
    """
    low, high = np.inf, -np.inf
    for picture in pictures:
        if not np.issubdtype(picture.dtype, np.floating):
            return
        # Unlike `min` these keep NaN.
        low = np.minimum(low, np.float64(picture.min()))
        high = np.maximum(high, np.float64(picture.max()))
    # Written so that NaN, which compares false with everything, is refused as well.
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise InputError(
            f"array of floats holds values from {low:.4g} to {high:.4g}; "
            "give floats from 0 to 1, or uint8"
        )


def to_8_bits(
    picture: Shaped[np.ndarray, "height width rgb=3"],
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture of uint8, uint16 or floats from 0 to 1 with eight bits."""
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return np.round(picture / np.float32(257)).astype(np.uint8)
    return np.round(picture.clip(0, 1) * 255).astype(np.uint8)


def _folder_name(paths: Sequence[Path]) -> str:
    """A scene's name for a list of image files: the folder of the first."""
    return (paths[0].resolve().parent.name or "scene") if paths else "scene"
