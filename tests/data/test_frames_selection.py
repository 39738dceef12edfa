"""Which frames are used: by number, rate, stride and span, by the frames' own times."""

import re

import numpy as np
import pytest

from dynapoint.data import video_decoding
from dynapoint.data.frames import load_frames
from dynapoint.data.selection import FrameSelection, first_of_equal, selection_of
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


def test_frames_chosen_as_they_come_are_those_chosen_at_once():
    rng = np.random.default_rng(0)
    for _ in range(400):
        steps = rng.choice([0.001, 0.02, 1 / 30, 0.04, 1.5], rng.integers(0, 60))
        times_s = np.concatenate([[0.0], np.cumsum(steps)])
        kind = rng.integers(3)
        selection = FrameSelection(
            fps=float(rng.choice([0.3, 2, 7, 25, 30, 400])) if kind == 0 else None,
            stride=int(rng.integers(1, 9)) if kind else None,
            start_s=float(rng.uniform(0, 1)) if rng.random() < 0.3 else None,
            end_s=float(rng.uniform(1, 3)) if rng.random() < 0.3 else None,
            max_frames=int(rng.integers(1, 12)) if rng.random() < 0.3 else None,
        )
        coming = zip(times_s.tolist(), range(len(times_s)), strict=True)
        try:
            expected = selection.choose(times_s).tolist()
        except InputError as error:
            with pytest.raises(InputError) as streamed:
                list(selection.choose_as_they_come(coming))
            said = re.sub(r"(last|next) one is at \S+ s", "", str(streamed.value))
            assert said == re.sub(r"last one is at \S+ s", "", str(error))
            continue
        found = list(selection.choose_as_they_come(coming))
        assert [index for _, index in found] == expected
        assert [time_s for time_s, _ in found] == times_s[expected].tolist()
        last = selection.max_frames
        if kind and last is not None and len(expected) == last:
            # No frame behind the last one was asked for.
            assert next(coming, (0.0, len(times_s)))[1] == expected[-1] + 1


def test_evenly_spaced_frames_cannot_be_chosen_as_they_come():
    for selection in (FrameSelection(), FrameSelection(max_frames=5, end_s=2.0)):
        with pytest.raises(ConfigError, match="--frames all, --stride or --fps"):
            list(selection.choose_as_they_come([]))


def test_what_is_asked_for_in_one_word():
    given = FrameSelection(fps=2.0)
    assert selection_of(given) is given
    assert selection_of(7) == selection_of(np.int64(7)) == FrameSelection(max_frames=7)
    assert selection_of("all") == FrameSelection.every() == FrameSelection(stride=1)
    assert FrameSelection.every(start_s=1.0).choose(np.arange(4.0)).tolist() == [1, 2, 3]
    for wrong in ("every", "12", 2.5, None, [1]):
        with pytest.raises(ConfigError, match="give a number, 'all', or a FrameSelection"):
            selection_of(wrong)
    with pytest.raises(ConfigError, match="frames is 0; give 1 or more"):
        selection_of(0)


def test_the_note_of_a_source_whose_end_nobody_saw():
    assert FrameSelection(stride=1, max_frames=5).note(5, None) == (
        "5 frames used, no more were asked for"
    )
    assert FrameSelection(stride=1, max_frames=5).note(5, 9) == (
        "5 of 9 frames used, no more were asked for"
    )
    assert FrameSelection.every(end_s=2.0).note(40, None) == "40 frames used, up to 2 s"
