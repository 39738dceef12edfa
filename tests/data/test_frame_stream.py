"""Streams of files and arrays: frame by frame what `load_frames` gives, in bounded memory."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from PIL import ExifTags, Image

from dynapoint.data.between import load_between
from dynapoint.data.frame_stream import between_of, frames_of, open_stream
from dynapoint.data.frames import load_frames
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.errors import ConfigError, DynapointError, InputError
from streams import assert_same_part, save, spoilt, write
from video_files import numbered_picture, set_display_matrix, write_planes, write_video

EVERY = FrameSelection.every()
ARRAYS = ("images", "timestamps_s", "source_frame_index", "given_hw", "sizes_hw", "ignore")
WORDS = ("name", "note", "source_count", "file_names", "from_video", "identity")


def assert_same(frames, other):
    for name in ARRAYS:
        one, two = getattr(frames, name), getattr(other, name)
        assert (one is None) == (two is None), name
        if one is not None:
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two, err_msg=name)
    for name in WORDS:
        assert getattr(frames, name) == getattr(other, name), name


def check(source, selection=EVERY, *, start=2, **given):
    """A stream, whole and begun later, is what `load_frames` and `load_between` give."""
    loaded = load_frames(source, selection, **given)
    with open_stream(source, selection, **given) as stream:
        found = list(stream)
        assert stream.frame_count == len(found) == loaded.count
        assert stream.image_hw == loaded.image_hw
        assert_same(frames_of(found, stream), loaded)
    assert [frame.number for frame in found] == list(range(loaded.count))
    between, expected = between_of(found), load_between(source, loaded)
    assert between.in_order == expected.in_order
    np.testing.assert_array_equal(between.used, expected.used)
    np.testing.assert_array_equal(between.source_index, expected.source_index)
    np.testing.assert_allclose(between.times_s, expected.times_s, atol=1e-9, equal_nan=True)
    np.testing.assert_array_equal(between.pictures, expected.pictures)
    with open_stream(source, selection, **given) as stream:
        later = list(stream.frames(start))
        assert len(later) == max(0, loaded.count - start)
        if later:
            assert_same_part(found[start:], later)
        if stream.from_video:
            assert stream.note == loaded.note
    return loaded


SELECTIONS = [
    EVERY,
    FrameSelection(max_frames=7),
    FrameSelection(stride=3, max_frames=5),
    FrameSelection(fps=7.5),
    FrameSelection(fps=5.0, start_s=0.7, end_s=1.6),
    FrameSelection.every(start_s=0.95),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
@pytest.mark.parametrize("made", [{}, {"bf": "3"}, {"x264-params": "interlaced=1:tff=1"}])
def test_a_video_is_what_is_loaded(tmp_path, selection, made):
    check(write(tmp_path / "a.mp4", options=made), selection)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.ts", "libx264"), ("a.webm", "libvpx"), ("a.avi", "libx264"), ("a.h264", "libx264")],
)
def test_containers_and_codecs(tmp_path, name, codec):
    check(write(tmp_path / name, codec=codec), FrameSelection(stride=3))


def test_a_variable_rate_turned_and_not_square(tmp_path):
    times_ms = [0, 40, 60, 200, 210, 500, 900, 1000]
    check(write_video(tmp_path / "vfr.mkv", frames=8, times_ms=times_ms), FrameSelection(stride=3))
    path = write_video(tmp_path / "turned.mp4", frames=9)
    set_display_matrix(path, 0, 1, -1, 0)
    assert check(path).image_hw == (96, 64)
    planes = [
        [np.full((64, 96), 20 * n, np.uint8)] + [np.full((32, 48), 128, np.uint8)] * 2
        for n in range(4)
    ]
    path = write_planes(
        tmp_path / "wide.mp4", planes, codec="libx264", pix_fmt="yuv420p", pixel_aspect=Fraction(2)
    )
    assert "made square" in check(path).note


# Damage.


@pytest.mark.parametrize(
    "selection", [EVERY, FrameSelection(max_frames=6), FrameSelection(fps=6.0)]
)
def test_a_video_that_breaks_off(tmp_path, selection):
    path = write(tmp_path / "cut.mkv", count=60)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    loaded = check(path, selection)
    assert "breaks off" in loaded.note and loaded.source_count < 60


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_a_torn_video(tmp_path, name):
    path = write(tmp_path / name)
    content = path.read_bytes()
    half = 188 * (len(content) // 376)
    hole = bytes(400) if name == "a.mkv" else b""
    path.write_bytes(content[:half] + hole + content[half + (400 if hole else 6 * 188) :])
    assert "is damaged" in check(path).note


@pytest.mark.parametrize("bf", ["0", "3"])
@pytest.mark.parametrize("selection", [EVERY, FrameSelection(stride=2), FrameSelection(fps=7.0)])
def test_damage_that_is_found_midway(tmp_path, bf, selection):
    path = write(tmp_path / "a.mkv", options={"bf": bf})
    path = spoilt(path, tmp_path / "b.mkv", {13, 27})
    with open_stream(path, selection) as stream:
        planned, first = stream.frame_count, stream.note
        assert first is None or "damaged" not in first
        list(stream)
        assert stream.frame_count < planned and "is damaged" in stream.note
    for start in (2, 11):
        check(path, selection, start=start)


def test_evenly_spaced_frames_chosen_before_damage_was_found_stay(tmp_path):
    whole = write(tmp_path / "a.mkv", options={"bf": "0"})
    path = spoilt(whole, tmp_path / "b.mkv", {24})
    with open_stream(whole, FrameSelection(max_frames=8)) as stream:
        expected = {frame.timestamp_s: frame.image for frame in stream}
    with open_stream(path, FrameSelection(max_frames=8)) as stream:
        found = list(stream)
        assert stream.frame_count == len(found) and "is damaged" in stream.note
    lost = [time_s for time_s in expected if 1.2 - 1e-3 <= time_s < 1.5 - 1e-3]
    assert [each.source_index for each in found] == sorted({each.source_index for each in found})
    assert len(found) == len(expected) - len(lost) > 4 and lost
    for frame, (time_s, image) in zip(found, sorted(expected.items()), strict=False):
        if time_s < 1.2 - 1e-3:
            assert frame.timestamp_s == time_s
            np.testing.assert_array_equal(frame.image, image)
    with open_stream(path, FrameSelection(max_frames=8)) as stream:
        assert_same_part(found[6:], list(stream.frames(6)))


def test_a_video_of_which_nothing_can_be_decoded(tmp_path):
    path = spoilt(write(tmp_path / "a.mkv", 3, options={"bf": "0"}), tmp_path / "b.mkv", {0, 1, 2})
    with pytest.raises(InputError, match="not one of its frames") as loaded:
        load_frames(path)
    with pytest.raises(InputError) as streamed, open_stream(path) as stream:
        list(stream)
    assert str(streamed.value) == str(loaded.value)


# Pictures and arrays.


@pytest.mark.parametrize("selection", [EVERY, FrameSelection(max_frames=4)])
@pytest.mark.parametrize("kind", ["folder", "list", "pattern", "one"])
def test_image_files(tmp_path, kind, selection):
    paths = save(tmp_path / "shots", 11)
    source = {
        "folder": tmp_path / "shots",
        "list": [str(path) for path in reversed(paths)],
        "pattern": str(tmp_path / "shots" / "shot_*.png"),
        "one": paths[0],
    }[kind]
    check(source, selection)


def test_images_of_several_sizes_and_turns(tmp_path):
    paths = save(tmp_path / "shots", 6)
    Image.fromarray(numbered_picture(3, (192, 128))).save(paths[3])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(paths[4]).transpose(Image.Transpose.ROTATE_90).save(paths[4], exif=exif)
    loaded = check(paths)
    assert loaded.given_hw is not None and "1 images brought to 96x64" in loaded.note
    check(paths, FrameSelection(stride=2))


def test_images_that_cannot_be_used_are_refused_before_the_first_frame(tmp_path):
    paths = save(tmp_path / "shots", 6)
    Image.fromarray(numbered_picture(5, (64, 64))).save(paths[5])
    for content in (None, b"", b"no image"):
        if content is not None:
            paths[5].write_bytes(content)
        with pytest.raises(InputError) as loaded:
            load_frames(paths)
        with open_stream(paths) as stream, pytest.raises(InputError) as streamed:
            next(stream.frames())
        assert str(streamed.value) == str(loaded.value)


def test_times_and_masks(tmp_path):
    paths = save(tmp_path / "shots", 6)
    (tmp_path / "masks").mkdir()
    rng = np.random.default_rng(0)
    for path in paths:
        mask = rng.integers(0, 2, (64, 96), dtype=np.uint8)
        Image.fromarray(mask).save(tmp_path / "masks" / path.name)
    given = {"times_s": [0, 0.5, 3, 4, 4.5, 7], "ignore_masks": tmp_path / "masks"}
    check(tmp_path / "shots", FrameSelection(stride=2), **given)
    check(paths, FrameSelection(max_frames=3), times_s=[0, np.nan, 2])
    check(paths, FrameSelection(max_frames=3), times_s=[5, 1, 2])
    video = write_video(tmp_path / "a.mp4", frames=6)
    check(video, FrameSelection(stride=2), ignore_masks=tmp_path / "masks")
    for wrong in ({"times_s": [1, 2, 3, 4, 5, 6]}, {"ignore_masks": tmp_path / "none"}):
        for read in (load_frames, open_stream):
            with pytest.raises(InputError, match=r"leave out --times|does not exist"):
                read(video, EVERY, **wrong)


@pytest.mark.parametrize("format", ["gif", "webp", "tiff", "png"])
def test_several_pictures_in_a_file(tmp_path, format):
    pictures = [Image.fromarray(numbered_picture(number)) for number in range(7)]
    path = tmp_path / f"a.{format}"
    more = {} if format == "tiff" else {"duration": 40}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **more)
    check(path)
    check(path, FrameSelection(max_frames=3))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "mapped", "torch", "bfloat16"])
def test_arrays(tmp_path, kind):
    array = np.stack([numbered_picture(number) for number in range(9)])
    if kind == "mapped":
        np.save(tmp_path / "a.npy", array)
        source = np.load(tmp_path / "a.npy", mmap_mode="r")
    elif kind in {"torch", "bfloat16"}:
        import torch

        source = torch.from_numpy(array.astype(np.float32) / 255).permute(0, 3, 1, 2)
        source = source.to(torch.bfloat16) if kind == "bfloat16" else source
    else:
        scale = {"uint8": 1, "uint16": 257, "float32": 1 / 255}[kind]
        source = (array * np.float64(scale)).astype(kind)
    check(source, FrameSelection(stride=2))
    check(source)


def test_values_out_of_range_are_refused_when_they_are_reached():
    array = np.full((5, 8, 8, 3), 0.5, np.float32)
    array[3, 0, 0, 0] = 1.5
    with open_stream(array, EVERY) as stream:
        frames = iter(stream)
        assert [next(frames).source_index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(InputError, match=r"from 0.5 to 1.5; give floats from 0 to 1"):
            next(frames)


def test_a_frame_is_not_changed_by_what_happens_to_its_array():
    array = np.zeros((2, 8, 8, 3), np.uint8)
    with open_stream(array, EVERY) as stream:
        frame = next(iter(stream))
    array[:] = 9
    assert not frame.image.any()


def test_what_lies_between_is_bounded_and_belongs_to_its_gap(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=50)
    with open_stream(path, FrameSelection(stride=20), most_between=5) as stream:
        first, second, third = stream
    assert first.between == () and len(second.between) == 5
    assert [each.source_index for each in second.between] == [3, 7, 10, 13, 17]
    both = between_of([first, second])
    assert both.source_index.tolist() == [0, 3, 7, 10, 13, 17, 20] and both.in_order
    # Nothing lies between two places of a clip.
    assert between_of([first, third]).source_index.tolist() == [0, 40]
    assert between_of([second]).count == 1
    with open_stream(path, FrameSelection(stride=20), most_between=0) as stream:
        plain = list(stream)
    assert all(frame.small is None and not frame.between for frame in plain)
    shrunk = SmallPictures().shrunk(plain[0].image)
    np.testing.assert_array_equal(between_of(plain).pictures[0], shrunk)


# What a stream is.


def test_a_stream_is_read_once(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=5)
    stream = open_stream(path, EVERY)
    with stream:
        assert stream.image_hw is None and stream.frame_count == 5
        assert next(iter(stream)).image.shape == (64, 96, 3)
        assert stream.image_hw == (64, 96)
        with pytest.raises(ConfigError, match="open the stream again"):
            stream.frames()
    with pytest.raises(ConfigError, match="open the stream again"):
        stream.frames()
    with pytest.raises(ConfigError, match="start is -1"):
        open_stream(path, EVERY).frames(-1)
    with pytest.raises(ConfigError, match="most_between is -1"):
        open_stream(path, EVERY, most_between=-1)


def test_a_stream_that_is_left_early_closes_its_file(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=30)
    with open_stream(path, EVERY) as stream:
        frames = iter(stream)
        next(frames)
    assert list(frames) == []


@pytest.mark.parametrize(
    ("source", "selection"),
    [
        ("none.mp4", EVERY),
        ("https://example.org/a.mp4", EVERY),
        ("none_*.png", EVERY),
        ([], EVERY),
        (3, EVERY),
        ({}, EVERY),
        (np.zeros((2, 3, 4)), EVERY),
        (np.zeros((2, 3, 4, 3), np.int64), EVERY),
        (np.zeros((2, 3, 4, 3), np.uint8), FrameSelection(fps=2.0)),
    ],
)
def test_what_cannot_be_loaded_cannot_be_streamed_in_the_same_words(source, selection):
    with pytest.raises(DynapointError) as loaded:
        load_frames(source, selection)
    with pytest.raises(DynapointError) as streamed:
        open_stream(source, selection)
    assert str(streamed.value) == str(loaded.value)


def peak_bytes(source):
    tracemalloc.start()
    with open_stream(source, EVERY) as stream:
        for frame in stream:
            assert frame.image.shape == (128, 160, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("kind", ["video", "array"])
def test_memory_is_that_of_a_few_frames(tmp_path, kind):
    counts = (100, 600)
    if kind == "video":
        sources = [write(tmp_path / f"{count}.mp4", count) for count in counts]
    else:
        sources = [np.zeros((count, 128, 160, 3), np.uint16) for count in counts]
    peak_bytes(sources[0])  # what is loaded on first use is not counted
    short, long = (peak_bytes(source) for source in sources)
    picture = 128 * 160 * 3
    assert short < 12 * picture
    # Packets, and what is known of each; 500 pictures more would be 30 MB.
    assert long - short < 500 * 600
