"""Which frames a network sees together: overlapping windows, planned while frames come."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dynapoint.errors import ConfigError
from dynapoint.windows.cuts import CutFinder
from dynapoint.windows.spans import Segment, SegmentKind, Window, WindowSizes


def check_sizes(window: Any, overlap: Any) -> WindowSizes:
    """Sizes of windows that were asked for; raises ConfigError where there are no such windows."""
    for name, value in (("window", window), ("overlap", overlap)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ConfigError(f"{name} is {value!r}; give a whole number of frames")
    if window < 2:
        raise ConfigError(f"window is {window}; windows share frames, so give 2 frames or more")
    if overlap < 1:
        raise ConfigError(
            f"overlap is {overlap}; windows are joined by the frames they share, so give 1 or more"
        )
    if overlap >= window:
        raise ConfigError(
            f"overlap is {overlap} and window {window}: a window would bring no new frame; "
            f"give an overlap of at most {window - 1}, or a larger window"
        )
    return WindowSizes(window=int(window), overlap=int(overlap))


class WindowPlanner:
    """Plans the windows of frames that come one after another.

    A segment's windows have `sizes.window` frames. Each next one begins `sizes.overlap` frames
    before the end of the one before, and the last one is moved back until it is full: every frame
    has as many neighbours as the network takes, and the frames that the windows share can only be
    more. Windows of even lengths would need the number of frames in advance.

    Neighbours of equal time are views of one moment, and no window's border parts them; windows may
    have fewer frames then. The next window shares `sizes.overlap` frames or more; fewer, but the
    views of one moment at least, only where its first new moment would not fit in otherwise.

    A segment that fits one window is one. A black one has no window; a frozen one has a window of
    its first frame.

    A window is known when a frame is there that does not fit in: the one behind its last frame, or
    a further view of that moment. What it is does not depend on what is to come (`plan_windows`).
    """

    def __init__(self, sizes: WindowSizes, *, kind: SegmentKind = "scene") -> None:
        self._sizes = check_sizes(sizes.window, sizes.overlap)
        self._kind: SegmentKind = kind
        self._segment = 0
        self._segment_start = 0
        self._count = 0
        self._time_s: float | None = None
        # Where the window that fills begins, where the one before ends, and where moments begin.
        self._first = 0
        self._planned_stop = 0
        self._moments: list[int] = []

    def add(self, timestamp_s: float) -> tuple[Window, ...]:
        """Add the next frame; returns the windows that are now known: none or one.

        Raises:
            ConfigError: Views of one moment are too many for windows of this size.
        """
        frame = self._count
        self._count += 1
        # NaN, a time that is not known, equals nothing.
        if not self._moments or timestamp_s != self._time_s:
            self._moments.append(frame)
        self._time_s = timestamp_s
        if self._kind == "frozen" and frame == self._segment_start:
            return (self._window(frame, self._count),)
        if self._kind != "scene":
            self._moments = self._moments[-1:]
            return ()
        windows: list[Window] = []
        while self._count - self._first > self._sizes.window:
            if self._moments[-1] > self._planned_stop:
                windows.append(self._close())
            else:
                self._share_less()
        return tuple(windows)

    def cut(self, kind: SegmentKind = "scene") -> tuple[Window, ...]:
        """Say that the next frame begins a segment; returns the window that ends with the last one.

        Args:
            kind: Of the segment that begins. Without a frame since the last one began, only its
                kind changes.
        """
        windows: tuple[Window, ...] = ()
        if self._kind == "scene" and self._count > self._planned_stop:
            start = self._moments[bisect_left(self._moments, self._count - self._sizes.window)]
            windows = (self._window(start, self._count),)
        self._segment += self._count > self._segment_start
        self._kind, self._time_s, self._moments = kind, None, []
        self._segment_start = self._first = self._planned_stop = self._count
        return windows

    def finish(self) -> tuple[Window, ...]:
        """Say that no frame is left; returns the window that ends with the last one."""
        return self.cut()

    def _close(self) -> Window:
        """The window of all moments but the last, which does not fit in; the next begins in it."""
        stop = self._planned_stop = self._moments[-1]
        window = self._window(self._first, stop)
        latest = bisect_right(self._moments, stop - self._sizes.overlap) - 1
        self._first = max(self._first, self._moments[max(latest, 0)])
        # The last window may begin as far back as this, and no window further.
        self._moments = self._moments[bisect_left(self._moments, stop - self._sizes.window) :]
        return window

    def _share_less(self) -> None:
        """Begin the window one moment later, so that the views of the last one fit in."""
        following = bisect_right(self._moments, self._first)
        stop = self._planned_stop
        if following < len(self._moments) and self._moments[following] < stop:
            self._first = self._moments[following]
            return
        views, window = self._count - self._moments[-1], self._sizes.window
        if views > window:
            raise ConfigError(
                f"more than {window} frames are of one time ({self._time_s:g} s), and a window "
                f"holds {window}; give a larger window, or times that tell the frames apart"
            )
        raise ConfigError(
            f"the frames of time {self._time_s:g} s and those of the time before are more than a "
            f"window of {window} holds; windows must share a time, so give a larger window"
        )

    def _window(self, start: int, stop: int) -> Window:
        return Window(frames=tuple(range(start, stop)), segment=self._segment)


def plan_windows(
    segments: Sequence[Segment],
    sizes: WindowSizes,
    timestamps_s: Float64[np.ndarray, " frame"],
) -> tuple[Window, ...]:
    """The windows of a whole clip, those of `WindowPlanner`.

    Args:
        segments: One behind the other, from the first frame to the last.
        sizes: Of the windows.
        timestamps_s: When each frame is shown.

    Raises:
        ConfigError: Views of one moment are too many for windows of this size.
        ValueError: The segments are not those of so many frames.
    """
    borders = [0, *(segment.stop for segment in segments)]
    if [segment.start for segment in segments] != borders[:-1] or borders[-1] != len(timestamps_s):
        raise ValueError(f"the segments do not follow each other from 0 to {len(timestamps_s)}")
    planner = WindowPlanner(sizes)
    windows: list[Window] = []
    for segment in segments:
        windows += planner.cut(segment.kind)
        for time_s in timestamps_s[segment.start : segment.stop].tolist():
            windows += planner.add(time_s)
    return (*windows, *planner.finish())


class StreamPlanner:
    """Finds the segments of a video and plans their windows, while its frames come.

    A window is known at most a few frames after the one behind its last frame, except where
    pictures repeat (`cuts.CutFinder`).

    Attributes:
        finder: Finds the segments; asked for those that have ended and for the one that goes on.
    """

    def __init__(self, sizes: WindowSizes) -> None:
        self.finder = CutFinder()
        self._planner = WindowPlanner(sizes)
        self._times_s: deque[float] = deque()
        self._planned = 0

    def look(
        self, picture: UInt8[np.ndarray, "height width *rgb"], timestamp_s: float
    ) -> tuple[Window, ...]:
        """Show the next frame (`CutFinder.look`); returns the windows that are now known."""
        self._times_s.append(timestamp_s)
        return self._plan(self.finder.look(picture, timestamp_s))

    def finish(self) -> tuple[Window, ...]:
        """Say that the video has ended; returns the windows that are left."""
        windows = self._plan(self.finder.finish())
        return (*windows, *self._planner.finish())

    def _plan(self, ended: tuple[Segment, ...]) -> tuple[Window, ...]:
        """Hand frames whose segments are known to the planner."""
        going_on = () if self.finder.open is None else (self.finder.open,)
        windows: list[Window] = []
        for segment in (*ended, *going_on):
            if segment.start == self._planned:
                windows += self._planner.cut(segment.kind)
            while self._planned < segment.stop:
                windows += self._planner.add(self._times_s.popleft())
                self._planned += 1
        return tuple(windows)


def owners(windows: Iterable[Window], frame_count: int) -> Int64[np.ndarray, " frame"]:
    """For each frame the window in which it is furthest from both ends; -1 where none holds it.

    Of windows in which it is equally far the earlier one counts. Wide windows own
    nothing.
    """
    owner = np.full(frame_count, -1, dtype=np.int64)
    furthest = np.full(frame_count, -1, dtype=np.int64)
    for index, window in enumerate(windows):
        if window.wide:
            continue
        frames = np.array(window.frames, dtype=np.int64)
        place = np.arange(len(frames))
        from_ends = np.minimum(place, place[::-1])
        better = from_ends > furthest[frames]
        owner[frames[better]] = index
        furthest[frames[better]] = from_ends[better]
    return owner
