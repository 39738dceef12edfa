"""Any source to `Frames`: a video, a folder, image files, a glob pattern or an array."""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped, UInt8
from numpy.typing import ArrayLike

from dynapoint.data.identity import identity_of
from dynapoint.data.images import images_in_folder, is_image_path
from dynapoint.data.masks import read_ignore_masks
from dynapoint.data.memory import require_room
from dynapoint.data.names import natural_order, readable
from dynapoint.data.picture_files import of_one_size, on_one_canvas
from dynapoint.data.picture_sequences import PictureSequence, pictures_in, sequence_in
from dynapoint.data.selection import FrameSelection, first_of_equal
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.data.times import frame_times
from dynapoint.errors import InputError

# What begins like the address of something elsewhere; `Path` makes one stroke of two.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames used of one scene.

    Attributes:
        images: RGB; those of different sizes lie in the top left corners of one white canvas.
        timestamps_s: When each frame is shown, in seconds since the source's first frame; as given
            where times were given, NaN for images without one. Images and arrays carry no times of
            their own: there, one frame of the source counts as one second.
        source_frame_index: Which frame of the source each one is, from 0.
        name: Short and fit for a file name.
        note: One line about what was left out (selection, a video that breaks off), or None.
        sizes_hw: How high and wide each picture is (None: all fill `images`).
        given_hw: How high and wide each picture is in its file, where some were brought to another
            size; what is given in pixels of the files is brought to that of `images` by it.
        source_count: How many frames the source has, where that is known.
        file_names: Names of the image files, where the frames are such.
        from_video: Whether the times are those of a video.
        ignore: Pixels that were masked out, or None.
        identity: What tells the files apart that the frames are of (`data.identity`), or None.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"]
    timestamps_s: Float64[np.ndarray, " frame"]
    source_frame_index: Int64[np.ndarray, " frame"]
    name: str
    note: str | None = None
    sizes_hw: Int64[np.ndarray, "frame hw=2"] | None = None
    given_hw: Int64[np.ndarray, "frame hw=2"] | None = None
    source_count: int | None = None
    file_names: tuple[str, ...] | None = None
    from_video: bool = False
    ignore: Bool[np.ndarray, "frame height width"] | None = None
    identity: str | None = None

    def __post_init__(self) -> None:
        """What is said of files is made fit to be written, whatever bytes their names have."""
        object.__setattr__(self, "name", readable(self.name))
        if self.note is not None:
            object.__setattr__(self, "note", readable(self.note))
        if self.file_names is not None:
            object.__setattr__(self, "file_names", tuple(map(readable, self.file_names)))

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.images)

    @property
    def image_hw(self) -> tuple[int, int]:
        """(height, width) of the frames, or of their canvas, in pixels."""
        return self.images.shape[1], self.images.shape[2]

    def picture(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """One frame without the canvas around it."""
        height, width = self.picture_hw[index].tolist()
        return self.images[index, :height, :width]

    def ignored(self, index: int) -> Bool[np.ndarray, "height width"] | None:
        """Pixels of one frame's picture that were masked out, or None."""
        height, width = self.picture_hw[index].tolist()
        return None if self.ignore is None else self.ignore[index, :height, :width]

    @property
    def size_words(self) -> str:
        """The frames' size, width first, for people."""
        height, width = self.image_hw
        return f"{'' if self.sizes_hw is None else 'up to '}{width}x{height}"

    @property
    def picture_hw(self) -> Int64[np.ndarray, "frame hw=2"]:
        """(height, width) of each frame's own picture in pixels."""
        if self.sizes_hw is not None:
            return self.sizes_hw
        return np.tile(np.array(self.image_hw, dtype=np.int64), (self.count, 1))

    @property
    def scale_of_given(self) -> Float64[np.ndarray, "frame xy=2"]:
        """By what places in the pixels of each frame's file become places in its picture."""
        if self.given_hw is None:
            return np.ones((self.count, 2))
        return (self.picture_hw / self.given_hw)[:, ::-1].astype(np.float64)

    @property
    def target_of_frame(self) -> Int64[np.ndarray, " frame"]:
        """For each frame the first one of equal time, at which points at that time are decoded.

        A frame without a time (NaN) shares its own with no other.
        """
        return first_of_equal(self.timestamps_s)


def load_frames(
    source: Any,
    selection: FrameSelection | None = None,
    *,
    one_size: bool = True,
    times_s: ArrayLike | Path | None = None,
    ignore_masks: Path | str | None = None,
    small: SmallPictures | None = None,
) -> Frames:
    """Read frames from nearly anything.

    Args:
        source: A video file, a folder of images (natural order), one image file, a glob pattern
            for images or one video, a list of image files (in the order given), an array
            (frame, height, width, 3), or a torch tensor like that or (frame, 3, height, width);
            uint8, uint16 or float in [0, 1].
        selection: Which frames; at most 24 evenly spaced ones unless it is given.
        one_size: Image files of one aspect are brought to the size of the first, others refused.
            False leaves every image as it is (`Frames.sizes_hw`).
        times_s: When images were taken, in seconds, one value for each of the source's (or of those
            used), NaN where that is not known; or a text file of them (`data.times`).
        ignore_masks: A folder of images, not zero where a frame is to be ignored (`data.masks`).
        small: Keeps what lies between the frames of a video as it is decoded (`data.between`).

    Raises:
        ConfigError: The selection does not fit the source.
        InputError: The source, or what was given with it, is missing, empty, damaged or of another
            kind; the message is one line that says what was found, what was wanted and what to do.
    """
    frames = _read(source, selection or FrameSelection(), one_size, small)
    frames = replace(frames, identity=_identity(source))
    if times_s is not None:
        if frames.from_video:
            raise InputError(
                f"{frames.name} is a video, which has times of its own; leave out --times, which "
                "is for images"
            )
        index = frames.source_frame_index
        given = frame_times(times_s, index=index, source_count=frames.source_count)
        frames = replace(frames, timestamps_s=given)
    if ignore_masks is not None:
        ignore = read_ignore_masks(
            Path(ignore_masks),
            file_names=frames.file_names,
            index=frames.source_frame_index,
            source_count=frames.source_count,
            picture_hw=frames.picture_hw,
        )
        frames = replace(frames, ignore=ignore)
    return frames


def _identity(source: Any) -> str | None:
    """What tells the files of a source apart; None for arrays."""
    if hasattr(source, "__array__"):
        return None
    given = [source] if isinstance(source, str | os.PathLike) else source
    return identity_of([file for item in given for file in expand_pattern(Path(item))])


def _read(
    source: Any, selection: FrameSelection, one_size: bool, small: SmallPictures | None
) -> Frames:
    """Frames of any source."""
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), selection, one_size, small)
    if hasattr(source, "__array__"):
        return _from_array(array_of(source), selection)
    if isinstance(source, Sequence) and all(isinstance(item, str | os.PathLike) for item in source):
        paths = [Path(item) for item in source]
        if len(paths) == 1:
            return _from_path(paths[0], selection, one_size, small)
        return _from_image_files(paths, selection, one_size, name=_folder_name(paths))
    raise InputError(
        f"source is a {type(source).__name__}; give the path of a video or folder, a list of image "
        "files, or an array (frame, height, width, 3)"
    )


def expand_pattern(path: Path) -> list[Path]:
    """Files matching a glob pattern in natural order, or the path itself if it is no pattern.

    Raises:
        InputError: It is neither there nor a pattern, or a pattern that nothing matches.
    """
    if os.path.exists(path):
        return [path]
    if _ADDRESS.match(str(path)):
        raise InputError(f"{path} is an address, and nothing is fetched; download the file first")
    if not glob.has_magic(str(path)):
        raise InputError(f"{path} does not exist; give a video, a folder or image files")
    matches = natural_order([Path(match) for match in glob.glob(str(path))]).paths
    if not matches:
        raise InputError(f"no file matches {path}; check the pattern")
    return matches


def _from_path(
    path: Path, selection: FrameSelection, one_size: bool, small: SmallPictures | None
) -> Frames:
    """Frames of a folder, an image, a video or a pattern."""
    matches = expand_pattern(path)
    if len(matches) > 1:
        frames = _from_image_files(matches, selection, one_size, name=_folder_name(matches))
        return _with_notes(frames, natural_order(matches).remark)
    path = matches[0]
    if path.is_dir():
        found = images_in_folder(path)
        name = path.resolve().name or "scene"
        frames = _from_image_files(found, selection, one_size, name=name)
        elsewhere = found[0].parent != path
        taken = f"images taken from {found[0].parent}" if elsewhere else None
        return _with_notes(frames, taken, natural_order(found).remark)
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder; give a video, folder or images")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read; change its permissions")
    if is_image_path(path):
        several = sequence_in(path)
        if several is not None:
            return _from_sequence(path, several, selection)
        return _from_image_files([path], selection, one_size, name=path.stem)
    return _from_video(path, selection, small)


def _with_notes(frames: Frames, *lines: str | None) -> Frames:
    """Frames with lines before their note."""
    notes = [line for line in (*lines, frames.note) if line]
    return replace(frames, note="; ".join(notes) or None)


def _from_sequence(path: Path, several: PictureSequence, selection: FrameSelection) -> Frames:
    """Frames of an image file that holds several pictures."""
    count = len(several.pages)
    if several.times_s is None:
        index = selection.choose_without_times(count)
        times_s = index.astype(np.float64)
    else:
        index = selection.choose(several.times_s)
        times_s = several.times_s[index]
    images = np.empty((0, 1, 1, 3), dtype=np.uint8)
    for place, picture in enumerate(pictures_in(path, several, index.tolist())):
        if not place:
            require_room(len(index), picture.shape[:2])
            images = np.empty((len(index), *picture.shape), dtype=np.uint8)
        images[place] = picture
    frames = Frames(
        images=images,
        timestamps_s=times_s,
        source_frame_index=index,
        name=path.stem,
        note=selection.note(index, count),
        source_count=count,
        from_video=several.times_s is not None,
    )
    return _with_notes(frames, several.remark)


def _from_video(path: Path, selection: FrameSelection, small: SmallPictures | None) -> Frames:
    """Frames of a video file."""
    from dynapoint.data.video import read_video  # noqa: PLC0415 - pictures do without FFmpeg.

    video = read_video(path, selection, small)
    selected = selection.note(video.source_frame_index, video.readable_count)
    notes = [*video.remarks, *([selected] if selected else [])]
    return Frames(
        images=video.images,
        timestamps_s=video.timestamps_s,
        source_frame_index=video.source_frame_index,
        name=path.stem,
        note="; ".join(notes) or None,
        source_count=video.readable_count,
        from_video=True,
    )


def _from_image_files(
    paths: Sequence[Path], selection: FrameSelection, one_size: bool, *, name: str
) -> Frames:
    """Frames of image files; only the chosen ones are read."""
    if not paths:
        raise InputError("the list of image files is empty; give at least one")
    for path in paths:
        if not is_image_path(path):
            kind = "folder" if path.is_dir() else "file"
            raise InputError(
                f"{kind} {path} stands in a list of images but is none; "
                "give image files only, or one video or folder at a time"
            )
        if not os.path.exists(path):
            raise InputError(f"image {path} does not exist; check the list of image files")
    index = selection.choose_without_times(len(paths))
    chosen = [paths[each] for each in index]
    found = of_one_size(chosen) if one_size else on_one_canvas(chosen)
    frames = Frames(
        images=found.images,
        sizes_hw=found.sizes_hw,
        given_hw=found.given_hw,
        timestamps_s=index.astype(np.float64),
        source_frame_index=index,
        name=name,
        note=selection.note(index, len(paths)),
        source_count=len(paths),
        file_names=tuple(path.name for path in chosen),
    )
    return _with_notes(frames, *found.remarks)


def array_of(source: Any) -> np.ndarray:
    """An array or a torch tensor as an array, channels last."""
    if not hasattr(source, "detach"):
        return np.asarray(source)
    tensor = source.detach().cpu()
    # NumPy knows no bfloat16.
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.moveaxis(array, 1, -1) if array.ndim == 4 and array.shape[1] == 3 else array


def _from_array(array: np.ndarray, selection: FrameSelection) -> Frames:
    """Frames of an array (frame, height, width, 3), uint8, uint16 or float in [0, 1]."""
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise InputError(
            f"array has shape {array.shape}; give (frame, height, width, 3) with none of them zero "
            "(a torch tensor may have its channels second)"
        )
    if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"array holds {array.dtype}; give uint8, uint16, or floats from 0 to 1")
    index = selection.choose_without_times(len(array))
    if np.issubdtype(array.dtype, np.floating):
        low = float(np.min([array[each].min() for each in index]))
        high = float(np.max([array[each].max() for each in index]))
        # Written so that NaN, which compares false with everything, is refused as well.
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            raise InputError(
                f"array of floats holds values from {low:.4g} to {high:.4g}; "
                "give floats from 0 to 1, or uint8"
            )
    require_room(len(index), array.shape[1:3])
    images = np.empty((len(index), *array.shape[1:]), dtype=np.uint8)
    # One after another: it may be mapped from a file, and floats take several times as much.
    for place, each in zip(images, index, strict=True):
        place[:] = to_8_bits(array[each])
    return Frames(
        images=images,
        timestamps_s=index.astype(np.float64),
        source_frame_index=index,
        name="array",
        note=selection.note(index, len(array)),
        source_count=len(array),
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
