"""Which window tells of two frames, and the way of points through windows."""

import numpy as np
import pytest

from dynapoint.windows.paths import WindowPaths
from dynapoint.windows.spans import Segment, Window


def _windows(rng, start, stop, *, segment=0):
    """Overlapping windows that cover frames, each at least two frames farther than the last."""
    windows, begin, end = [], start, start
    while end < stop:
        end = min(stop, max(end + 2, begin + int(rng.integers(4, 12))))
        windows.append(Window(frames=tuple(range(begin, end)), segment=segment))
        begin = max(begin + 1, end - int(rng.integers(1, 5)))
    return windows


def _to_end(window, frame, time):
    return min(abs(f - end) for f in (frame, time) for end in (window.start, window.stop - 1))


@pytest.mark.parametrize("seed", range(5))
def test_ways_reach_every_frame_of_a_segment(seed):
    rng = np.random.default_rng(seed)
    cut, count = int(rng.integers(10, 20)), 32
    windows = [*_windows(rng, 0, cut), *_windows(rng, cut, count, segment=1)]
    windows.insert(1, Window(frames=(2, 3, cut - 2, cut - 1), wide=True))
    order = rng.permutation(len(windows))
    windows = [windows[k] for k in order]
    segments = (Segment(start=0, stop=cut), Segment(start=cut, stop=count))
    paths = WindowPaths(segments, windows, count)
    for frame in range(count):
        segment = int(frame >= cut)
        assert paths.segment_of(frame) == segment
        assert frame in paths.span(frame)
        for time in range(count):
            told = paths.both(frame, time)
            holding = [w for w in windows if not w.wide and {frame, time} <= set(w.frames)]
            assert (told is not None) == bool(holding) == (time in paths.span(frame))
            if holding:
                chosen = windows[told]
                assert chosen in holding

                assert _to_end(chosen, frame, time) == max(
                    _to_end(window, frame, time) for window in holding
                )
            if int(time >= cut) != segment:
                continue
            way = paths.way(frame, forward=time > frame)
            assert frame in windows[way.windows[0]].frames
            assert not any(windows[k].wide for k in way.windows)
            if time in windows[way.windows[0]].frames or told is not None:
                continue
            assert time in windows[way.windows[way.step_of(time)]].frames
            for first, second, seam in zip(way.windows, way.windows[1:], way.seams, strict=False):
                assert 1 <= len(seam) <= 3
                assert set(seam) <= set(windows[first].frames) & set(windows[second].frames)


def test_the_middle_of_what_two_windows_hold_is_tried_first():
    windows = [Window(frames=tuple(range(k, k + 24))) for k in (0, 16, 32)]
    way = WindowPaths((), windows, 56).way(3, forward=True)
    assert way.windows == (0, 1, 2)
    assert way.seams == ((20, 23, 16), (36, 39, 32))
    assert way.switches == (20, 36)
    assert [way.step_of(time) for time in (19, 20, 35, 36, 55)] == [0, 1, 1, 2, 2]
    back = WindowPaths((), windows, 56).way(50, forward=False)
    assert back.windows == (2, 1, 0)
    assert [back.step_of(time) for time in (55, 37, 36, 21, 20, 0)] == [0, 0, 1, 1, 2, 2]


def test_windows_that_hold_nothing_together_leave_the_seam_empty():
    windows = [Window(frames=tuple(range(5))), Window(frames=tuple(range(5, 9)))]
    way = WindowPaths((), windows, 10).way(0, forward=True)
    assert way.seams == ((),)
    assert [way.step_of(time) for time in (4, 5)] == [0, 1]


def test_a_frame_that_no_window_holds_has_no_way():
    paths = WindowPaths((), [Window(frames=(0, 1, 2))], 5)
    assert paths.way(4, forward=False) is None
    assert paths.both(4, 1) is None
    assert paths.span(4) == range(4, 5)
