"""All pictures of a source between the frames used, small and grey, to follow points through."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8

from dynapoint.data.frames import Frames
from dynapoint.data.images import images_in_folder, is_image_path, read_image, same_aspect
from dynapoint.data.names import readable
from dynapoint.data.picture_sequences import PictureSequence, pictures_in, sequence_in
from dynapoint.data.small_pictures import SmallPictures, indices_between, small_size
from dynapoint.data.sources import PictureArray, expand_pattern, to_8_bits
from dynapoint.errors import InputError

_Picture = UInt8[np.ndarray, "height width rgb=3"]
_Found = dict[int, UInt8[np.ndarray, "height width"]]
_Reader = Callable[[int], _Picture | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Between:
    """Small grey pictures of a source from its first to its last used frame.

    Attributes:
        pictures: As people see them, in the order of the source; all of one size.
        source_index: Which frame of the source each one is, from 0.
        times_s: When each is shown, as `Frames.timestamps_s` says it; pictures that are no video's
            have their times by their numbers from those of the used frames.
        used: Where the used frames stand among them.
        in_order: Whether points can be followed from picture to picture. False for pictures
            without an order in time, such as several cameras at one moment or photographs of
            different sizes; then the used frames alone are here.
    """

    pictures: UInt8[np.ndarray, "picture height width"]
    source_index: Int64[np.ndarray, " picture"]
    times_s: Float64[np.ndarray, " picture"]
    used: Int64[np.ndarray, " frame"]
    in_order: bool

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return len(self.pictures)


def load_between(source: Any, frames: Frames, small: SmallPictures | None = None) -> Between:
    """The pictures between the frames that `load_frames` took from a source.

    Memory: the pictures, at most `small.most` (or as many as frames are used) of
    `small.longer_side`² bytes each, twice for a moment, and one picture of the source at its size.

    Args:
        source: What `load_frames` was given. Where it cannot be read again, or is no longer what it
            was, the used frames alone are returned.
        frames: What it gave.
        small: How large the pictures are and how many; a new one for each source. If `load_frames`
            was given the same, what it kept of a video is taken and nothing is decoded again.
    """
    small = small or SmallPictures()
    in_order = _in_order(frames)
    found = None
    if in_order and frames.count > 1:
        several = None if frames.file_names else _sequence_of(source)
        if several is not None:
            found = _of_sequence(*several, frames, small)
        elif frames.from_video:
            found = _of_video(source, frames, small)
        else:
            found = _of_pictures(source, frames, small)
    if found is None:
        found = dict(_own(frames, small))
    index = np.array(sorted(found), dtype=np.int64)
    return Between(
        pictures=np.stack([found[each] for each in index.tolist()]),
        source_index=index,
        times_s=_times_s(frames, index, small),
        used=np.searchsorted(index, frames.source_frame_index).astype(np.int64),
        in_order=in_order,
    )


def _in_order(frames: Frames) -> bool:
    """Whether the frames follow each other in time, and are pictures of one size."""
    # Written so that NaN, a time that is not known, is no order.
    later = bool((np.diff(frames.timestamps_s) > 0).all())
    return later and frames.sizes_hw is None


def _own(
    frames: Frames, small: SmallPictures
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width"]]]:
    """The used frames alone, by their numbers among the source's."""
    for index, image in zip(frames.source_frame_index.tolist(), frames.images, strict=True):
        yield index, small.shrunk(image)


def _of_video(source: Any, frames: Frames, small: SmallPictures) -> _Found | None:
    """Pictures of a video, decoded again unless they were kept before; None if it has changed."""
    from dynapoint.data.video import look_again  # noqa: PLC0415 - pictures do without FFmpeg.

    used = frames.source_frame_index.tolist()
    if not small.pictures.keys() >= set(used):
        try:
            look_again(expand_pattern(Path(_only(source)))[0], used, small)
        except (InputError, OSError, TypeError):
            return None
    return small.pictures if small.pictures.keys() >= set(used) else None


def _sequence_of(source: Any) -> tuple[Path, PictureSequence] | None:
    """The image file of several pictures that a source names, if it is one."""
    try:
        path = expand_pattern(Path(_only(source)))[0]
        several = sequence_in(path) if is_image_path(path) else None
    except (InputError, OSError, TypeError, IndexError):
        return None
    return None if several is None else (path, several)


def _of_sequence(
    path: Path, several: PictureSequence, frames: Frames, small: SmallPictures
) -> _Found | None:
    """Pictures of an image file that holds several; None if it is no longer what it was."""
    if len(several.pages) != frames.source_count:
        return None
    numbers = indices_between(frames.source_frame_index.tolist(), small.most).tolist()
    try:
        found = {
            number: small.shrunk(picture)
            for number, picture in zip(numbers, pictures_in(path, several, numbers), strict=True)
        }
    except InputError:
        return None
    if several.times_s is not None:
        small.times_s = dict(enumerate(several.times_s.tolist()))
    return found


def _of_pictures(source: Any, frames: Frames, small: SmallPictures) -> _Found | None:
    """Pictures of image files or an array; None if the source is no longer what it was."""
    used = frames.source_frame_index
    read = _reader_of_files(source, frames) if frames.file_names else _reader_of_array(source)
    if read is None:
        return None
    found = dict(_own(frames, small))
    for index in indices_between(used.tolist(), small.most).tolist():
        picture = None if index in found else read(index)
        shrunk = None if picture is None else shrunk_like(picture, small, frames.image_hw)
        # One that cannot be read, or has another shape, is no reason to give up on the others.
        if shrunk is not None:
            found[index] = shrunk
    return found


def shrunk_like(
    picture: _Picture, small: SmallPictures, image_hw: tuple[int, int]
) -> UInt8[np.ndarray, "small_height small_width"] | None:
    """A small picture as large as that of a frame; None if it has another aspect."""
    if not same_aspect(picture.shape[:2], image_hw):
        return None
    shrunk = small.shrunk(picture)
    size_wh = small_size(image_hw[::-1], small.longer_side)
    return shrunk if shrunk.shape[::-1] == size_wh else cv2.resize(shrunk, size_wh)


def _reader_of_files(source: Any, frames: Frames) -> _Reader | None:
    """What reads the picture of a number from the files that a source names."""
    try:
        paths = _image_files(source)
    except (InputError, OSError, TypeError):
        return None
    index = frames.source_frame_index
    if len(paths) <= index[-1] or frames.file_names != tuple(
        readable(paths[each].name) for each in index
    ):
        return None

    def read(number: int) -> _Picture | None:
        try:
            return read_image(paths[number])
        except InputError:
            return None

    return read


def _reader_of_array(source: Any) -> _Reader | None:
    """What takes the picture of a number from an array."""
    if not hasattr(source, "__array__"):
        return None
    try:
        array = PictureArray(source)
    except InputError:
        return None

    def read(number: int) -> _Picture | None:
        picture = array.given(number) if number < array.count else None
        return None if picture is None or not has_values(picture) else to_8_bits(picture)

    return read


def has_values(picture: Shaped[np.ndarray, "height width rgb=3"]) -> bool:
    """Whether all values of a picture are numbers."""
    return picture.dtype in (np.uint8, np.uint16) or bool(np.isfinite(picture).all())


def _image_files(source: Any) -> list[Path]:
    """The image files that a source names, as `load_frames` counts them."""
    if isinstance(source, Sequence) and not isinstance(source, str) and len(source) > 1:
        return [Path(each) for each in source]
    paths = expand_pattern(Path(_only(source)))
    return images_in_folder(paths[0]) if len(paths) == 1 and paths[0].is_dir() else paths


def _only(source: Any) -> Any:
    """The one item of a list, or what is no list as it is."""
    return source if isinstance(source, str | os.PathLike) else source[0]


def _times_s(
    frames: Frames, index: Int64[np.ndarray, " picture"], small: SmallPictures
) -> Float64[np.ndarray, " picture"]:
    """Times of the pictures: a video's own, else by their numbers from those of the used frames."""
    used = frames.source_frame_index
    if len(index) == len(used):
        return frames.timestamps_s
    own = np.array([small.times_s.get(each, np.nan) for each in index.tolist()])
    own += frames.timestamps_s[0] - own[0]
    agree = np.allclose(own[np.searchsorted(index, used)], frames.timestamps_s, atol=1e-3)
    if frames.from_video and agree and (np.diff(own) > 0).all():
        return own
    return np.interp(index, used, frames.timestamps_s)
