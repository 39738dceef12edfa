"""The segments of a video: where the picture changes at once, is black, or is frozen."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Literal, TypeAlias

import cv2
import numpy as np
from jaxtyping import UInt8

from dynapoint.windows.dissolves import DissolveFinder
from dynapoint.windows.likeness import Comparison, Likeness, Look, look_of
from dynapoint.windows.spans import BeginsWith, Segment, SegmentKind

AHEAD, BEHIND = 4, 4
"""How many frames on each side of a cut are compared; flashes of up to three are passed over."""
FEWEST_BLACK = 3
FEWEST_FROZEN, LEAST_FROZEN_S = 12, 1.0

# Structures and colours of `likeness.Likeness`. Of pairs from two clips, 99 % have a structure
# below 0.06 and colours below 0.79; the most are 0.12 (mirrored pictures: 0.36) and 0.87. Within
# clips colours are above 0.93 up to ten frames apart, structures above 0.34 at one frame, 0.18 at
# five.
_SURE, _SURE_ALONE = 0.2, 0.4
# A logo and a band of text that stay over a cut come to 0.22 in colours of another shot.
_UNLIKE, _UNLIKE_ALONE = 0.15, 0.25
# Below the first one frames are so far apart that frames of one place may not be alike at all.
_STEADY, _STEADY_DROP = 0.3, 0.6
_FOREIGN_COLOURS, _OTHER_COLOURS, _SAME_COLOURS = 0.6, 0.8, 0.9
_FEWEST_BESIDE = 3

# Differences of grey levels: mean of the picture, and of the worst of its blocks. Frozen pictures
# in H.264 and MPEG-4 change by up to (0.4, 8.8) while the codec improves them, by (2.5, 6) where
# they are coded anew, else by (0.1, 5); moving ones, over the quietest 12 frames, by blocks of 19
# and more, and noise of one level by 0.8 in every frame.
_REPEATED = (0.5, 9.0)
_REPEATED_SINCE = (0.7, 9.0)
_REFRESHED = (2.7, 9.0)
_QUIET = (0.15, 6.0)
_SETTLES_IN, _FRAMES_PER_REFRESH = 8, 24
_BLOCKS = 64

_Picture: TypeAlias = UInt8[np.ndarray, "height width *rgb"]
_Change: TypeAlias = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """A frame that has been seen.

    Attributes:
        look: To compare it; repeated pictures share one.
        time_s: When it is shown.
        change: How much it differs from the frame before (`_change`).
        repeats: Whether it shows the picture of the frame before, and of the first such one.
        refreshed: Whether it may be that picture coded anew, as key frames of videos are.
    """

    look: Look
    time_s: float
    change: _Change
    repeats: bool
    refreshed: bool


class CutFinder:
    """Finds the segments of a video that is shown to it frame after frame.

    A cut is where the picture changes at once or dissolves into another: a dissolve belongs to the
    segment before, up to about eight frames more. Black stretches are three frames or more with
    hardly any light and no structure; frozen ones show one picture, as codecs repeat it, for a
    second or more and in twelve frames or more. Frames of equal time, views of one moment, begin no
    segment.

    A frame's segment is known one frame later; where the picture changes at once, three frames
    later; of repeated pictures when they end or have lasted a second. Kept are two pictures as
    given, small ones of about thirty frames, and of a picture that repeats one for all repetitions.
    """

    def __init__(self) -> None:
        self._comparison = Comparison()
        self._dissolves = DissolveFinder(self._comparison)
        self._upright: bool | None = None
        self._before: _Picture = np.zeros((0, 0), dtype=np.uint8)
        self._anchor = self._before
        self._look: Look
        self._waiting: deque[_Frame] = deque()
        self._behind: deque[Look] = deque(maxlen=BEHIND)
        self._time_s: float | None = None
        self._open: Segment | None = None
        self._finished: list[Segment] = []

    @property
    def open(self) -> Segment | None:
        """The segment that goes on; `stop` is behind the last frame that is known to be its own."""
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
        change, since = (_change(one, picture) for one in (self._before, self._anchor))
        repeats = _within(change, _REPEATED) and _within(since, _REPEATED_SINCE)
        self._before = picture.copy()
        if not repeats:
            self._anchor = self._before
            self._look = look_of(picture, upright=self._upright)
        self._waiting.append(
            _Frame(
                look=self._look,
                time_s=timestamp_s,
                change=change,
                repeats=repeats,
                refreshed=_within(change, _REFRESHED),
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
        """What the first waiting frame belongs to; None where later frames will tell."""
        if len(self._waiting) == 1 and not last:
            return None
        if self._is_view():
            return "scene"
        black = self._is_black(last=last)
        frozen = self._is_frozen(last=last) if black is False else False
        if black is None or frozen is None:
            return None
        return "black" if black else "frozen" if frozen else "scene"

    def _is_view(self) -> bool:
        """Whether the first waiting frame shares its time with a neighbour."""
        following = self._waiting[1].time_s if len(self._waiting) > 1 else None
        return self._waiting[0].time_s in (self._time_s, following)

    def _is_black(self, *, last: bool) -> bool | None:
        count = _leading(frame.look.dark for frame in self._waiting)
        if count == 0:
            return False
        if count >= FEWEST_BLACK or (self._open is not None and self._open.kind == "black"):
            return True
        if count == len(self._waiting) and not last:
            return None
        # A clip of two black frames has nothing else to show.
        return count == len(self._waiting) and self._open is None

    def _is_frozen(self, *, last: bool) -> bool | None:
        first = self._waiting[0]
        if self._open is not None and self._open.kind == "frozen":
            refreshed = first.refreshed and (len(self._waiting) == 1 or self._waiting[1].repeats)
            if first.repeats or refreshed:
                return True
        count, ended = (1, True) if first.repeats else self._repetitions(ended=last)
        # The last one is shown as long as the others: thirty frames of 1/30 s are a second.
        lasts_s = (self._waiting[count - 1].time_s - first.time_s) * count / max(count - 1, 1)
        if count >= FEWEST_FROZEN and lasts_s >= LEAST_FROZEN_S - 1e-6:
            return True
        return False if ended else None

    def _repetitions(self, *, ended: bool) -> tuple[int, bool]:
        """How often the first waiting frame's picture is shown, and whether it has ended.

        A codec improves a picture over its first repetitions and codes it anew now and then. What
        moves, and noise, makes changes again and again.
        """
        frames, later = list(self._waiting), 0
        for count in range(1, len(frames)):
            frame = frames[count]
            if not frame.repeats:
                if not frame.refreshed:
                    return count, True
                if count + 1 == len(frames):
                    return count, ended
                if not frames[count + 1].repeats:
                    return count, True
            later += count >= _SETTLES_IN and not _within(frame.change, _QUIET)
            if later > 1 + count // _FRAMES_PER_REFRESH:
                return count, True
        return len(frames), ended

    def _begins(self, kind: SegmentKind, *, last: bool) -> BeginsWith | Literal[False] | None:
        """Why the first waiting frame begins a segment; False: it does not; None: not known yet."""
        first = self._waiting[0]
        if self._open is None:
            return "start"
        if kind != "scene":
            other_picture = kind == "frozen" and not (first.repeats or first.refreshed)
            return kind if kind != self._open.kind or other_picture else False
        if self._open.kind != "scene":
            return self._open.kind
        if first.repeats or self._is_view() or self._goes_on():
            return False
        if len(self._waiting) < AHEAD and not last:
            return None
        return "cut" if self._is_cut() else False

    def _goes_on(self) -> bool:
        """Whether the first waiting frame surely shows what the last one did."""
        likeness = self._comparison.likeness(self._behind[-1], self._waiting[0].look)
        least = _SURE if likeness.colours >= _SAME_COLOURS else _SURE_ALONE
        return likeness.structure >= least

    def _is_cut(self) -> bool:
        """Whether what was seen last and what comes are two shots.

        They are where no frame behind looks like one ahead, by far less than neighbours do on both
        sides. A flash, or something that passes close by, has the same shot on both sides; a camera
        that moves too fast to be followed has neighbours that are no more alike.
        """
        behind = list(self._behind)
        ahead = [frame.look for frame in islice(self._waiting, AHEAD) if not frame.look.dark]
        neighbours = min(self._steadiness(behind), self._steadiness(ahead))
        if neighbours == 0:
            return False
        few = min(len(behind), len(ahead)) < _FEWEST_BESIDE
        return not any(
            self._linked(self._comparison.likeness(one, other), neighbours, few=few)
            for one in behind[::-1]
            for other in ahead
        )

    def _steadiness(self, looks: list[Look]) -> float:
        """How alike neighbours are among some frames: the median; 0 where there are none."""
        found = [self._comparison.likeness(one, other).structure for one, other in pairwise(looks)]
        return float(np.median(found)) if found else 0.0

    def _linked(self, likeness: Likeness, neighbours: float, *, few: bool) -> bool:
        """Whether two frames show one place, in a video whose neighbouring frames are so alike."""
        structure, colours = likeness.structure, likeness.colours
        if colours >= _OTHER_COLOURS and few and neighbours < _STEADY:
            return True
        if colours >= _SAME_COLOURS:
            # Frames that were lost while the camera moved are no cut: those are less alike still.
            return few or neighbours < _STEADY or structure >= min(_UNLIKE, neighbours / 4)
        if colours >= _OTHER_COLOURS:
            least = min(_UNLIKE, neighbours / 2)
        elif colours >= _FOREIGN_COLOURS:
            least = min(_UNLIKE_ALONE, neighbours)
        else:
            least = _UNLIKE_ALONE
        return structure >= max(least, neighbours - _STEADY_DROP)

    def _take(self, kind: SegmentKind, begins: BeginsWith | Literal[False]) -> None:
        """Give the first waiting frame to the open segment, or to a new one."""
        frame = self._waiting.popleft()
        self._time_s = frame.time_s
        if begins:
            self._dissolves.clear()
        if kind == "scene" and self._dissolves.ends(frame.look):
            begins = "cut"
            self._dissolves.clear()
        if begins:
            start = 0 if self._open is None else self._open.stop
            if self._open is not None:
                self._finished.append(self._open)
            self._open = Segment(start=start, stop=start, kind=kind, begins_with=begins)
            self._behind.clear()
        assert self._open is not None
        self._open = replace(self._open, stop=self._open.stop + 1)
        self._behind.append(frame.look)


def find_segments(
    pictures: Iterable[UInt8[np.ndarray, "..."]], timestamps_s: Iterable[float]
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


def _change(one: UInt8[np.ndarray, "..."], other: UInt8[np.ndarray, "..."]) -> _Change:
    """Mean difference of two pictures' grey levels, and of the worst block's."""
    if one.shape != other.shape:
        return np.inf, np.inf
    difference = cv2.absdiff(one, other)
    if difference.ndim == 3:
        difference = cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY)
    height, width = difference.shape
    scale = min(1.0, _BLOCKS / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    blocks = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
    return float(difference.mean()), float(blocks.max())


def _within(change: _Change, most: _Change) -> bool:
    return change[0] <= most[0] and change[1] <= most[1]
