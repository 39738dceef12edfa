"""Small grey pictures of all that lies between the frames used, kept as a source goes by."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from dynapoint.data.video_picture import PictureStyle

LONGER_SIDE_PX = 224
MOST_PICTURES = 720
"""As many as half a minute of video shows; 24 frames of 30 s then have all of what lies between."""
MOST_BETWEEN = 29
"""Between two frames of a stream; 24 frames in a row then have fewer than `MOST_PICTURES`."""

_Item = TypeVar("_Item")


class SmallPictures:
    """Keeps small grey pictures of the frames from the first to the last one used.

    Handed to `data.frames.load_frames` it is shown every frame of a video while that is decoded
    anyway. No picture is held at full size; small ones take at most `longer_side`² bytes each,
    36 MB for the default number of them.

    Attributes:
        longer_side: Of the pictures kept, in pixels; smaller ones stay as they are.
        most: How many pictures are kept; of more, evenly spaced ones between each two used frames.
            The used frames themselves are kept even where they alone are more.
        pictures: The pictures kept, by the index of the source's frame.
        times_s: When they are shown in seconds since the video's first frame.
    """

    def __init__(self, *, longer_side: int = LONGER_SIDE_PX, most: int = MOST_PICTURES) -> None:
        self.longer_side = longer_side
        self.most = most
        self.pictures: dict[int, UInt8[np.ndarray, "height width"]] = {}
        self.times_s: dict[int, float] = {}
        self._wanted: frozenset[int] = frozenset()

    def begin(self, used: Sequence[int]) -> None:
        """Forget all, and wait for what lies between these frames of a source."""
        self.pictures, self.times_s = {}, {}
        self._wanted = frozenset(indices_between(used, self.most).tolist())

    def look(self, index: int, frame: Any, style: PictureStyle, time_s: float) -> None:
        """Keep the small picture of a decoded frame of a video if it is wanted."""
        if index in self._wanted:
            self.pictures[index] = self.shrunk_frame(frame, style)
            self.times_s[index] = time_s

    def shrunk_frame(self, frame: Any, style: PictureStyle) -> UInt8[np.ndarray, "height width"]:
        """A decoded frame of a video in the size and grey of those that are kept."""
        return style.small_grey(frame, small_size(style.shown_wh, self.longer_side))

    def shrunk(
        self, picture: UInt8[np.ndarray, "height width rgb=3"]
    ) -> UInt8[np.ndarray, "small_height small_width"]:
        """A picture in the size and grey of those that are kept."""
        size = small_size((picture.shape[1], picture.shape[0]), self.longer_side)
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def small_size(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    """Two sides of a picture, in either order, brought down to a longer side where it is longer."""
    scale = min(1.0, longer_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def indices_between(used: Sequence[int], most: int) -> Int64[np.ndarray, " picture"]:
    """Indices of the used frames and of evenly spaced ones between them, `most` or fewer in all.

    Args:
        used: Strictly increasing.
        most: The used ones stay even where they are more.
    """
    between = used[-1] - used[0] + 1 - len(used) if len(used) else 0
    share = min(1.0, max(most - len(used), 0) / max(between, 1))
    kept = [np.asarray(used[:1], dtype=np.int64)]
    for first, last in pairwise(used):
        count = int((last - first - 1) * share + 1e-9)
        kept.append(np.append(evenly_between(first, last, count), last))
    return np.concatenate(kept)


def evenly_between(first: int, last: int, most: int) -> Int64[np.ndarray, " between"]:
    """At most so many evenly spaced whole numbers between two, neither of which is among them."""
    count = max(0, min(last - first - 1, most))
    return np.round(np.linspace(first, last, count + 2)[1:-1]).astype(np.int64)


class Thinned(Generic[_Item]):
    """Evenly spaced ones of items that come one after another, nobody knowing how many will.

    Args:
        most: How many are given at once; twice as many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin: int | None = None
        self._step = 1
        self._kept: list[tuple[int, _Item]] = []

    def offer(self, number: int, make: Callable[[], _Item]) -> None:
        """Keep an item by its number, which increases; it is made only if it is kept."""
        if self._begin is None:
            self._begin = number
        if self._most and (number - self._begin) % self._step == 0:
            self._kept.append((number, make()))
        if len(self._kept) > 2 * self._most:
            self._step *= 2
            self._kept = self._kept[::2]

    def take(self, number: int) -> tuple[_Item, ...]:
        """What was kept before a number, evenly spaced; all up to that number is forgotten."""
        before = [item for each, item in self._kept if each < number]
        self._kept = [(each, item) for each, item in self._kept if each > number]
        self._begin, self._step = number + 1, 1
        return tuple(before[each] for each in evenly_between(-1, len(before), self._most))
