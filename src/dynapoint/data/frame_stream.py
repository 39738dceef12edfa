"""Any source as a stream of frames, and the frames of a window of it."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dynapoint.data.arriving import PicturesArriving
from dynapoint.data.between import Between
from dynapoint.data.frames import Frames
from dynapoint.data.picture_stream import ArrayStream, ImageFileStream, SequenceStream
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import MOST_BETWEEN, SmallPictures
from dynapoint.data.sources import (
    ImageFiles,
    PictureArray,
    SequenceFile,
    source_identity,
    source_of,
)
from dynapoint.data.streamed import FrameStream, SmallBetween, StreamedFrame, StreamRequest

__all__ = [
    "FrameStream",
    "SmallBetween",
    "StreamedFrame",
    "between_of",
    "frames_of",
    "open_stream",
]


def open_stream(
    source: Any,
    selection: FrameSelection | None = None,
    *,
    times_s: ArrayLike | Path | None = None,
    ignore_masks: Path | str | None = None,
    most_between: int = MOST_BETWEEN,
) -> FrameStream:
    """Read frames from nearly anything, one after another, in bounded memory.

        with open_stream("walk.mp4", FrameSelection.every()) as stream:
            for frame in stream:
                print(frame.timestamp_s, frame.image.shape)

    Of what `data.frames.load_frames` reads, the frames, times, numbers, name, identity and note are
    the same. Beside these there are sources that come as they come, with `frame_count` None:

    - "-" is a video on standard input, as `ffmpeg -f matroska -` or `-f mpegts -` writes it; so is
      a named pipe, and any object with a method `read` that gives bytes;
    - "camera:0" or "/dev/video0" is a camera on Linux;
    - an iterator gives pictures (arrays or tensors as a source holds them) or paths of image files.

    Args:
        source: Where frames come from.
        selection: Which frames; at most 24 evenly spaced ones unless it is given. Of what comes as
            it comes there are no evenly spaced ones.
        times_s: When images were taken, as `load_frames` takes it.
        ignore_masks: A folder of masks, as `load_frames` takes it.
        most_between: Small pictures of what lies between two frames used; 0 for none.

    Raises:
        ConfigError: The selection, or what was given besides, does not fit the source.
        InputError: The source is missing, empty, or of another kind. What is damaged is told when
            it is reached.
    """
    request = StreamRequest(
        selection=selection or FrameSelection(),
        times_s=times_s,
        ignore_masks=None if ignore_masks is None else Path(ignore_masks),
        most_between=most_between,
    )
    arriving = _arriving(source, request)
    if arriving is not None:
        return arriving
    found = source_of(source)
    identity = source_identity(source)
    if isinstance(found, PictureArray):
        return ArrayStream(found, request)
    if isinstance(found, ImageFiles):
        return ImageFileStream(found, request, identity=identity)
    if isinstance(found, SequenceFile):
        return SequenceStream(found, request, identity=identity)
    from dynapoint.data.video_stream import VideoStream  # noqa: PLC0415 - as in `frames`.

    return VideoStream(found.path, request, identity=identity)


def _arriving(source: Any, request: StreamRequest) -> FrameStream | None:
    """A source that comes as it comes; None for others."""
    from dynapoint.data.live import open_live  # noqa: PLC0415 - as in `frames`.

    live = open_live(source, request)
    if live is not None:
        return live
    held = (str, os.PathLike, Sequence, Mapping, Set)
    if isinstance(source, held) or hasattr(source, "__array__"):
        return None
    return PicturesArriving(source, request) if isinstance(source, Iterable) else None


def frames_of(streamed: Sequence[StreamedFrame], stream: FrameStream) -> Frames:
    """Some frames of a stream, such as those of a window, as `load_frames` would give them.

    Memory: their images once more.

    Args:
        streamed: One or more of them, in the order of the stream.
        stream: Where they come from; the note is that of now.
    """
    image_hw = streamed[0].image.shape[:2]
    given = np.array([frame.given_hw or image_hw for frame in streamed], dtype=np.int64)
    names = [frame.file_name for frame in streamed if frame.file_name is not None]
    ignore = [frame.ignore for frame in streamed if frame.ignore is not None]
    return Frames(
        images=np.stack([frame.image for frame in streamed]),
        timestamps_s=np.array([frame.timestamp_s for frame in streamed], dtype=np.float64),
        source_frame_index=np.array([frame.source_index for frame in streamed], dtype=np.int64),
        name=stream.name,
        note=stream.note,
        given_hw=given if (given != image_hw).any() else None,
        source_count=stream.source_count,
        file_names=tuple(names) if len(names) == len(streamed) else None,
        from_video=stream.from_video,
        ignore=np.stack(ignore) if len(ignore) == len(streamed) else None,
        identity=stream.identity,
    )


def between_of(streamed: Sequence[StreamedFrame]) -> Between:
    """What lies between some frames of a stream, as `data.between.load_between` gives it.

    Where two frames do not follow each other in the stream, as where a window of two places of a
    clip goes from the one to the other, nothing lies between them.

    Args:
        streamed: One or more frames, in the order of the stream.
    """
    times_s = np.array([frame.timestamp_s for frame in streamed], dtype=np.float64)
    # Written so that NaN, a time that is not known, is no order.
    in_order = bool((np.diff(times_s) > 0).all())
    shrunk = SmallPictures().shrunk
    pictures, used = list[SmallBetween](), list[int]()
    before = None
    for frame in streamed:
        if in_order and before is not None and frame.number == before + 1:
            pictures.extend(frame.between)
        used.append(len(pictures))
        own = shrunk(frame.image) if frame.small is None else frame.small
        pictures.append(
            SmallBetween(picture=own, source_index=frame.source_index, time_s=frame.timestamp_s)
        )
        before = frame.number
    return Between(
        pictures=np.stack([each.picture for each in pictures]),
        source_index=np.array([each.source_index for each in pictures], dtype=np.int64),
        times_s=np.array([each.time_s for each in pictures], dtype=np.float64),
        used=np.array(used, dtype=np.int64),
        in_order=in_order,
    )
