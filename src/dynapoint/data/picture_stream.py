"""The pictures of image files and arrays one after another."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dynapoint.data.between import has_values, shrunk_like
from dynapoint.data.frames import choose_of_sequence
from dynapoint.data.images import read_image
from dynapoint.data.names import readable
from dynapoint.data.picture_files import FirstSize
from dynapoint.data.picture_sequences import pictures_in
from dynapoint.data.small_pictures import evenly_between
from dynapoint.data.sources import ImageFiles, PictureArray, SequenceFile, to_8_bits
from dynapoint.data.streamed import Beside, FrameStream, SmallBetween, StreamedFrame, StreamRequest
from dynapoint.errors import InputError

_Picture = UInt8[np.ndarray, "height width rgb=3"]


class PictureStream(FrameStream):
    """Pictures whose number is known; of those between the ones used some are read as well."""

    def __init__(
        self,
        request: StreamRequest,
        *,
        name: str,
        index: Int64[np.ndarray, " frame"],
        source_count: int,
        times_s: Float64[np.ndarray, " frame"] | None = None,
        file_names: Sequence[str] | None = None,
        identity: str | None = None,
    ) -> None:
        from_video = times_s is not None
        super().__init__(request, name=name, from_video=from_video, identity=identity)
        self.frame_count, self.source_count = len(index), source_count
        self._index = index
        self._file_names = file_names
        self._beside = Beside(
            request,
            name=self.name,
            from_video=from_video,
            own_times_s=index.astype(np.float64) if times_s is None else times_s,
            index=index,
            source_count=source_count,
            file_names=file_names,
        )

    def _lines(self) -> Sequence[str]:
        """What is to be said of the source, then the selection."""
        selected = self._request.selection.note(len(self._index), self.source_count)
        return (*self._said(), *([selected] if selected else []))

    def _said(self) -> Sequence[str]:
        """Lines about the source."""
        return ()

    def _frames(self, start: int) -> Iterator[StreamedFrame]:
        """The pictures used behind the first `start`, with what lies between."""
        numbers = range(start, len(self._index))
        self._begin(start, [each for number in numbers for each in self._around(number)])
        for number in numbers:
            *before, index = self._around(number)
            between = [small for each in before if (small := self._small_between(number, each))]
            yield self._frame(number, index, tuple(between))

    def _around(self, number: int) -> list[int]:
        """Numbers of the pictures between the frame used before and one, and its own."""
        index = int(self._index[number])
        if not number or not self._beside.followed_by_next(number - 1):
            return [index]
        before = int(self._index[number - 1])
        return [*evenly_between(before, index, self._request.most_between).tolist(), index]

    def _frame(self, number: int, index: int, between: tuple[SmallBetween, ...]) -> StreamedFrame:
        """A picture that is used."""
        image = self._picture(index)
        return StreamedFrame(
            image=image,
            timestamp_s=float(self._beside.times_s[number]),
            source_index=index,
            number=number,
            file_name=None if self._file_names is None else readable(self._file_names[number]),
            ignore=self._beside.ignore(number, (image.shape[0], image.shape[1])),
            between=between,
            small=self._small.shrunk(image) if self._request.most_between else None,
            given_hw=self._given_hw(),
        )

    def _small_between(self, number: int, index: int) -> SmallBetween | None:
        """The small picture between a frame used and the one before; None if it is of no use."""
        picture = self._picture_between(index)
        if picture is None:
            return None
        image_hw = self.image_hw or (picture.shape[0], picture.shape[1])
        small = shrunk_like(picture, self._small, image_hw)
        if small is None:
            return None
        return SmallBetween(picture=small, source_index=index, time_s=self._time_s(number, index))

    def _time_s(self, number: int, index: int) -> float:
        """When a picture between a frame used and the one before is shown: by their numbers."""
        around = slice(number - 1, number + 1)
        return float(np.interp(index, self._index[around], self._beside.times_s[around]))

    def _begin(self, start: int, numbers: Sequence[int]) -> None:
        """Get ready to read pictures by these numbers of the source, ascending."""

    @abstractmethod
    def _picture(self, index: int) -> _Picture:
        """A picture that is used, by its number in the source."""

    @abstractmethod
    def _picture_between(self, index: int) -> _Picture | None:
        """One that is not; None if it cannot be read, which is no reason to give up on others."""

    def _given_hw(self) -> tuple[int, int] | None:
        """How high and wide the picture read last is in its file, where that can be another."""
        return None


class ImageFileStream(PictureStream):
    """Image files of one aspect at the size of the first.

    The heads of all that are used are looked at before, so that one that cannot be used is refused
    at once.

    Raises:
        ConfigError: The selection is in seconds.
        InputError: The masks or times do not fit; while frames come, a file cannot be read or has
            another aspect than the first.
    """

    def __init__(self, files: ImageFiles, request: StreamRequest, *, identity: str | None) -> None:
        count = len(files.paths)
        index = request.selection.choose_without_times(count)
        super().__init__(
            request,
            name=files.name,
            index=index,
            source_count=count,
            file_names=[files.paths[each].name for each in index],
            identity=identity,
        )
        self._files = files
        self._reader = FirstSize()
        self._first: _Picture | None = None

    def _said(self) -> Sequence[str]:
        """Where the files were found, and what was done to their pictures."""
        return (*self._files.remarks, *self._reader.remarks)

    def _begin(self, start: int, numbers: Sequence[int]) -> None:
        """Read the first picture and look at the heads of the others."""
        first, *others = (self._files.paths[each] for each in self._index)
        self._first = self._reader.read(first)
        self.image_hw = (self._first.shape[0], self._first.shape[1])
        for number, path in enumerate(others, 1):
            self._reader.check(path, skipped=number < start)

    def _picture(self, index: int) -> _Picture:
        """A picture at the size of the first one, which has been read."""
        first, self._first = self._first, None
        if first is not None and index == self._index[0]:
            return first
        return self._reader.read(self._files.paths[index])

    def _picture_between(self, index: int) -> _Picture | None:
        """One as it is in its file."""
        try:
            return read_image(self._files.paths[index])
        except InputError:
            return None

    def _given_hw(self) -> tuple[int, int] | None:
        """How high and wide the picture read last is in its file."""
        return self._reader.last_hw


class SequenceStream(PictureStream):
    """The pictures of an image file that holds several.

    Raises:
        ConfigError: The selection is in seconds, and the pictures have no times.
        InputError: The masks or times do not fit; while frames come, the file is damaged.
    """

    def __init__(self, file: SequenceFile, request: StreamRequest, *, identity: str | None) -> None:
        index, times_s = choose_of_sequence(file.several, request.selection)
        super().__init__(
            request,
            name=file.path.stem,
            index=index,
            source_count=len(file.several.pages),
            times_s=None if file.several.times_s is None else times_s,
            identity=identity,
        )
        self._file = file
        self._coming: Iterator[_Picture] = iter(())

    def _said(self) -> Sequence[str]:
        """Which pages were left out."""
        return () if self._file.several.remark is None else (self._file.several.remark,)

    def _begin(self, start: int, numbers: Sequence[int]) -> None:
        """Such files are read from the front to the back."""
        self._coming = pictures_in(self._file.path, self._file.several, numbers)

    def _picture(self, index: int) -> _Picture:
        """The next one."""
        return next(self._coming)

    def _picture_between(self, index: int) -> _Picture | None:
        """The next one."""
        return next(self._coming)

    def _time_s(self, number: int, index: int) -> float:
        """When a picture between two frames used is shown: as the file says it."""
        own = self._file.several.times_s
        return super()._time_s(number, index) if own is None else float(own[index])

    def close(self) -> None:
        """Close the file."""
        super().close()
        close = getattr(self._coming, "close", None)
        if close is not None:
            close()


class ArrayStream(PictureStream):
    """Pictures of an array, which may be mapped from a file.

    Raises:
        ConfigError: The selection is in seconds.
        InputError: The masks or times do not fit; while frames come, values are out of range.
    """

    def __init__(self, array: PictureArray, request: StreamRequest) -> None:
        index = request.selection.choose_without_times(array.count)
        super().__init__(request, name="array", index=index, source_count=array.count)
        self.image_hw = array.image_hw
        self._array = array

    def _picture(self, index: int) -> _Picture:
        """A picture of its own, whatever becomes of the array."""
        return np.array(self._array.checked(index), order="C")

    def _picture_between(self, index: int) -> _Picture | None:
        """The same, if its values are numbers."""
        given = self._array.given(index)
        return to_8_bits(given) if has_values(given) else None
