"""Windows of a clip: what holds for all segments, sizes and times, also while frames come."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn import examples
from dynapoint.errors import ConfigError
from dynapoint.windows.cuts import find_segments
from dynapoint.windows.plan import (
    StreamPlanner,
    WindowPlanner,
    check_sizes,
    owners,
    plan_windows,
)
from dynapoint.windows.spans import Segment, Window, WindowSizes


@st.composite
def sizes(draw):
    window = draw(st.integers(2, 12))
    return WindowSizes(window=window, overlap=draw(st.integers(1, window - 1)))


@st.composite
def clips(draw, *, most_views=1):
    """Segments of all kinds, and times at which up to so many frames are shown."""
    segments, start = [], 0
    for count in draw(st.lists(st.integers(1, 60), min_size=1, max_size=4)):
        kind = draw(st.sampled_from(["scene", "scene", "black", "frozen"]))
        segments.append(Segment(start=start, stop=start + count, kind=kind))
        start += count
    views = draw(st.lists(st.integers(1, most_views), min_size=start, max_size=start))
    times = np.repeat(np.arange(start), views)[:start] / 30
    return tuple(segments), times


def plan_of_distinct_times(segment, index, sizes):
    """The windows of a segment in closed form, where no two frames share a time."""
    if segment.kind != "scene":
        count = 1 if segment.kind == "frozen" else 0
        spans = [(segment.start, segment.start + count)] * count
    elif segment.count <= sizes.window:
        spans = [(segment.start, segment.stop)]
    else:
        step = sizes.window - sizes.overlap
        more = -(-(segment.count - sizes.window) // step)
        first = [segment.start + step * k for k in range(more)] + [segment.stop - sizes.window]
        spans = [(start, start + sizes.window) for start in first]
    return [Window(frames=tuple(range(*span)), segment=index) for span in spans]


@given(clips(), sizes())
@examples(60)
def test_windows_of_distinct_times_are_those_of_the_formula(clip, sizes):
    segments, times = clip
    expected = [
        window
        for index, segment in enumerate(segments)
        for window in plan_of_distinct_times(segment, index, sizes)
    ]
    assert list(plan_windows(segments, sizes, times)) == expected


@given(clips(most_views=4), st.integers(8, 16), st.data())
@examples(60)
def test_windows_with_equal_times(clip, window, data):
    segments, times = clip
    sizes = WindowSizes(window=window, overlap=data.draw(st.integers(1, window - 1)))
    plan = plan_windows(segments, sizes, times)
    for index, segment in enumerate(segments):
        own = [each for each in plan if each.segment == index]
        if segment.kind != "scene":
            frozen = [(segment.start,)] if segment.kind == "frozen" else []
            assert [each.frames for each in own] == frozen
            continue
        inside = times[segment.start : segment.stop]
        assert own[0].start == segment.start and own[-1].stop == segment.stop
        assert all(each.frames == tuple(range(each.start, each.stop)) for each in own)
        assert all(len(each.frames) <= sizes.window for each in own)
        assert (len(own) == 1) == (segment.count <= sizes.window)
        for each in own:
            for border in {each.start, each.stop} - {segment.start, segment.stop}:
                assert times[border - 1] != times[border]
        for each, following in pairwise(own):
            assert each.start < following.start <= each.stop - 1 and each.stop < following.stop
            shared = each.stop - following.start
            # Where fewer are shared, one more moment would not have left room for the next one.
            before = (inside == times[following.start - 1]).sum()
            new = (inside == times[each.stop]).sum()
            assert shared >= sizes.overlap or shared + before + new > sizes.window


@given(clips(most_views=3), st.integers(6, 12), st.data())
@examples(40)
def test_a_window_is_known_when_a_frame_does_not_fit_in(clip, window, data):
    segments, times = clip
    sizes = WindowSizes(window=window, overlap=data.draw(st.integers(1, window - 1)))
    planner = WindowPlanner(sizes, kind=segments[0].kind)
    known = []
    for segment in segments:
        if segment.start:
            ended = planner.cut(segment.kind)
            assert all(each.stop == segment.start for each in ended)
            known += ended
        for frame in range(segment.start, segment.stop):
            for each in planner.add(times[frame]):
                known.append(each)
                if segment.kind == "frozen":
                    assert each.frames == (frame,)
                else:
                    # It is of the moment behind the window, which does not fit in.
                    assert times[each.stop] == times[frame]
    known += planner.finish()
    assert tuple(known) == plan_windows(segments, sizes, times)


def test_frames_without_a_time_are_frames_of_their_own():
    segments = (Segment(start=0, stop=5),)
    plan = plan_windows(segments, WindowSizes(window=2, overlap=1), np.full(5, np.nan))
    assert [each.frames for each in plan] == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize(
    ("times", "words"),
    [([0, 0, 0, 0, 0], "more than 4 frames are of one time"), ([0, 0, 1, 1, 1], "share a time")],
)
def test_too_many_views_of_a_moment(times, words):
    segments = (Segment(start=0, stop=5),)
    with pytest.raises(ConfigError, match=words):
        plan_windows(segments, WindowSizes(window=4, overlap=2), np.array(times, dtype=np.float64))


def test_segments_that_do_not_cover_the_clip():
    segments = (Segment(start=0, stop=2), Segment(start=3, stop=5))
    with pytest.raises(ValueError, match="from 0 to 5"):
        plan_windows(segments, WindowSizes(window=4, overlap=2), np.arange(5.0))


@pytest.mark.parametrize(
    ("window", "overlap", "words"),
    [
        (1, 1, "window is 1; .* give 2 frames or more"),
        (8, 0, "overlap is 0; .* give 1 or more"),
        (8, 8, "at most 7"),
        (8, 20, "at most 7"),
        (8.0, 4, "window is 8.0; give a whole number"),
        (8, True, "overlap is True; give a whole number"),
    ],
)
def test_sizes_that_are_none(window, overlap, words):
    with pytest.raises(ConfigError, match=words) as error:
        check_sizes(window, overlap)
    assert "\n" not in str(error.value)


@given(sizes())
def test_sizes_that_are_taken(sizes):
    assert check_sizes(sizes.window, np.int64(sizes.overlap)) == sizes


@given(clips(most_views=3), st.integers(6, 12), st.data())
@examples(40)
def test_owners_are_the_windows_in_which_frames_are_most_central(clip, window, data):
    segments, times = clip
    sizes = WindowSizes(window=window, overlap=data.draw(st.integers(1, window - 1)))
    plan = list(plan_windows(segments, sizes, times))
    plan.insert(
        data.draw(st.integers(0, len(plan))),
        Window(frames=tuple(range(0, len(times), 2)), wide=True),
    )
    owner = owners(plan, len(times))
    for frame in range(len(times)):
        found = [
            (-min(each.frames.index(frame), len(each.frames) - 1 - each.frames.index(frame)), index)
            for index, each in enumerate(plan)
            if not each.wide and frame in each.frames
        ]
        assert owner[frame] == (min(found)[1] if found else -1)


def panned(seed, count, size=(60, 80)):
    """A camera that pans over a random texture."""
    random = np.random.default_rng(seed)
    tint = random.uniform(0.2, 1, 3)
    coarse = (random.integers(0, 256, (48, 64, 3)) * tint).astype(np.uint8)
    wide = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
    return [wide[10 : 10 + size[0], k : k + size[1]] for k in range(count)]


def test_a_stream_is_planned_as_the_whole_clip_is():
    black = [np.zeros((60, 80, 3), dtype=np.uint8)] * 5
    still = [panned(3, 1)[0]] * 40
    pictures = panned(0, 30) + panned(1, 25) + black + panned(2, 3) + still + panned(4, 20)
    times = np.arange(len(pictures)) / 30
    sizes = WindowSizes(window=8, overlap=3)
    planner, known = StreamPlanner(sizes), []
    for frame, (picture, time_s) in enumerate(zip(pictures, times, strict=True)):
        windows = planner.look(picture, time_s)
        known += windows
        # One to see whether a picture repeats, one whether times do; a cut is known three later.
        assert frame >= 60 or all(each.stop >= frame - 3 for each in windows)
    known += planner.finish()
    segments = find_segments(pictures, times)
    assert planner.finder.segments == segments
    assert [(each.start, each.kind) for each in segments] == [
        (0, "scene"),
        (30, "scene"),
        (55, "black"),
        (60, "scene"),
        (63, "frozen"),
        (103, "scene"),
    ]
    assert tuple(known) == plan_windows(segments, sizes, times)
