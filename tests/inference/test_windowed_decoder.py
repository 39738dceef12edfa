"""Points of long clips keep their identity: against scenes in closed form, cut into windows."""

import numpy as np
import pytest

from dynapoint.results import carried
from dynapoint.windows.spans import Segment, Window
from long_clips import (
    LongClip,
    TrueWindow,
    decoder_over,
    moving_clip,
    rectangle,
    windowed,
    windows_of,
)

WALL, MOVER, POST = 0, 1, 2


def _asked(clip, decoder, frame, time):
    """Error and confidence of each pixel of a frame at a time, and what is true of it."""
    points, confidence = decoder.decode([frame], time)[0]
    truth = clip.at(frame, time)
    assert points.dtype == np.float32 and np.isfinite(points).all()
    error = np.linalg.norm(points.reshape(-1, 3) - truth, axis=1)
    return error, confidence.reshape(-1) > 0, clip.own(frame)[1], clip.seen(truth, time)


@pytest.mark.parametrize("seed", range(3))
def test_within_a_window_points_are_true_and_still_ones_do_not_move_by_a_bit(seed):
    rng = np.random.default_rng(seed)
    clip = moving_clip(rng, count=40)
    decoder, _ = windowed(clip, rng)
    for frame, time in ((0, 23), (20, 10), (18, 39), (39, 17)):
        error, known, which, _ = _asked(clip, decoder, frame, time)
        assert known.all()
        assert error.max() < 2e-6
        points = decoder.decode([frame], time)[0][0].reshape(-1, 3)
        own = decoder.decode([frame], frame)[0][0].reshape(-1, 3)
        assert np.array_equal(points[which != MOVER], own[which != MOVER])
        assert not np.array_equal(points[which == MOVER], own[which == MOVER])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("frame", "times"), [(0, (24, 50, 79)), (79, (50, 24, 0)), (40, (2, 77))])
def test_handed_over_points_are_exact_within_surfaces(seed, frame, times):
    rng = np.random.default_rng(seed)
    clip = moving_clip(rng, occluder=False)
    decoder, _ = windowed(clip, rng)
    for time in times:
        error, known, which, seen = _asked(clip, decoder, frame, time)
        mover = (which == MOVER) & seen
        assert known[mover].mean() > 0.9
        # Beside an outline the surface is continued from one side alone.
        assert np.median(error[mover & known]) < 1e-5
        assert np.quantile(error[mover & known], 0.98) < 5e-3
        wall = (which == WALL) & seen
        assert known[wall].mean() > 0.95
        # A few points of the wall beside what moves are taken along.
        assert (error[wall & known] < 2e-6).mean() > 0.99


@pytest.mark.parametrize("seed", range(2))
def test_still_points_do_not_move_by_a_bit_through_all_windows(seed):
    rng = np.random.default_rng(seed)
    clip = moving_clip(rng)
    decoder, _ = windowed(clip, rng, noise=0.02)
    points, confidence = decoder.decode([0], 79)[0]
    which = clip.own(0)[1].reshape(clip.map_hw)
    still = (which != MOVER) & (confidence > 0)
    same = (points == decoder.decode([0], 0)[0][0]).all(axis=-1)
    assert still.sum() > 500
    # A few lie where the mover's outline passes a frame that hands over.
    assert same[still].mean() > 0.995


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_what_is_hidden_where_windows_meet_is_found_again(seed):
    """The mover is behind the post, whole or in part, while windows meet."""
    rng = np.random.default_rng(seed)
    clip = moving_clip(rng)
    decoder, _ = windowed(clip, rng)
    mover = clip.own(0)[1] == MOVER
    hidden = [(~_asked(clip, decoder, 0, time)[3])[mover].mean() for time in (32, 36, 39)]
    assert max(hidden) > 0.4
    error, known, which, seen = _asked(clip, decoder, 0, 79)
    mover = (which == MOVER) & seen
    assert known[mover].mean() > 0.7
    assert np.median(error[mover & known]) < 2e-3


def test_without_later_frames_the_hidden_are_lost(monkeypatch):
    """The test above rests on them."""
    rng = np.random.default_rng(3)
    clip = moving_clip(rng)
    decoder, _ = windowed(clip, rng)
    found = carried.Candidate.found
    at_seams = {20, 23, 16, 36, 39, 32, 52, 55, 48}

    def none(self, asked, sightings, spread):
        return found(self, asked if self.frame in at_seams else asked[:0], sightings, spread)

    monkeypatch.setattr(carried.Candidate, "found", none)
    _, known, which, seen = _asked(clip, decoder, 0, 79)
    assert known[(which == MOVER) & seen].mean() < 0.3


def test_lost_points_stay_with_confidence_0_and_still_ones_come_back():
    """The camera turns away from its first view and comes back to it."""
    rng = np.random.default_rng(0)
    clip = moving_clip(rng, count=120, occluder=False, speed=0.2)
    turn = 0.9 * np.sin(np.pi * np.arange(120) / 119)
    for frame, angle in enumerate(turn):
        c, s = np.cos(angle), np.sin(angle)
        clip.poses[frame] = [[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]]
    decoder, _ = windowed(clip, rng)
    _, away, which, seen = _asked(clip, decoder, 0, 60)
    assert seen.mean() < 0.25 and away.mean() < 0.45
    error, back, which, seen = _asked(clip, decoder, 0, 119)
    wall = which == WALL
    assert seen[wall].mean() > 0.9
    assert back[wall & seen].mean() > 0.95
    assert error[wall].max() < 2e-6
    lost = decoder.decode([0], 60)[0][1].reshape(-1) == 0
    there = decoder.decode([0], 60)[0][0].reshape(-1, 3)[lost & wall]
    assert np.array_equal(there, decoder.decode([0], 0)[0][0].reshape(-1, 3)[lost & wall])


def test_segments_share_nothing():
    rng = np.random.default_rng(1)
    first, second = moving_clip(rng, count=30), moving_clip(rng, count=30)
    clip = LongClip(
        shapes=first.shapes,
        poses=np.concatenate([first.poses, second.poses]),
        lens=first.lens,
        map_hw=first.map_hw,
    )
    windows = [*windows_of(30, 16, 6), *windows_of(30, 16, 6, segment=1, start=30)]
    told = [TrueWindow(clip, window, rng) for window in windows]
    segments = (Segment(start=0, stop=30), Segment(start=30, stop=60, begins_with="cut"))
    decoder = decoder_over(clip, windows, told, segments, rng)
    for frame, time in ((3, 40), (45, 29)):
        points, confidence = decoder.decode([frame], time)[0]
        assert (confidence == 0).all()
        assert np.array_equal(points, decoder.decode([frame], frame)[0][0])
    _, known, which, seen = _asked(clip, decoder, 3, 29)
    assert known[(which == MOVER) & seen].mean() > 0.8
    assert decoder.span(3) == range(16)
    assert decoder.span(45) == range(30, 60)


def test_answers_do_not_depend_on_the_order_of_questions():
    rng = np.random.default_rng(2)
    clip = moving_clip(rng, map_hw=(18, 24), count=56)
    decoder, told = windowed(clip, np.random.default_rng(5))
    in_order = {time: decoder.decode([4], time)[0] for time in range(56)}
    asked = sum(len(window.asked) for window in told)
    again, told = windowed(clip, np.random.default_rng(5))
    for time in rng.permutation(56):
        points, confidence = again.decode([4], int(time), keep=False)[0]
        assert np.array_equal(points, in_order[time][0])
        assert np.array_equal(confidence, in_order[time][1])
    # Each hop is made once, whichever time is asked for first.
    assert sum(len(window.asked) for window in told) == asked
    several = again.decode([4, 30, 50], 41)
    for frame, maps in zip((4, 30, 50), several, strict=True):
        alone = again.decode([frame], 41)[0]
        assert np.array_equal(maps[0], alone[0]) and np.array_equal(maps[1], alone[1])


def test_confidence_is_the_smallest_on_the_way():
    """Windows say 1 + the frame's index in them."""
    rng = np.random.default_rng(4)
    clip = moving_clip(rng, occluder=False)
    decoder, _ = windowed(clip, rng)
    _, at_seam = decoder.decode([2], 20)[0]
    _, behind = decoder.decode([2], 60)[0]
    assert (behind <= at_seam).all() and (behind < at_seam).any()
    # Frame 2 has 3; of those that hand over, 16, 32 and 48 have 1 in their later windows.
    assert set(np.unique(behind)) == {0.0, 1.0, 3.0}


def test_frames_of_one_time_share_it():
    rng = np.random.default_rng(4)
    clip = moving_clip(rng, count=12)
    decoder, _ = windowed(clip, rng, size=12)
    decoder._clip.target_of_frame[6] = 5
    for frame, time in ((6, 5), (5, 6)):
        points, confidence = decoder.decode([frame], time)[0]
        assert np.array_equal(points, decoder.decode([frame], frame)[0][0])
        assert (confidence == 3.0).all()
    assert np.array_equal(decoder.decode([1], 6)[0][0], decoder.decode([1], 5)[0][0])


def test_windows_without_common_frames_lose_everything_but_what_is_still():
    rng = np.random.default_rng(6)
    clip = moving_clip(rng, count=48)
    windows = [Window(frames=tuple(range(k, k + 16))) for k in (0, 16, 28)]
    windows[2] = Window(frames=tuple(range(28, 48)))
    told = [TrueWindow(clip, window, rng) for window in windows]
    decoder = decoder_over(clip, windows, told, (), rng)
    assert (decoder.decode([0], 20)[0][1] == 0).all()
    error, known, which, seen = _asked(clip, decoder, 0, 45)
    assert known[(which == WALL) & seen].mean() > 0.9
    assert error[which == WALL].max() < 2e-6


def test_seams_add_less_than_the_noise_of_the_maps():
    """Maps with 2 % noise, five seams: rays and the way across them, as shares of depth."""
    squares = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        clip = moving_clip(rng, count=100, map_hw=(27, 36), occluder=False)
        decoder, _ = windowed(clip, rng, noise=0.02, own_noise=0.02)
        points, confidence = decoder.decode([0], 99)[0]
        truth, start = clip.at(0, 99), clip.poses[99][:3, 3]
        seen = clip.seen(truth, 99) & (clip.own(0)[1] == MOVER)
        known = seen & (confidence.reshape(-1) > 0)
        assert known.sum() > 0.9 * seen.sum()
        far = np.linalg.norm(truth - start, axis=1, keepdims=True)
        ray = (truth - start) / far
        error = (points.reshape(-1, 3) - truth) / far
        along = (error * ray).sum(axis=1)
        across = np.linalg.norm(error - along[:, None] * ray, axis=1)
        squares.append([np.mean(along[known] ** 2), np.mean(across[known] ** 2)])
    along, across = np.sqrt(np.mean(squares, axis=0))
    # One window alone is off by 2.8 %: the noise of two maps.
    assert along < 0.024
    assert across < 0.02


def test_a_rectangle_is_where_it_should_be():
    """The oracle itself: a plane that moves towards the camera, seen from the origin."""
    clip = LongClip(
        shapes=[rectangle((0, 0, 4), (9, 9), velocity=(0, 0, -0.5))],
        poses=np.tile(np.eye(4), (3, 1, 1)),
        lens=np.array([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]]),
        map_hw=(10, 10),
    )
    assert np.allclose(clip.own(1)[0][0], np.array([-0.45, -0.45, 1.0]) * 3.5)
    assert np.allclose(clip.at(0, 2)[0], np.array([-0.45 * 4, -0.45 * 4, 3.0]))
    assert clip.seen(np.array([[0.0, 0, 4], [0, 0, 4.1], [0, 0, -1], [9, 0, 4]]), 0).tolist() == [
        True,
        False,
        False,
        False,
    ]
