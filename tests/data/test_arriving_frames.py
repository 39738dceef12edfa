"""Frames that come as they come: pipes, iterators, and FFmpeg's test picture for a camera."""

import io
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynapoint.data.arriving import PicturesArriving
from dynapoint.data.frame_stream import between_of, frames_of, open_stream
from dynapoint.data.frames import load_frames
from dynapoint.data.live import open_camera
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import Thinned
from dynapoint.data.streamed import StreamRequest
from dynapoint.errors import ConfigError, InputError
from streams import assert_same_part, save, spoilt, textures, write
from video_files import numbered_picture

EVERY = FrameSelection.every()


class Pipe:
    """Gives bytes a few at a time, and knows no other way."""

    def __init__(self, content, most=3000):
        self._file, self._most = io.BytesIO(content), most

    def read(self, size):
        return self._file.read(min(size, self._most))


def streamed(source, selection=EVERY, **options):
    with open_stream(source, selection, **options) as stream:
        found = list(stream)
        assert stream.frame_count == len(found)
        return found, frames_of(found, stream)


SELECTIONS = [
    EVERY,
    FrameSelection(stride=3, max_frames=5),
    FrameSelection(fps=7.0),
    FrameSelection(fps=90.0),
    FrameSelection(fps=5.0, start_s=0.7, end_s=1.6),
    FrameSelection(stride=2, end_s=0.5),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_pipe_gives_what_the_file_gives(tmp_path, suffix, selection):
    path = write(tmp_path / f"a{suffix}", options={"bf": "3"})
    loaded = load_frames(path, selection)
    found, frames = streamed(Pipe(path.read_bytes()), selection)
    np.testing.assert_array_equal(frames.images, loaded.images)
    np.testing.assert_array_equal(frames.timestamps_s, loaded.timestamps_s)
    np.testing.assert_array_equal(frames.source_frame_index, loaded.source_frame_index)
    assert frames.from_video and frames.identity is None and frames.name == "pipe"
    used = set(loaded.source_frame_index.tolist())
    lie_between = set(range(min(used), max(used))) - used
    assert {each.source_index for frame in found for each in frame.between} == lie_between
    with open_stream(path, selection) as stream:
        expected = list(stream)
    assert_same_part(expected, found)
    with open_stream(Pipe(path.read_bytes()), selection) as stream:
        assert_same_part(found[2:], list(stream.frames(2)))
        assert stream.note == frames.note


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.avi", "libx264", {"bf": "3"}),
        ("a.mkv", "libx264", {"x264-params": "interlaced=1:tff=1"}),
        ("a.flv", "libx264", {}),
        ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.h264", "libx264", {"bf": "2"}),
        ("a.mjpeg", "mjpeg", {}),
    ],
)
def test_what_can_be_read_from_the_front_to_the_back(tmp_path, name, codec, options):
    made = {key: value for key, value in options.items() if key != "movflags"}
    path = write(tmp_path / name, 20, codec=codec, options=made)
    if "movflags" in options:
        command = ["-i", path, "-c", "copy", "-f", "mp4", "-movflags", options["movflags"], "-"]
        content = ffmpeg(*command)
    else:
        content = path.read_bytes()
    _, frames = streamed(Pipe(content))
    loaded = load_frames(path, EVERY)
    np.testing.assert_array_equal(frames.images, loaded.images)
    np.testing.assert_allclose(frames.timestamps_s, loaded.timestamps_s, atol=1e-9)
    assert frames.note == loaded.note


def ffmpeg(*arguments):
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("no ffmpeg")
    return subprocess.run(
        [program, "-v", "error", *arguments], check=True, capture_output=True
    ).stdout


def test_joined_recordings_and_a_beginning_amid_a_group(tmp_path):
    content = write(tmp_path / "a.ts", 20, codec="mpeg2video").read_bytes()
    _, frames = streamed(Pipe(content + content))
    assert frames.count == 40 and frames.note is None
    np.testing.assert_allclose(frames.timestamps_s, np.arange(40) / 20, atol=1e-3)
    (tmp_path / "b.ts").write_bytes(content[188 * 20 :])
    loaded = load_frames(tmp_path / "b.ts", EVERY)
    _, frames = streamed(Pipe(content[188 * 20 :]))
    np.testing.assert_array_equal(frames.images, loaded.images)
    assert frames.note == loaded.note and "at the start left out" in frames.note


@pytest.mark.parametrize("bf", ["0", "3"])
def test_what_is_built_on_a_broken_frame_is_left_out(tmp_path, bf):
    path = write(tmp_path / "a.mkv", options={"bf": bf})
    path = spoilt(path, tmp_path / "b.mkv", {13, 27})
    loaded = load_frames(path, EVERY)
    _, frames = streamed(Pipe(path.read_bytes()))
    assert frames.count == loaded.count < 40
    np.testing.assert_array_equal(frames.images, loaded.images)
    np.testing.assert_array_equal(frames.timestamps_s, loaded.timestamps_s)
    assert frames.note == loaded.note.replace("b.mkv", "pipe")


def test_a_frame_is_there_before_the_next_has_been_written(tmp_path):
    content = write(tmp_path / "a.ts", 200, options={"bf": "0"}).read_bytes()
    reading, writing = os.pipe()
    asked = threading.Semaphore(0)

    def produce():
        with os.fdopen(writing, "wb") as out:
            half = len(content) // 2
            out.write(content[:half])
            out.flush()
            asked.acquire(timeout=20)
            out.write(content[half:])

    producer = threading.Thread(target=produce)
    producer.start()
    with os.fdopen(reading, "rb") as file, open_stream(file, EVERY) as stream:
        frames = iter(stream)
        first = [next(frames) for _ in range(60)]
        asked.release()
        rest = list(frames)
    producer.join()
    assert [frame.source_index for frame in (*first, *rest)] == list(range(200))


def test_standard_input_and_a_named_pipe(tmp_path):
    path = write(tmp_path / "a.mkv", 20)
    script = (
        "from dynapoint.data.frame_stream import open_stream\n"
        "from dynapoint.data.selection import FrameSelection\n"
        "with open_stream('-', FrameSelection(stride=2)) as stream:\n"
        "    print([frame.source_index for frame in stream], stream.note)\n"
    )
    with path.open("rb") as file:
        told = subprocess.run(
            [sys.executable, "-c", script], stdin=file, capture_output=True, text=True, check=True
        )
    assert told.stdout == f"{list(range(0, 20, 2))} 10 of 20 frames used, one in 2\n"
    fifo = tmp_path / "film"
    os.mkfifo(fifo)
    producer = threading.Thread(target=lambda: fifo.write_bytes(path.read_bytes()))
    producer.start()
    _, frames = streamed(fifo)
    producer.join()
    assert frames.count == 20 and frames.name == "film"


@pytest.mark.parametrize("content", [b"", b"hello " * 1000, bytes(5000)])
def test_a_pipe_that_holds_no_video(content):
    with pytest.raises(InputError, match=r"the input pipe .*ffmpeg -i VIDEO -f matroska"):
        open_stream(Pipe(content), EVERY)


def test_an_mp4_whose_index_stands_last_cannot_come_through_a_pipe(tmp_path):
    content = write(tmp_path / "a.mp4", options={"crf": "0"}).read_bytes()
    with open_stream(Pipe(content), EVERY) as stream, pytest.raises(InputError, match="fragmented"):
        list(stream)


def camera(selection, size="64x48", rate=25):
    source = f"testsrc=size={size}:rate={rate}"
    request = StreamRequest(selection=selection)
    return open_camera(source, request, name="camera0", format="lavfi")


def test_a_device_is_read_for_as_long_as_is_asked():
    with camera(FrameSelection(fps=5.0, max_frames=4)) as stream:
        found = list(stream)
        assert stream.note == "4 frames used, 5 a second, no more were asked for"
        assert stream.source_count is None and stream.frame_count == 4
    assert [frame.source_index for frame in found] == [0, 5, 10, 15]
    assert [round(frame.timestamp_s, 9) for frame in found] == [0, 0.2, 0.4, 0.6]
    assert all(frame.image.shape == (48, 64, 3) for frame in found)
    assert [len(frame.between) for frame in found] == [0, 4, 4, 4]
    with camera(FrameSelection.every(end_s=1.0)) as stream:
        assert [frame.source_index for frame in stream] == list(range(26))


@pytest.mark.parametrize("device", ["camera:63", "/dev/null"])
def test_a_camera_that_is_not_there(device):
    with pytest.raises(
        InputError, match=r"camera /dev/.* cannot be opened .*check that it is there"
    ):
        open_stream(device, EVERY)


def test_evenly_spaced_frames_times_and_masks_need_a_source_that_is_known():
    for source in ("-", "camera:0", Pipe(b""), iter([])):
        for selection in (None, FrameSelection(max_frames=5), FrameSelection(end_s=3.0)):
            with pytest.raises(ConfigError, match="--frames all, --stride or --fps"):
                open_stream(source, selection)
        for given in ({"times_s": [1]}, {"ignore_masks": "masks"}):
            with pytest.raises(ConfigError, match="save them as a video or images first"):
                open_stream(source, EVERY, **given)


# Iterators.


def test_an_iterator_of_arrays_gives_what_the_array_gives():
    array = np.stack(textures(14))
    for kind in (np.uint8, np.uint16, np.float32):
        values = (array * {np.uint8: 1.0, np.uint16: 257.0, np.float32: 1 / 255}[kind]).astype(kind)
        for selection in (EVERY, FrameSelection(stride=4), FrameSelection(stride=3, max_frames=2)):
            with open_stream(values, selection) as stream:
                expected = list(stream)
            found, frames = streamed((each for each in values), selection)
            assert_same_part(expected, found)
            assert frames.name == "pictures" and frames.timestamps_s[1] == found[1].source_index
            both = between_of(found), between_of(expected)
            np.testing.assert_array_equal(both[0].pictures, both[1].pictures)


def test_an_iterator_of_tensors():
    import torch

    array = np.stack(textures(3))
    for tensors in (torch.from_numpy(array), torch.from_numpy(array).permute(0, 3, 1, 2)):
        found, _ = streamed(iter(tensors))
        np.testing.assert_array_equal([frame.image for frame in found], array)


def test_an_iterator_of_paths_gives_what_the_list_gives(tmp_path):
    paths = save(tmp_path / "shots", 7)
    Image.fromarray(numbered_picture(4, (192, 128))).save(paths[4])
    for selection in (EVERY, FrameSelection(stride=2), FrameSelection(stride=3)):
        loaded = load_frames(paths, selection)
        with open_stream(paths, selection) as stream:
            expected = list(stream)
        found, frames = streamed(map(str, paths), selection)
        assert_same_part(expected, found)
        assert frames.file_names == loaded.file_names and frames.note == loaded.note
        np.testing.assert_array_equal(frames.scale_of_given, loaded.scale_of_given)


def test_no_picture_is_asked_for_before_it_is_needed():
    asked = []

    def pictures():
        for number in count():
            asked.append(number)
            yield np.full((8, 8, 3), number, np.uint8)

    with open_stream(pictures(), FrameSelection(stride=2)) as stream:
        frames = iter(stream)
        for number in range(3):
            assert next(frames).image[0, 0, 0] == 2 * number
            assert asked == list(range(2 * number + 1))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (np.zeros((6, 8, 3), np.uint8), "picture 1 is 8x6 but those before are 8x8"),
        (np.zeros((8, 8), np.uint8), r"picture 1 is an array of shape \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"array has shape \(1, 8, 8, 4\)"),
        (np.full((8, 8, 3), 7.0), "array of floats holds values from 7 to 7"),
        ({"image": 1}, "picture 1 is a dict; give"),
        ("none.png", "image none.png does not exist"),
        ("notes.txt", "file notes.txt stands in a list of images"),
    ],
)
def test_what_is_no_picture_is_refused_when_it_comes(second, words):
    with open_stream(iter([np.zeros((8, 8, 3), np.uint8), second]), EVERY) as stream:
        frames = iter(stream)
        next(frames)
        with pytest.raises(InputError, match=words):
            next(frames)


def test_an_iterator_that_gives_nothing_and_one_in_seconds():
    with open_stream(iter([]), EVERY) as stream, pytest.raises(InputError, match="gave no frame"):
        list(stream)
    with pytest.raises(ConfigError, match="--fps, --start and --end need a video"):
        open_stream(iter([]), FrameSelection(fps=2.0))


def test_what_lies_between_is_bounded_and_spread():
    pictures = (np.full((8, 8, 3), number % 200, np.uint8) for number in range(1001))
    request = StreamRequest(selection=FrameSelection(stride=500), most_between=9)
    found = list(PicturesArriving(pictures, request))
    for frame in found[1:]:
        index = [each.source_index for each in frame.between]
        assert len(index) == 9 and frame.source_index - 500 < index[0] < index[-1]
        steps = np.diff([frame.source_index - 500, *index, frame.source_index])
        assert steps.min() > 25 and steps.max() < 100
        assert all((each.picture == each.source_index % 200).all() for each in frame.between)


@pytest.mark.parametrize("most", [0, 1, 2, 7])
def test_thinned_items_are_spread_evenly_whatever_their_number(most):
    rng = np.random.default_rng(most)
    thinned, number = Thinned(most), 0
    for length in [0, 1, *rng.integers(0, 300, 40).tolist()]:
        first = number
        for number in range(first, first + length):
            thinned.offer(number, lambda each=number: each)
        number = first + length
        taken = np.array(thinned.take(number), dtype=int)
        assert len(taken) == min(length, most) and (np.diff(taken) > 0).all()
        if 0 < most < length:
            gaps = np.diff([first - 1, *taken, number])
            assert gaps.max() <= 2.6 * length / most + 2
        number += 1


def test_memory_of_a_pipe_does_not_grow(tmp_path):
    peaks = []
    for frames in (50, 100, 400):
        content = write(tmp_path / f"{frames}.ts", frames).read_bytes()
        tracemalloc.start()
        with open_stream(Pipe(content, 1 << 16), FrameSelection(stride=2)) as stream:
            for _ in stream:
                pass
        peaks.append(tracemalloc.get_traced_memory()[1] - len(content))
        tracemalloc.stop()
    # The first run loads what is loaded on first use; 300 pictures more would be 18 MB.
    assert peaks[2] - peaks[1] < 50_000


def test_the_package_reads_pictures_without_ffmpeg(tmp_path):
    paths = save(tmp_path / "shots", 2)
    script = (
        "import sys\nsys.modules['av'] = None\n"
        "from dynapoint.data.frame_stream import open_stream\n"
        f"print(len(list(open_stream({str(paths[0].parent)!r}))))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout == "2\n" and Path(paths[0]).exists()
