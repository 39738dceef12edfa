"""Where one shot ends and the next begins: cuts, black stretches and frozen stretches of a video."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import UInt8

from dynapoint.windows.likeness import Comparison, Likeness, Look, look_of
from dynapoint.windows.spans import BeginsWith, Segment, SegmentKind

AHEAD, BEHIND = 4, 4
"""How many frames on each side of a cut are compared; shorter flashes are passed over."""
FEWEST_BLACK = 3
FEWEST_FROZEN, LEAST_FROZEN_S = 12, 1.0

# Structures and colours of `likeness.Likeness`. What they are measured on: `docs` of long clips.
_SURE = 0.2
_UNLIKE = 0.15
_SETTLED = 0.3
_OTHER_COLOURS, _SAME_COLOURS = 0.8, 0.9

# Differences of grey levels over the picture and in the worst of its blocks.
_REPEATED_MEAN, _REPEATED_BLOCK = 0.15, 2.0
_REFRESHED_MEAN, _REFRESHED_BLOCK = 2.5, 9.0
_BLOCKS = 64

_Picture: TypeAlias = UInt8[np.ndarray, "height width *rgb"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """A frame that has been seen.

    Attributes:
        look: To compare it; repeated pictures share one.
        time_s: When it is shown.
        repeats: Whether it shows the picture of the frame before.
        refreshed: Whether it may be the same picture, coded anew: videos' key frames are.
    """

    look: Look
    time_s: float
    repeats: bool
    refreshed: bool


class CutFinder:
    """Finds the segments of a video that is shown to it frame after frame.

    It keeps one picture as given and small ones of about eight frames; of a picture that may turn
    out to be frozen, no more than one for all repetitions. A frame's segment is known one frame
    later; where the picture changes at once three frames later, at the latest; of repeated pictures
    when they end or have lasted a second.
    """

    def __init__(self) -> None:
        self._comparison = Comparison()
        self._upright: bool | None = None
        self._anchor: tuple[_Picture, Look] | None = None
        self._waiting: deque[_Frame] = deque()
        self._behind: deque[Look] = deque(maxlen=BEHIND)
        self._open: Segment | None = None
        self._finished: list[Segment] = []

    @property
    def open(self) -> Segment | None:
        """What is known of the segment that goes on: `stop` is behind the last frame known so far."""
        return self._open

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments that have ended."""
        return tuple(self._finished)

    def look(
        self, picture: UInt8[np.ndarray, "height width *rgb"], timestamp_s: float
    ) -> tuple[Segment, ...]:
        """Show the next frame.

        Args:
            picture: RGB or grey, of any size; the size may change.
            timestamp_s: When it is shown; tells for how long a picture is frozen.

        Returns:
            The segments that are now known to have ended.
        """
        if self._upright is None:
            self._upright = picture.shape[0] > picture.shape[1]
        mean, block = (np.inf, np.inf) if self._anchor is None else _change(self._anchor[0], picture)
        repeats = mean <= _REPEATED_MEAN and block <= _REPEATED_BLOCK
        if self._anchor is None or not repeats:
            self._anchor = picture.copy(), look_of(picture, upright=self._upright)
        self._waiting.append(
            _Frame(
                look=self._anchor[1],
                time_s=timestamp_s,
                repeats=repeats,
                refreshed=mean <= _REFRESHED_MEAN and block <= _REFRESHED_BLOCK,
            )
        )
        return self._settle(last=False)

    def finish(self) -> tuple[Segment, ...]:
        """Say that the video has ended; returns the segments that are left."""
        ended = self._settle(last=True)
        if self._open is None:
            return ended
        self._finished.append(self._open)
        self._open = None
        return (*ended, self._finished[-1])

    def _settle(self, *, last: bool) -> tuple[Segment, ...]:
        """Give waiting frames to segments as far as that is known; returns those that ended."""
        before = len(self._finished)
        while self._waiting:
            kind = self._kind(last=last)
            begins = None if kind is None else self._begins(kind, last=last)
            if kind is None or begins is None:
                break
            self._take(kind, begins)
        return tuple(self._finished[before:])

    def _kind(self, *, last: bool) -> SegmentKind | None:
        """What kind of segment the first waiting frame belongs to; None: later frames will tell."""
        first, going_on = self._waiting[0], self._open.kind if self._open else None
        if first.look.dark:
            count = _leading(frame.look.dark for frame in self._waiting)
            if going_on == "black" or count >= FEWEST_BLACK:
                return "black"
            if count == len(self._waiting):
                if not last:
                    return None
                if going_on is None:
                    return "black"
        if going_on == "frozen":
            if first.repeats:
                return "frozen"
            if first.refreshed:
                if len(self._waiting) == 1 and not last:
                    return None
                if len(self._waiting) == 1 or self._waiting[1].repeats:
                    return "frozen"
        if first.repeats:
            return "scene"
        count = 1 + _leading(frame.repeats for frame in list(self._waiting)[1:])
        if self._is_frozen(count):
            return "frozen"
        return "scene" if last or count < len(self._waiting) else None

    def _is_frozen(self, count: int) -> bool:
        """Whether the first waiting frame, shown so many times, is a frozen stretch."""
        if count < FEWEST_FROZEN:
            return False
        lasts = self._waiting[count - 1].time_s - self._waiting[0].time_s
        # The last one is shown as long as the others: thirty frames of 1/30 s are a second.
        return lasts * count / (count - 1) >= LEAST_FROZEN_S - 1e-6

    def _begins(self, kind: SegmentKind, *, last: bool) -> BeginsWith | bool | None:
        """With what the first waiting frame begins a segment; False: it begins none; None: not known."""
        if self._open is None:
            return "start"
        first = self._waiting[0]
        if kind != "scene":
            frozen_anew = kind == "frozen" and not (first.repeats or first.refreshed)
            return kind if kind != self._open.kind or frozen_anew else False
        if self._open.kind != "scene":
            return self._open.kind
        if first.repeats or self._likeness(self._behind[-1], first.look).structure >= _SURE:
            return False
        if len(self._waiting) < AHEAD and not last:
            return None
        ahead = [frame.look for frame in list(self._waiting)[:AHEAD] if not frame.look.dark]
        return "cut" if self._is_cut(ahead) else False

    def _is_cut(self, ahead: list[Look]) -> bool:
        """Whether what was seen last and what comes are two shots.

        They are where no frame behind looks like one ahead, by far less than neighbours do on both
        sides. A flash, or something that passes close by, has the same shot on both sides; a camera
        that moves too fast to be followed has neighbours that are no more alike.
        """
        if len(ahead) == 0:
            return False
        behind = list(self._behind)
        sides = [self._steadiness(behind[::-1]), self._steadiness(ahead)]
        neighbours = min(side for side in sides)
        if neighbours <= 0:
            return False
        return not any(
            self._linked(self._likeness(one, other), neighbours)
            for one in behind[::-1]
            for other in ahead
        )

    def _steadiness(self, looks: list[Look]) -> float:
        """How much the first of some frames looks like the best of the others; 1 if it is alone."""
        if len(looks) == 1:
            return 0.0
        found = [self._likeness(looks[0], other) for other in looks[1:]]
        return max(each.structure for each in found)

    def _linked(self, likeness: Likeness, neighbours: float) -> bool:
        """Whether two frames show one place, in a video whose neighbouring frames are so alike."""
        if likeness.colours < _OTHER_COLOURS:
            return likeness.structure >= _UNLIKE
        if likeness.colours < _SAME_COLOURS:
            return likeness.structure >= min(_UNLIKE, neighbours / 2)
        if neighbours < _SETTLED:
            return True
        return likeness.structure >= min(_UNLIKE, neighbours / 4)

    def _likeness(self, one: Look, other: Look) -> Likeness:
        return self._comparison.likeness(one, other)

    def _take(self, kind: SegmentKind, begins: BeginsWith | bool) -> None:
        """Give the first waiting frame to the open segment, or to a new one."""
        frame = self._waiting.popleft()
        if isinstance(begins, str):
            start = 0 if self._open is None else self._open.stop
            if self._open is not None:
                self._finished.append(self._open)
            self._open = Segment(start=start, stop=start, kind=kind, begins_with=begins)
            self._behind.clear()
        assert self._open is not None
        self._open = replace(self._open, stop=self._open.stop + 1)
        if not self._behind or not frame.repeats:
            self._behind.append(frame.look)


def find_segments(
    pictures: Iterable[UInt8[np.ndarray, "height width *rgb"]], timestamps_s: Iterable[float]
) -> tuple[Segment, ...]:
    """All segments of a video, of pictures that come one after another; see `CutFinder.look`."""
    finder = CutFinder()
    for picture, time_s in zip(pictures, timestamps_s, strict=True):
        finder.look(picture, float(time_s))
    finder.finish()
    return finder.segments


def _leading(flags: Iterable[bool]) -> int:
    """How many are true before the first that is not."""
    count = 0
    for flag in flags:
        if not flag:
            break
        count += 1
    return count


def _change(one: _Picture, other: _Picture) -> tuple[float, float]:
    """Mean difference of two pictures' grey levels, and of the worst block's; of all pixels given."""
    if one.shape != other.shape:
        return np.inf, np.inf
    difference = cv2.absdiff(one, other)
    if difference.ndim == 3:
        difference = cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY)
    height, width = difference.shape
    scale = min(1.0, _BLOCKS / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # As float: means of blocks below half a level would be rounded away.
    blocks = cv2.resize(difference.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return float(difference.mean()), float(blocks.max())
