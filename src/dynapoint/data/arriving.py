"""Frames that come as they come, nobody knowing how many: what all such sources have in common."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dynapoint.data.between import shrunk_like
from dynapoint.data.images import read_image
from dynapoint.data.names import readable
from dynapoint.data.picture_files import FirstSize
from dynapoint.data.small_pictures import Thinned
from dynapoint.data.sources import PictureArray, check_image_file
from dynapoint.data.streamed import FrameStream, SmallBetween, StreamedFrame, StreamRequest
from dynapoint.errors import ConfigError, InputError

_Picture = UInt8[np.ndarray, "height width rgb=3"]
_Small = UInt8[np.ndarray, "small_height small_width"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrived:
    """A frame that has come, which is shown only if it is used.

    Attributes:
        number: Which frame of the source it is, from 0.
        time_s: When it is shown, in seconds since the first.
        image: Gives its picture.
        small: Gives the small picture, of the picture if that has been shown; None where it cannot
            be read.
        file_name: Name of the image file, if it is one.
        count: Counts it among those that are used where its picture is not asked for; None where
            nobody counts.
    """

    number: int
    time_s: float
    image: Callable[[], _Picture]
    small: Callable[[_Picture | None], _Small | None]
    file_name: str | None = None
    count: Callable[[], Any] | None = None

    def small_between(self) -> SmallBetween | None:
        """The small picture of a frame that may not be used."""
        picture = self.small(None)
        if picture is None:
            return None
        return SmallBetween(picture=picture, source_index=self.number, time_s=self.time_s)


class ArrivingStream(FrameStream):
    """Frames that are chosen as they come.

    Raises:
        ConfigError: Frames are to be spaced evenly, or times or masks were given.
    """

    def __init__(self, request: StreamRequest, *, name: str, from_video: bool) -> None:
        super().__init__(request, name=name, from_video=from_video)
        check_arriving(request, self.name)
        self._advice = "give a source with at least one"
        self._arrived, self._used, self._latest = 0, 0, -1
        self._finished = False

    def _lines(self) -> Sequence[str]:
        """What is to be said of the source, then the selection."""
        if not self._finished:
            return self._said()
        selected = self._request.selection.note(self._used, self.source_count)
        return (*self._said(), *([selected] if selected else []))

    def _frames(self, start: int) -> Iterator[StreamedFrame]:
        """The frames used behind the first `start`."""
        most = self._request.most_between
        thinned = Thinned[SmallBetween | None](most)
        chosen = self._request.selection.choose_as_they_come(self._looked_at(thinned))
        for _, arrived in chosen:
            between = thinned.take(arrived.number)
            number, self._used = self._used, self._used + 1
            self._latest = arrived.number
            if number < start:
                if arrived.count is not None:
                    arrived.count()
                continue
            image = arrived.image()
            yield StreamedFrame(
                image=image,
                timestamp_s=arrived.time_s,
                source_index=arrived.number,
                number=number,
                file_name=arrived.file_name,
                between=tuple(each for each in between if each is not None) if number else (),
                small=arrived.small(image) if most else None,
                given_hw=self._given_hw(),
            )
        if not self._arrived:
            raise InputError(f"{self.name} gave no frame; {self._advice}")
        self.frame_count = self._used
        self._finished = True

    def _looked_at(self, thinned: Thinned[SmallBetween | None]) -> Iterator[tuple[float, Arrived]]:
        """All frames with their times; of those that are not used at once some are kept small."""
        for arrived in self._arriving():
            self._arrived = arrived.number + 1
            yield arrived.time_s, arrived
            # Whether it is used may be known only when the next one has come.
            if self._latest != arrived.number:
                thinned.offer(arrived.number, arrived.small_between)
        self.source_count = self._arrived

    def _said(self) -> Sequence[str]:
        """Lines about the source."""
        return ()

    def _given_hw(self) -> tuple[int, int] | None:
        """How high and wide the picture shown last is in its file, where that can be another."""
        return None

    @abstractmethod
    def _arriving(self) -> Iterator[Arrived]:
        """All frames of the source, as they come."""


def check_arriving(request: StreamRequest, name: str) -> None:
    """Refuse what needs a source whose frames are known before they come.

    Raises:
        ConfigError: Frames are to be spaced evenly, or times or masks were given.
    """
    for given, words in ((request.times_s, "times were"), (request.ignore_masks, "masks were")):
        if given is not None:
            raise ConfigError(
                f"{words} given for {name}, whose frames are not known before they come; save "
                "them as a video or images first"
            )
    request.selection.refuse_evenly()


class PicturesArriving(ArrivingStream):
    """Pictures, or paths of image files, that an iterator gives.

    They count as one a second. Arrays and tensors are (height, width, 3), tensors also
    (3, height, width), in the values that `data.frames.load_frames` takes; image files are brought
    to the size of the first.

    Raises:
        ConfigError: The selection is in seconds, or of evenly spaced frames.
        InputError: While they come: one is no picture, or of another size than the first.
    """

    def __init__(self, pictures: Iterable[Any], request: StreamRequest) -> None:
        super().__init__(request, name="pictures", from_video=False)
        request.selection.refuse_seconds()
        self._pictures = pictures
        self._reader = FirstSize()
        self._last_hw: tuple[int, int] | None = None

    def _said(self) -> Sequence[str]:
        """What was done to pictures of files."""
        return self._reader.remarks

    def _given_hw(self) -> tuple[int, int] | None:
        """How high and wide the picture shown last is in its file."""
        return self._last_hw

    def _arriving(self) -> Iterator[Arrived]:
        """The pictures, read when they are shown."""
        for number, item in enumerate(self._pictures):
            path = Path(item) if isinstance(item, str | os.PathLike) else None
            yield Arrived(
                number=number,
                time_s=float(number),
                image=partial(self._shown, number, item, path),
                small=partial(self._shrunk, item, path),
                file_name=None if path is None else readable(path.name),
            )

    def _shown(self, number: int, item: Any, path: Path | None) -> _Picture:
        """A picture that is used."""
        if path is not None:
            check_image_file(path)
            picture = self._reader.read(path)
            self._last_hw = self._reader.last_hw
        else:
            picture = _of_array(item, number)
            self._last_hw = None
        hw = (picture.shape[0], picture.shape[1])
        if self.image_hw not in (None, hw):
            height, width = self.image_hw or hw
            raise InputError(
                f"picture {number} is {hw[1]}x{hw[0]} but those before are {width}x{height}; give "
                "pictures of one size"
            )
        return picture

    def _shrunk(self, item: Any, path: Path | None, shown: _Picture | None) -> _Small | None:
        """A small picture; None if it is of no use."""
        if shown is not None:
            return self._small.shrunk(shown)
        try:
            picture = _of_array(item, 0) if path is None else read_image(path)
        except InputError:
            return None
        image_hw = self.image_hw or (picture.shape[0], picture.shape[1])
        return shrunk_like(picture, self._small, image_hw)


def _of_array(item: Any, number: int) -> _Picture:
    """A picture of its own of what an iterator gave.

    Raises:
        InputError: It is none.
    """
    shape = getattr(item, "shape", None)
    if not hasattr(item, "__array__") or shape is None or len(shape) != 3:
        found = f"a {type(item).__name__}" if shape is None else f"an array of shape {tuple(shape)}"
        raise InputError(
            f"picture {number} is {found}; give (height, width, 3), or the path of an image file"
        )
    return np.array(PictureArray(item[None]).checked(0), order="C")
