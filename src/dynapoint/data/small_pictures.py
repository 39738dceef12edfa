"""Small grey pictures of all that lies between the frames used, kept as a source goes by."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from dynapoint.data.video_picture import PictureStyle

LONGER_SIDE_PX = 224
MOST_PICTURES = 720
"""As many as half a minute of video shows; 24 frames of 30 s then have all of what lies between."""


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
            size_wh = small_size(style.shown_wh, self.longer_side)
            self.pictures[index] = style.small_grey(frame, size_wh)
            self.times_s[index] = time_s

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
        places = np.linspace(first, last, count + 2)[1:]
        kept.append(np.round(places).astype(np.int64))
    return np.concatenate(kept)
