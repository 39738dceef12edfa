"""Segments of a stream of pictures: cuts, black and frozen stretches, and what is none of them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dynapoint.windows.cuts import CutFinder, find_segments
from dynapoint.windows.likeness import Comparison, look_of
from folders import SHARED

CLIPS = SHARED / "bench" / "clips"


def shot(seed, count=30, *, step=2.0):
    """A camera that pans to and fro over tinted clouds: (frame, 60, 80, 3)."""
    random = np.random.default_rng(seed)
    wide = np.zeros((100, 240, 3))
    for grain in (4, 8, 16, 32):
        grains = random.normal(0, 80 / np.sqrt(grain), (grain, grain * 2, 3))
        wide += cv2.resize(grains, (240, 100), interpolation=cv2.INTER_CUBIC)
    wide = bytes_of((wide + 128) * random.uniform(0.3, 1, 3))
    shifts = 160 - np.abs(step * np.arange(count) % 320 - 160)
    return np.stack(
        [cv2.warpAffine(wide, np.array([[1, 0, -x], [0, 1, -20]]), (80, 60)) for x in shifts]
    )


def found(pictures, rate=30.0):
    """(start, kind) of the segments, which follow each other."""
    segments = find_segments(pictures, np.arange(len(pictures)) / rate)
    assert [each.start for each in segments[1:]] == [each.stop for each in segments[:-1]]
    assert segments[0].start == 0 and segments[-1].stop == len(pictures)
    assert segments[0].begins_with == "start"
    return [(each.start, each.kind) for each in segments]


def bytes_of(values):
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("seed", "grey"), [(0, False), (1, False), (2, False), (0, True)])
def test_cuts_between_shots_are_found_to_the_frame(seed, grey):
    random = np.random.default_rng(seed)
    counts = random.integers(6, 20, 4)
    pictures = np.concatenate([shot(10 * seed + k, count) for k, count in enumerate(counts)])
    if grey:
        pictures = np.stack([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in pictures])
    expected = [(int(start), "scene") for start in np.cumsum([0, *counts[:-1]])]
    assert found(pictures) == expected
    assert found(pictures[::2])[1:] == [(-(-start // 2), kind) for start, kind in expected[1:]]


def test_a_cut_is_told_three_frames_later():
    finder, told = CutFinder(), []
    for frame, picture in enumerate(np.concatenate([shot(0, 12), shot(1, 12)])):
        told += [(frame, segment.stop) for segment in finder.look(picture, frame / 30)]
        assert finder.open is None or finder.open.stop >= frame - 3
    assert told == [(15, 12)]
    assert [segment.begins_with for segment in finder.finish()] == ["cut"]


def flicker(pictures):
    gains = 1 + 0.6 * np.sin(1.7 * np.arange(len(pictures)))
    return bytes_of(pictures * gains[:, None, None, None])


def exposures(pictures):
    gains = np.where(np.arange(len(pictures)) // 5 % 2, 1.6, 0.4)
    return bytes_of(pictures * gains[:, None, None, None])


def noise(pictures):
    return bytes_of(pictures + np.random.default_rng(0).normal(0, 25, pictures.shape))


def flashes(pictures):
    lit = pictures.copy()
    lit[8:9], lit[15:17], lit[24:26] = 255, 255, 0
    return lit


def passing_object(pictures):
    shown, thing = pictures.copy(), shot(99, 1)[0]
    for frame in range(8, 15):
        left = 80 - 30 * (frame - 8)
        shown[frame, :, max(left, 0) : max(left + 80, 0)] = thing[
            :, max(-left, 0) : 80 - max(left, 0)
        ]
    return shown


def repeats(pictures):
    return np.repeat(pictures, 1 + (np.arange(len(pictures)) % 4 == 0), axis=0)


def stutter(pictures):
    return np.concatenate([pictures[:10], np.repeat(pictures[10:11], 11, 0), pictures[16:]])


@pytest.mark.parametrize(
    "change", [flicker, exposures, noise, flashes, passing_object, repeats, stutter]
)
@pytest.mark.parametrize("step", [1.0, 3.0])
def test_one_shot_is_one_segment(change, step):
    assert found(change(shot(3, 36, step=step))) == [(0, "scene")]


def test_a_fast_pan_is_no_cut():
    slow, fast = shot(5, 12, step=1.0), shot(5, 24, step=24.0)
    assert found(np.concatenate([slow, fast, slow])) == [(0, "scene")]


def test_black_stretches_are_found_to_the_frame():
    first, second = shot(0, 20), shot(1, 20)
    dim = bytes_of(np.random.default_rng(0).normal(12, 4, (3, 60, 80, 3)))
    pictures = np.concatenate([np.zeros_like(first[:3]), first, dim, second, first[:2] * 0])
    assert found(pictures) == [(0, "black"), (3, "scene"), (23, "black"), (26, "scene")]
    assert found(np.zeros_like(first[:2])) == [(0, "black")]
    night = bytes_of(first / 10)
    assert found(night) == [(0, "scene")]


def test_a_fade_through_black_is_a_black_stretch():
    down, up = np.linspace(1, 0, 12), np.linspace(0, 1, 12)
    first, second = shot(0, 30), shot(1, 30)
    first[18:] = bytes_of(first[18:] * down[:, None, None, None])
    second[:12] = bytes_of(second[:12] * up[:, None, None, None])
    segments = found(np.concatenate([first, first[:4] * 0, second]))
    assert [kind for _, kind in segments] == ["scene", "black", "scene"]
    assert 28 <= segments[1][0] <= 29 and 35 <= segments[2][0] <= 36


@pytest.mark.parametrize(("count", "rate"), [(30, 30.0), (70, 30.0), (12, 10.0), (60, 60.0)])
def test_frozen_stretches_are_found_to_the_frame(count, rate):
    pictures = shot(0, 40)
    frozen = np.repeat(pictures[20:21], count, axis=0)
    stretch = np.concatenate([pictures[:20], frozen, pictures[21:]])
    assert found(stretch, rate) == [(0, "scene"), (20, "frozen"), (20 + count, "scene")]


@pytest.mark.parametrize(("count", "rate"), [(29, 30.0), (11, 1.0), (50, 60.0)])
def test_shorter_repetitions_are_not_frozen(count, rate):
    pictures = shot(0, 40)
    frozen = np.repeat(pictures[20:21], count, axis=0)
    assert found(np.concatenate([pictures[:20], frozen, pictures[21:]]), rate) == [(0, "scene")]


def test_a_picture_that_is_coded_anew_stays_frozen():
    pictures, random = shot(0, 40), np.random.default_rng(0)
    frozen = np.repeat(pictures[20:21], 60, axis=0)
    frozen[25:] = bytes_of(frozen[25:] + random.normal(0, 1.5, frozen.shape[1:]))
    stretch = np.concatenate([pictures[:20], frozen, pictures[21:]])
    assert found(stretch) == [(0, "scene"), (20, "frozen"), (80, "scene")]


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_a_camera_on_a_tripod_is_not_frozen(sigma):
    still = np.repeat(shot(0, 1), 60, axis=0)
    random = np.random.default_rng(0)
    assert found(bytes_of(still + random.normal(0, sigma, still.shape))) == [(0, "scene")]
    for frame, picture in enumerate(still):
        cv2.circle(picture, (10 + frame // 2, 30), 2, (250, 20, 20), -1)
    assert found(still) == [(0, "scene")]


def test_slides_are_stretches_of_their_own():
    slides = np.concatenate([np.repeat(shot(seed, 1), 45, axis=0) for seed in range(3)])
    assert found(slides) == [(0, "frozen"), (45, "frozen"), (90, "frozen")]


@pytest.mark.parametrize("count", [10, 16])
def test_a_dissolve_is_a_cut(count):
    first, second = shot(0, 20 + count, step=0.5), shot(3, 30 + count, step=0.5)
    share = ((np.arange(count) + 1) / (count + 1))[:, None, None, None]
    blends = bytes_of(first[20:] * (1 - share) + second[:count] * share)
    segments = found(np.concatenate([first[:20], blends, second[count:]]))
    assert [kind for _, kind in segments] == ["scene", "scene"]
    assert abs(segments[1][0] - 20 - count) <= 8


def test_views_of_one_moment_are_no_cuts():
    cameras = [shot(seed, 12) for seed in range(6)]
    pictures = np.stack(cameras, axis=1).reshape(-1, 60, 80, 3)
    times = np.repeat(np.arange(12) / 30, 6)
    assert len(find_segments(pictures, times)) == 1


def test_few_frames():
    assert find_segments([], []) == ()
    assert found(shot(0, 1)) == [(0, "scene")]
    assert found(np.concatenate([shot(0, 1), shot(1, 1)])) == [(0, "scene")]
    assert found(np.concatenate([shot(0, 2), shot(1, 2)])) == [(0, "scene"), (2, "scene")]


def test_pictures_may_change_their_size():
    small = [cv2.resize(each, (50, 70)) for each in shot(0, 10)]
    assert found([*shot(0, 10), *small[::-1]]) == [(0, "scene")]
    assert found([*shot(0, 10), *(cv2.resize(each, (50, 70)) for each in shot(1, 10))]) == [
        (0, "scene"),
        (10, "scene"),
    ]


def test_memory_does_not_grow_with_the_video():
    finder = CutFinder()
    for frame in range(400):
        picture = np.full((60, 80, 3), 128, dtype=np.uint8)
        finder.look(picture, 0.0 if frame < 300 else frame / 30)
        kept = {id(each.look) for each in finder._waiting}
        assert len(kept) <= 4


def test_likeness_of_a_picture_moved_and_lit_otherwise():
    pan = shot(7, 6, step=6.0)
    looks = [look_of(each, upright=False) for each in (pan[0], bytes_of(pan[2] * 0.5), pan[0])]
    comparison = Comparison()
    assert comparison.likeness(looks[0], looks[1]).structure > 0.5
    assert comparison.likeness(looks[0], looks[1]).colours > 0.9
    assert comparison.likeness(looks[0], looks[2]).colours == pytest.approx(1, abs=1e-5)
    other = look_of(shot(0, 1)[0], upright=False)
    assert comparison.likeness(looks[0], other).structure < 0.2
    black = [np.pad(each[12:-12], ((12, 12), (0, 0), (0, 0))) for each in (pan[0], shot(0, 1)[0])]
    barred = [look_of(each, upright=False) for each in black]
    with_bars = [replace(look, bars=(0, 0, 0, 0)) for look in barred]
    assert comparison.likeness(*barred).structure < 0.25
    assert comparison.likeness(*with_bars).structure > comparison.likeness(*barred).structure + 0.05


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the bench clips are not there")
def test_clips_of_few_frames_that_are_far_apart():
    clips = [
        [
            cv2.resize(cv2.imread(str(path))[..., ::-1], (160, 120), interpolation=cv2.INTER_AREA)
            for path in sorted(folder.glob("*.jpg"))
        ]
        for folder in sorted(CLIPS.iterdir())
    ]
    starts = np.cumsum([0, *(len(clip) for clip in clips[:-1])]).tolist()
    assert found([each for clip in clips for each in clip], 1.0) == [
        (start, "scene") for start in starts
    ]
