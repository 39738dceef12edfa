"""What the large network would cost here: the counts of docs/notes/published.md, in words."""

import pytest

from dynapoint.models.cards import DA3_SMALL, VDPM
from dynapoint.models.da3.cost import operations_of_clip
from dynapoint.models.vggt import cost
from dynapoint.models.vggt.cost import cost_of, cost_of_clip, duration_words, operations_a_second


@pytest.mark.parametrize(
    ("frames", "image_hw", "tera"),
    # Tracks of frame 0 by PyTorch's counter, longer sides of 518 (docs/notes/published.md).
    [(2, (280, 518), 13.7), (64, (294, 518), 25_852), (64, (518, 294), 25_852)],
)
def test_operations_are_those_counted(frames, image_hw, tera):
    assert cost_of(frames, image_hw).operations == pytest.approx(1e12 * tera, rel=0.05)


@pytest.mark.parametrize(
    ("frames", "image_hw", "tera"),
    # Depth and cameras of Depth Anything 3 Small by PyTorch's counter, of these images.
    [
        (2, (280, 504), 0.1105),
        (8, (280, 504), 0.5951),
        (24, (280, 504), 3.012),
        (24, (504, 378), 5.005),
    ],
)
def test_operations_of_the_small_one_are_those_counted(frames, image_hw, tera):
    assert operations_of_clip(frames, image_hw) == pytest.approx(1e12 * tera, rel=0.02)


def test_long_clips_of_the_small_one_cost_their_windows():
    step = DA3_SMALL.window - DA3_SMALL.overlap
    window = operations_of_clip(DA3_SMALL.window, (280, 504))
    long = operations_of_clip(DA3_SMALL.overlap + 5 * step, (280, 504))
    assert long == pytest.approx(5 * window)


def test_memory_is_more_than_the_weights_and_grows_with_the_clip():
    few, many = cost_of(10, (280, 518)), cost_of(64, (280, 518))
    assert 7.4e9 < few.memory_bytes < 8.2e9 < many.memory_bytes < 1.2e10


def test_long_clips_cost_windows_and_the_memory_of_one():
    window = cost_of(VDPM.window, (294, 518))
    step = VDPM.window - VDPM.overlap
    for windows in (7, 200):
        long = cost_of_clip(VDPM.overlap + windows * step, (294, 518))
        assert long.operations == pytest.approx(windows * window.operations)
        assert long.memory_bytes == window.memory_bytes
    assert cost_of_clip(VDPM.at_once, (294, 518)) == cost_of(VDPM.at_once, (294, 518))


def test_the_rate_is_that_of_a_product(monkeypatch):
    """A clock that ticks by a hundredth of a second tells of 859 GFLOP/s, less what is lost."""
    now = iter(range(100))
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(now) / 100)
    assert operations_a_second() == pytest.approx(0.85 * 2 * 512 * 2048 * 4096 * 100)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (47.0, "47 s"),
        (100.0, "2 minutes"),
        (5000.0, "83 minutes"),
        (20_000.0, "6 hours"),
        (200_000.0, "2 days"),
    ],
)
def test_durations_are_said_as_people_do(seconds, words):
    assert duration_words(seconds) == words
