"""Any source to `Frames`: a video, a folder, image files, a glob pattern or an array."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from numpy.typing import ArrayLike

from dynapoint.data.masks import read_ignore_masks
from dynapoint.data.memory import require_room
from dynapoint.data.names import readable
from dynapoint.data.picture_files import of_one_size, on_one_canvas
from dynapoint.data.picture_sequences import PictureSequence, pictures_in
from dynapoint.data.selection import FrameSelection, first_of_equal
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.data.sources import (
    ImageFiles,
    PictureArray,
    SequenceFile,
    check_range,
    source_identity,
    source_of,
)
from dynapoint.data.times import frame_times
from dynapoint.errors import InputError


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

    def own_times(self, frame: int) -> Bool[np.ndarray, " frame"]:
        """Which times are a frame's own: that of the frame, and those of frames of equal time."""
        target = self.target_of_frame
        return np.asarray(target == target[frame])


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
    frames = replace(frames, identity=source_identity(source))
    if times_s is not None:
        refuse_times_of_videos(frames.name, from_video=frames.from_video)
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


def _read(
    source: Any, selection: FrameSelection, one_size: bool, small: SmallPictures | None
) -> Frames:
    """Frames of any source."""
    found = source_of(source)
    if isinstance(found, PictureArray):
        return _from_array(found, selection)
    if isinstance(found, ImageFiles):
        return _from_image_files(found, selection, one_size)
    if isinstance(found, SequenceFile):
        return _from_sequence(found.path, found.several, selection)
    return _from_video(found.path, selection, small)


def refuse_times_of_videos(name: str, *, from_video: bool) -> None:
    """Refuse times that are given for a video.

    Raises:
        InputError: It is one.
    """
    if from_video:
        raise InputError(
            f"{name} is a video, which has times of its own; leave out --times, which is for images"
        )


def _with_notes(frames: Frames, *lines: str | None) -> Frames:
    """Frames with lines before their note."""
    notes = [line for line in (*lines, frames.note) if line]
    return replace(frames, note="; ".join(notes) or None)


def _from_sequence(path: Path, several: PictureSequence, selection: FrameSelection) -> Frames:
    """Frames of an image file that holds several pictures."""
    count = len(several.pages)
    index, times_s = choose_of_sequence(several, selection)
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
        note=selection.note(len(index), count),
        source_count=count,
        from_video=several.times_s is not None,
    )
    return _with_notes(frames, several.remark)


def _from_video(path: Path, selection: FrameSelection, small: SmallPictures | None) -> Frames:
    """Frames of a video file."""
    from dynapoint.data.video import read_video  # noqa: PLC0415 - pictures do without FFmpeg.

    video = read_video(path, selection, small)
    selected = selection.note(len(video.source_frame_index), video.readable_count)
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


def choose_of_sequence(
    several: PictureSequence, selection: FrameSelection
) -> tuple[Int64[np.ndarray, " frame"], Float64[np.ndarray, " frame"]]:
    """Indices and times of the pictures used of an image file that holds several."""
    if several.times_s is None:
        index = selection.choose_without_times(len(several.pages))
        return index, index.astype(np.float64)
    index = selection.choose(several.times_s)
    return index, several.times_s[index]


def _from_image_files(files: ImageFiles, selection: FrameSelection, one_size: bool) -> Frames:
    """Frames of image files; only the chosen ones are read."""
    index = selection.choose_without_times(len(files.paths))
    chosen = [files.paths[each] for each in index]
    found = of_one_size(chosen) if one_size else on_one_canvas(chosen)
    frames = Frames(
        images=found.images,
        sizes_hw=found.sizes_hw,
        given_hw=found.given_hw,
        timestamps_s=index.astype(np.float64),
        source_frame_index=index,
        name=files.name,
        note=selection.note(len(index), len(files.paths)),
        source_count=len(files.paths),
        file_names=tuple(path.name for path in chosen),
    )
    return _with_notes(frames, *files.remarks, *found.remarks)


def _from_array(array: PictureArray, selection: FrameSelection) -> Frames:
    """Frames of an array (frame, height, width, 3), uint8, uint16 or float in [0, 1]."""
    index = selection.choose_without_times(array.count)
    check_range(array.given(each) for each in index.tolist())
    require_room(len(index), array.image_hw)
    images = np.empty((len(index), *array.image_hw, 3), dtype=np.uint8)
    # One after another: it may be mapped from a file, and floats take several times as much.
    for place, each in zip(images, index.tolist(), strict=True):
        place[:] = array.picture(each)
    return Frames(
        images=images,
        timestamps_s=index.astype(np.float64),
        source_frame_index=index,
        name="array",
        note=selection.note(len(index), array.count),
        source_count=array.count,
    )
