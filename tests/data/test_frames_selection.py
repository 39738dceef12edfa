"""Which frames are used: by number, rate, stride and span, by the frames' own times."""

import re

import numpy as np
import pytest

from dynapoint.data import video_decoding
from dynapoint.data.frames import load_frames
from dynapoint.data.selection import FrameSelection, first_of_equal
from dynapoint.errors import ConfigError, InputError
from video_files import number_in, write_video


def numbers(frames) -> list[int]:
    return [number_in(image) for image in frames.images]


def test_a_rate_takes_the_frames_nearest_to_its_beats():
    rng = np.random.default_rng(0)
    for _ in range(300):
        times_s = np.cumsum(rng.uniform(1e-3, 0.3, rng.integers(1, 40)))
        times_s -= times_s[0]
        fps = rng.uniform(1, 100)
        beats = np.arange(0, times_s[-1] + 1e-9, 1 / fps)
        nearest = np.unique([np.abs(times_s - beat).argmin() for beat in beats])
        assert np.array_equal(FrameSelection(fps=fps).choose(times_s), nearest)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fps": 10.0}, list(range(0, 30, 3))),
        ({"fps": 10.0, "max_frames": 4}, [0, 3, 6, 9]),
        ({"fps": 1000.0}, list(range(30))),
        ({"fps": 0.1}, [0]),
        ({"stride": 7}, [0, 7, 14, 21, 28]),
        ({"stride": 7, "max_frames": 2}, [0, 7]),
        ({"stride": 1}, list(range(30))),
        ({"start_s": 0.5}, list(range(15, 30))),
        ({"end_s": 0.1}, [0, 1, 2, 3]),
        ({"end_s": 0.0}, [0]),
        ({"start_s": 0.1, "end_s": 0.3, "max_frames": 3}, [3, 6, 9]),
        ({"start_s": 0.11, "fps": 5.0}, [4, 10, 16, 22, 28]),
        ({"start_s": 0.5, "stride": 5}, [15, 20, 25]),
        ({"start_s": 0.7, "end_s": 0.7}, [21]),
    ],
)
def test_a_video_s_frames_are_those_selected(tmp_path, options, expected):
    # With B-frames, so that packets are not in the order of presentation.
    path = write_video(tmp_path / "clip.mp4", frames=30, keyframe_every=12)
    frames = load_frames(path, FrameSelection(**options))
    assert numbers(frames) == expected == frames.source_frame_index.tolist()
    np.testing.assert_allclose(frames.timestamps_s, np.array(expected) / 30, atol=1e-6)
    assert (frames.note is None) == (len(expected) == 30)


def test_a_variable_frame_rate_is_resampled_by_its_times(tmp_path):
    times_ms = [0, 10, 20, 30, 500, 980, 1000, 1400, 2000, 2020]
    path = write_video(tmp_path / "vfr.mkv", frames=10, times_ms=times_ms)
    frames = load_frames(path, FrameSelection(fps=2.0))
    assert numbers(frames) == [0, 4, 6, 7, 8]
    # They keep the times at which they are shown, not those of the beats.
    np.testing.assert_allclose(frames.timestamps_s, [0, 0.5, 1, 1.4, 2], atol=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov", ".webm", ".ts"])
def test_a_late_start_is_reached_by_a_jump_and_the_end_is_not_passed(tmp_path, monkeypatch, suffix):
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = write_video(
        tmp_path / f"long{suffix}", frames=50, keyframe_every=10, codec=codec, size_wh=(64, 48)
    )
    everything = load_frames(path, FrameSelection(stride=1))
    decoded = []
    real = video_decoding.Decoding._numbered

    def counted(decoding, frames):
        decoded.extend(frames)
        return real(decoding, frames)

    monkeypatch.setattr(video_decoding.Decoding, "_numbered", counted)
    part = load_frames(path, FrameSelection(start_s=1.2, end_s=1.4))
    assert part.source_frame_index.tolist() == list(range(36, 43))
    assert np.array_equal(part.images, everything.images[36:43])
    # AVI stores no times, so that its frames must be counted before; a transport stream's jump
    # misses its mark, so that it is read again from its start.
    assert len(decoded) <= {".avi": 100, ".ts": 70}.get(suffix, 30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fps": 5.0, "stride": 2}, "fps (5) and stride (2) both"),
        ({"start_s": 3.0, "end_s": 2.0}, "start (3 s) is after end (2 s)"),
        ({"max_frames": 0}, "frames is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"fps": 0.0}, "fps is 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": float("inf")}, "fps is inf"),
        ({"start_s": -1.0}, "start is -1 s"),
        ({"end_s": float("nan")}, "end is nan s"),
    ],
)
def test_what_contradicts_itself_is_refused(options, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        FrameSelection(**options)


def test_a_span_without_a_frame_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=30)
    for span in ({"start_s": 5.0}, {"start_s": 0.101, "end_s": 0.13}):
        with pytest.raises(InputError, match=r"no frame lies from .* the last one is at 0\.97 s"):
            load_frames(path, FrameSelection(**span))


@pytest.mark.parametrize("options", [{"fps": 5.0}, {"start_s": 1.0}, {"end_s": 1.0}])
def test_seconds_need_a_video(options):
    with pytest.raises(ConfigError, match="images and arrays carry no times"):
        load_frames(np.zeros((3, 8, 8, 3), np.uint8), FrameSelection(**options))


def test_a_stride_is_for_arrays_too():
    array = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    frames = load_frames(array, FrameSelection(stride=20))
    assert frames.images[:, 0, 0, 0].tolist() == [0, 20, 40] == frames.source_frame_index.tolist()
    assert frames.note == "3 of 50 frames used, one in 20"
    assert load_frames(array).count == 24


def test_the_note_says_what_was_left_out():
    def note(count, **options):
        selection = FrameSelection(**options)
        return selection.note(len(selection.choose(np.arange(count) / 10)), count)

    assert note(10) is None
    assert note(100) == "24 of 100 frames used, evenly spaced"
    assert note(100, fps=2.0) == "20 of 100 frames used, 2 a second"
    assert note(100, fps=2.0, max_frames=5).endswith("2 a second, no more were asked for")
    assert note(100, start_s=9.0, end_s=9.5) == "6 of 100 frames used, from 9 s, up to 9.5 s"


def test_the_first_of_equal_values():
    times_s = np.array([2.0, np.nan, 1.0, 2.0, np.nan, 1.0, 2.0])
    assert first_of_equal(times_s).tolist() == [0, 1, 2, 0, 4, 2, 0]
    assert first_of_equal(np.zeros(0)).tolist() == []


def test_a_damaged_frame_in_the_middle_leaves_the_others_their_times(tmp_path):
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "spots.mp4", frames=40, options=options, keyframe_every=1)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(bytes(content))
    frames = load_frames(path, FrameSelection(stride=1))
    assert 30 <= frames.count < 40 and "damaged" in frames.note
    np.testing.assert_allclose(
        frames.timestamps_s, np.array([number_in(image) for image in frames.images]) / 30, atol=1e-6
    )
