"""Frames one after another: what each of them is, and what all sources of them have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from numpy.typing import ArrayLike

from dynapoint.data.frames import refuse_times_of_videos
from dynapoint.data.masks import masks_of_frames, read_mask
from dynapoint.data.names import readable
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import MOST_BETWEEN, SmallPictures
from dynapoint.data.times import frame_times
from dynapoint.errors import ConfigError


@dataclass(frozen=True, kw_only=True, eq=False)
class SmallBetween:
    """A small grey picture of a source's frame that is not used itself.

    Attributes:
        picture: As `data.between` has it.
        source_index: Which frame of the source it is, from 0.
        time_s: When it is shown, as `Frames.timestamps_s` says it.
    """

    picture: UInt8[np.ndarray, "height width"]
    source_index: int
    time_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedFrame:
    """One frame of a stream.

    Attributes:
        image: Upright, in sRGB; all frames of a stream have one size.
        timestamp_s: When it is shown or was taken, as `Frames.timestamps_s` says it.
        source_index: Which frame of the source it is, from 0.
        number: Which of the frames used it is, from 0.
        file_name: Name of the image file, where the frames are such.
        ignore: Pixels that were masked out; None where no masks were given.
        between: What lies between the frame used before and this one, in the order of the source;
            evenly spaced ones if there are more than the stream was asked for.
        small: The frame itself in the size and grey of these; None where none were asked for.
        given_hw: How high and wide its picture is in its file, where that can be another size.
    """

    image: UInt8[np.ndarray, "height width rgb=3"]
    timestamp_s: float
    source_index: int
    number: int = 0
    file_name: str | None = None
    ignore: Bool[np.ndarray, "height width"] | None = None
    between: tuple[SmallBetween, ...] = ()
    small: UInt8[np.ndarray, "small_height small_width"] | None = None
    given_hw: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamRequest:
    """What is asked of a stream.

    Attributes:
        selection: Which frames.
        times_s: When images were taken, as `data.frames.load_frames` takes it.
        ignore_masks: A folder of masks.
        most_between: How many small pictures between two frames are given; with 0 neither these
            nor small pictures of the frames themselves are made.
    """

    selection: FrameSelection
    times_s: ArrayLike | Path | None = None
    ignore_masks: Path | None = None
    most_between: int = MOST_BETWEEN

    def __post_init__(self) -> None:
        if self.most_between < 0:
            raise ConfigError(f"most_between is {self.most_between}; give 0 or more")


class Beside:
    """What was given beside the frames of a source whose length is known: times and masks.

    Args:
        request: What is asked of the stream.
        name: Of the source.
        from_video: Whether it has times of its own.
        own_times_s: These, or the numbers of the frames.
        index: Which frame of the source each frame used is.
        source_count: How many frames the source has.
        file_names: Names of the files of the frames used, where they are such.

    Raises:
        InputError: What was given does not fit the source.
    """

    def __init__(
        self,
        request: StreamRequest,
        *,
        name: str,
        from_video: bool,
        own_times_s: Float64[np.ndarray, " frame"],
        index: Int64[np.ndarray, " frame"],
        source_count: int,
        file_names: Sequence[str] | None = None,
    ) -> None:
        self.times_s = own_times_s
        if request.times_s is not None:
            refuse_times_of_videos(name, from_video=from_video)
            self.times_s = frame_times(request.times_s, index=index, source_count=source_count)
        self._masks: list[Path] | None = None
        if request.ignore_masks is not None:
            names = None if file_names is None else tuple(map(readable, file_names))
            self._masks = masks_of_frames(
                request.ignore_masks, file_names=names, index=index, source_count=source_count
            )

    def ignore(
        self, number: int, image_hw: tuple[int, int]
    ) -> Bool[np.ndarray, "height width"] | None:
        """The mask of a frame used, by its number among these."""
        return None if self._masks is None else read_mask(self._masks[number], image_hw)

    def followed_by_next(self, number: int) -> bool:
        """Whether the next frame used is later than one, so that something lies between them."""
        # Written so that NaN, a time that is not known, is no order.
        return bool(self.times_s[number + 1] > self.times_s[number])


class FrameStream(ABC):
    """The frames of a source one after another, of which only a few are held at a time.

        with open_stream("walk.mp4", FrameSelection.every()) as stream:
            for frame in stream:
                ...

    Attributes:
        name: Short and fit for a file name.
        identity: What tells the files apart that the frames are of (`data.identity`), or None.
        from_video: Whether the times are those of a video.
        frame_count: How many frames will come; None where that is not known. A video that turns
            out to be damaged midway has fewer from then on.
        source_count: How many frames the source has, where that is known.
        image_hw: (height, width) of the frames; None before the first one.
    """

    def __init__(
        self, request: StreamRequest, *, name: str, from_video: bool, identity: str | None = None
    ) -> None:
        self.name = readable(name)
        self.identity = identity
        self.from_video = from_video
        self.frame_count: int | None = None
        self.source_count: int | None = None
        self.image_hw: tuple[int, int] | None = None
        self._request = request
        self._small = SmallPictures()
        self._running: Iterator[StreamedFrame] | None = None
        self._closed = False

    @property
    def note(self) -> str | None:
        """One line about what is left out or was done to the pictures; final after the last frame.

        It is what `Frames.note` says of the same frames.
        """
        return readable("; ".join(self._lines())) or None

    def frames(self, start: int = 0) -> Iterator[StreamedFrame]:
        """The frames used, once.

        Args:
            start: Skip so many of them. Those of videos are decoded all the same, as only that
                tells which frames are whole, but not shown: the rest and the note are those of an
                unbroken run. Image files are not read, and the note does not tell of them.

        Raises:
            ConfigError: They were asked for before, or `start` is negative.
            InputError: While they come: the source is damaged, or not what it was.
        """
        if start < 0:
            raise ConfigError(f"start is {start}; give 0 or how many frames are to be skipped")
        if self._running is not None or self._closed:
            raise ConfigError(
                f"the frames of {self.name} have been asked for before; open the stream again"
            )
        self._running = self._seen(start)
        return self._running

    def __iter__(self) -> Iterator[StreamedFrame]:
        """All frames used, once."""
        return self.frames()

    def __enter__(self) -> "FrameStream":
        """The stream itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what it reads from."""
        self.close()

    def close(self) -> None:
        """Close what it reads from; no more frames come."""
        self._closed = True
        close = getattr(self._running, "close", None)
        if close is not None:
            close()

    def _seen(self, start: int) -> Iterator[StreamedFrame]:
        """The frames, whose size is noted."""
        with closing(self._frames(start)) as frames:  # type: ignore[type-var]
            for frame in frames:
                self.image_hw = (frame.image.shape[0], frame.image.shape[1])
                yield frame

    @abstractmethod
    def _frames(self, start: int) -> Iterator[StreamedFrame]:
        """The frames used behind the first `start`."""

    @abstractmethod
    def _lines(self) -> Sequence[str]:
        """Lines of the note."""
