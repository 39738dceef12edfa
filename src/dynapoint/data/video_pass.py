"""One way through a video, with what is made of its frames: whole ones, numbered, and shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dynapoint.data.video_decoding import decode, key_packet_before
from dynapoint.data.video_fields import WithoutCombs
from dynapoint.data.video_file import OpenVideo
from dynapoint.data.video_picture import PictureStyle
from dynapoint.data.video_timeline import PacketList, Timeline

INTERLACED = (
    "interlaced: of each frame the first of its two moments, deinterlaced by FFmpeg's bwdif"
)


class VideoPass:
    """Decodes a video once; iterating gives (index, frame) of all frames from one to another.

    They come in the order in which the decoder gives them, until all are there, the video ends, or
    one turns out to be broken. Whoever iterates to the end or closes the iterator closes the file.

    Args:
        path: The video.
        listed: Its packets.
        timeline: Its frames, by whose numbers they are known.
        first: Index of the first frame wanted.
        last: Index of the last one.
        jump: Begin at the key frame before the first frame wanted, where that can be.
        known_good: All frames of the timeline have been decoded before; none is called broken.

    Attributes:
        video: The open file.
        jumped: Whether decoding did not begin at the start.
        broken: Whether a frame was not whole.
    """

    def __init__(
        self,
        path: Path,
        listed: PacketList,
        timeline: Timeline,
        *,
        first: int,
        last: int,
        jump: bool = True,
        known_good: bool = False,
    ) -> None:
        self._index_of = {int(packet): index for index, packet in enumerate(timeline.packets)}
        self._awaited = set(range(first, last + 1))
        self._known_good = known_good
        begin = 0
        if timeline.one_clock and jump and first:
            begin = key_packet_before(listed, int(timeline.packets[first]))
        self._decoding = decode(path, listed, first_packet=begin)
        self.video: OpenVideo = self._decoding.video
        self.jumped = begin > 0
        self.broken = False
        numbers = self._index_of
        # A frame that is not whole is no neighbour to make another whole by.
        whole = ((numbers[number], frame) for number, frame in self._decoding if number in numbers)
        self._frames = WithoutCombs(whole, self.video.stream.time_base)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Decode, and give the frames wanted."""
        try:
            for index, frame in self._frames:
                if index not in self._awaited:
                    continue
                if frame.is_corrupt and not self._known_good:
                    self.broken = True
                    return
                self._awaited.discard(index)
                yield index, frame
                if not self._awaited:
                    return
        finally:
            self.video.close()

    @property
    def sound(self) -> bool:
        """Whether the decoder has refused nothing so far, and no frame was broken."""
        return not self.broken and not self._decoding.errors

    @property
    def complete(self) -> bool:
        """Whether all frames wanted came, and it is sound."""
        return self.sound and not self._awaited

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line if frames were deinterlaced."""
        return (INTERLACED,) if self._frames.combed else ()


class Showing:
    """Shows the frames of a video, all like the first one, and counts those of other sizes."""

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        self._style: PictureStyle | None = None
        self._other_sizes: dict[tuple[int, int], int] = {}

    def style_of(self, frame: Any) -> PictureStyle:
        """How frames are shown: all like the first one."""
        if self._style is None:
            self._style = PictureStyle.of(frame, self._video)
        return self._style

    def count(self, frame: Any) -> PictureStyle:
        """Count a frame that is used; gives how it is shown."""
        style = self.style_of(frame)
        size = (frame.width, frame.height)
        if size != style.coded_wh:
            self._other_sizes[size] = self._other_sizes.get(size, 0) + 1
        return style

    def picture(self, frame: Any) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture of a frame that is used."""
        return self.count(frame).picture(frame)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line on each thing that was done to the pictures."""
        if self._style is None:
            return ()
        stream = (self._video.remark,) if self._video.remark else ()
        sizes = tuple(
            f"{count} frames of {width}x{height} scaled to the first one's size"
            for (width, height), count in self._other_sizes.items()
        )
        return (*stream, *self._style.remarks, *sizes)
