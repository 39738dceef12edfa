"""Which window tells of two frames, and the way of points through windows where none holds both."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from dynapoint.windows.spans import Segment, Window

# Frames at which points are handed over from one window to the next. Each may have to be decoded
# at every time of the next window; frames side by side show nearly the same.
_FRAMES_TRIED = 3


@dataclass(frozen=True, kw_only=True)
class Way:
    """The windows through which points of a frame go on in one direction of time.

    Attributes:
        windows: Indices of windows. The first holds the frame; each reaches farther.
        seams: For each two of them the frames at which points are handed over, the one to be tried
            first at the front; of the frames that both hold, at most three. Empty where they hold
            none together.
        switches: For each two of them the first time, in this direction, that the later one tells.
        forward: Whether times increase.
    """

    windows: tuple[int, ...]
    seams: tuple[tuple[int, ...], ...]
    switches: tuple[int, ...]
    forward: bool

    def step_of(self, time: int) -> int:
        """Index of the window of this way that tells of a time."""
        if self.forward:
            return bisect_right(self.switches, time)
        return bisect_right([-switch for switch in self.switches], -time)


class WindowPaths:
    """Answers both questions for a clip; wide windows take no part."""

    def __init__(self, segments: Sequence[Segment], windows: Sequence[Window], count: int) -> None:
        """Sort the windows.

        Args:
            segments: Worlds of their own, which cover the clip; `()` where all frames share one.
            windows: Of the clip, wide ones as well. Answers are indices of these.
            count: How many frames the clip has.
        """
        self._segments = tuple(segments) or (Segment(start=0, stop=count),)
        self._starts = [segment.start for segment in self._segments]
        self._windows = tuple(windows)
        self._ways: dict[tuple[int, bool], Way] = {}

    def segment_of(self, frame: int) -> int:
        """Index of the segment that a frame belongs to."""
        return bisect_right(self._starts, frame) - 1

    def span(self, frame: int) -> range:
        """The times that some window tells of together with a frame; always its own."""
        held = [self._windows[index] for index in self._holding(frame)]
        if not held:
            return range(frame, frame + 1)
        return range(min(each.start for each in held), max(each.stop for each in held))

    def both(self, frame: int, time: int) -> int | None:
        """The window that holds two frames farthest from its ends; the first of several.

        None where there is none.
        """
        found = [
            index
            for index in self._holding(frame)
            if self._windows[index].start <= time < self._windows[index].stop
        ]
        if not found:
            return None
        return max(found, key=lambda k: min(self._to_end(k, frame), self._to_end(k, time)))

    def way(self, frame: int, *, forward: bool) -> Way | None:
        """The windows through which points of a frame go on; None where no window holds it."""
        holding = self._holding(frame)
        if not holding:
            return None
        reach = self._stop if forward else self._negative_start
        first = max(holding, key=reach)
        if (first, forward) not in self._ways:
            self._ways[first, forward] = self._way(first, forward=forward)
        return self._ways[first, forward]

    def _way(self, first: int, *, forward: bool) -> Way:
        reach = self._stop if forward else self._negative_start
        order = sorted(self._of_segment[self._windows[first].segment], key=reach)
        windows = [first]
        for index in order:
            if reach(index) > reach(windows[-1]):
                windows.append(index)
        pairs = list(pairwise(windows))
        seams = tuple(self._seam(a, b) for a, b in pairs)
        switches = tuple(
            seam[0] if seam else (self._windows[b].start if forward else self._windows[b].stop - 1)
            for seam, (_, b) in zip(seams, pairs, strict=True)
        )
        return Way(windows=tuple(windows), seams=seams, switches=switches, forward=forward)

    def _seam(self, first: int, second: int) -> tuple[int, ...]:
        """The middle one of the frames that two windows hold, then those at both ends."""
        held = sorted(set(self._windows[first].frames) & set(self._windows[second].frames))
        if len(held) <= _FRAMES_TRIED:
            middle = (len(held) - 1) / 2
            return tuple(sorted(held, key=lambda frame: abs(held.index(frame) - middle)))
        return (held[len(held) // 2], held[-1], held[0])

    def _to_end(self, index: int, frame: int) -> int:
        window = self._windows[index]
        return min(frame - window.start, window.stop - 1 - frame)

    def _stop(self, index: int) -> int:
        return self._windows[index].stop

    def _negative_start(self, index: int) -> int:
        return -self._windows[index].start

    def _holding(self, frame: int) -> list[int]:
        """The windows that hold a frame."""
        return [
            index
            for index in self._of_segment.get(self.segment_of(frame), ())
            if self._windows[index].start <= frame < self._windows[index].stop
        ]

    @cached_property
    def _of_segment(self) -> dict[int, list[int]]:
        """Windows of each segment, the earliest first."""
        found: dict[int, list[int]] = {}
        for index, window in enumerate(self._windows):
            if not window.wide:
                found.setdefault(window.segment, []).append(index)
        for indices in found.values():
            indices.sort(key=lambda index: (self._windows[index].start, self._windows[index].stop))
        return found
