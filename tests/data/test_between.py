"""`load_between`: the pictures between the used frames, for every kind of source."""

import tracemalloc
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from dynapoint.data import video as video_module
from dynapoint.data.between import load_between
from dynapoint.data.frames import load_frames
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import SmallPictures, indices_between, small_size
from video_files import SIZE_WH, numbered_picture, set_display_matrix, write_planes, write_video


def grey(pictures, size_wh):
    """Full pictures as the oracle makes them small: averaged over areas, then weighed (BT.601)."""
    small = [cv2.resize(each, size_wh, interpolation=cv2.INTER_AREA) for each in pictures]
    return np.stack(small).astype(np.float64) @ [0.299, 0.587, 0.114]


def check(source, frames, between, everything, *, used, levels=1.5):
    """The pictures are those of all frames from the first to the last used one, made small."""
    first, last = frames.source_frame_index[[0, -1]].tolist()
    assert between.source_index.tolist() == list(range(first, last + 1))
    assert between.source_index[between.used].tolist() == frames.source_frame_index.tolist() == used
    np.testing.assert_allclose(
        between.times_s, everything.timestamps_s[between.source_index], atol=1e-6
    )
    size_wh = between.pictures.shape[2], between.pictures.shape[1]
    expected = grey(everything.images[first : last + 1], size_wh)
    assert np.abs(between.pictures - expected).mean() < levels
    assert between.in_order


@pytest.mark.parametrize("same_pass", [True, False])
@pytest.mark.parametrize("turn", [None, (0, 1, -1, 0), (-1, 0, 0, 1), (0, -1, -1, 0)])
def test_a_video_upright(tmp_path, turn, same_pass, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", frames=20, keyframe_every=7)
    if turn is not None:
        set_display_matrix(path, *turn)
    everything = load_frames(path, FrameSelection(max_frames=100))
    small = SmallPictures(longer_side=48)
    selection = FrameSelection(stride=4, start_s=0.1)
    frames = load_frames(path, selection, small=small if same_pass else None)
    passes, decode = [], video_module._decode
    monkeypatch.setattr(
        video_module, "_decode", lambda *a, **k: passes.append(1) or decode(*a, **k)
    )
    between = load_between(path, frames, small)
    assert len(passes) == (0 if same_pass else 1)
    check(path, frames, between, everything, used=[3, 7, 11, 15, 19])
    assert between.pictures.shape[1:] == ((32, 48) if not turn or turn[0] else (48, 32))


@pytest.mark.parametrize("wide", [False, True])
def test_brightness_is_that_of_the_picture(tmp_path, wide):
    """Limited and full range, pixels twice as wide as high, colours."""
    rng = np.random.default_rng(0)
    planes = []
    for _ in range(3):
        y = cv2.resize(rng.integers(30, 200, (8, 12), dtype=np.uint8), SIZE_WH)
        chroma = [np.full((32, 48), value, np.uint8) for value in rng.integers(110, 146, 2)]
        planes.append([y, *chroma])
    path = write_planes(
        tmp_path / "clip.mp4",
        planes,
        codec="libx264",
        pix_fmt="yuv420p",
        options={"qp": "0"},
        tags={"color_range": 2 if wide else 1},
        pixel_aspect=Fraction(2),
    )
    frames = load_frames(path)
    between = load_between(path, frames, SmallPictures(longer_side=96))
    assert between.pictures.shape[1:] == (32, 96)
    # Brightness is rounded before and after it is stretched, and chroma has its own share of it.
    assert np.abs(between.pictures - grey(frames.images, (96, 32))).max() < 4


def test_high_dynamic_range_comes_as_the_reader_brings_it(tmp_path):
    rng = np.random.default_rng(1)
    ramp = np.tile(np.linspace(70, 900, 96), (64, 1)).astype(np.uint16)
    chroma = np.full((32, 48), 512, np.uint16)
    planes = [[ramp + rng.integers(0, 20, dtype=np.uint16), chroma, chroma] for _ in range(3)]
    path = write_planes(
        tmp_path / "hdr.mkv",
        planes,
        codec="ffv1",
        pix_fmt="yuv420p10le",
        tags={"color_range": 1, "color_trc": 16, "color_primaries": 9, "colorspace": 9},
    )
    frames = load_frames(path)
    assert "PQ" in frames.note
    between = load_between(path, frames, SmallPictures(longer_side=24))
    assert np.abs(between.pictures - grey(frames.images, (24, 16))).max() < 6


def test_a_variable_rate_keeps_its_times(tmp_path):
    times_ms = [0, 40, 60, 200, 210, 500, 900, 1000]
    path = write_video(tmp_path / "vfr.mkv", frames=8, times_ms=times_ms)
    frames = load_frames(path, FrameSelection(max_frames=3))
    between = load_between(path, frames)
    np.testing.assert_allclose(between.times_s, np.array(times_ms) / 1000, atol=2e-3)


def test_a_damaged_video_is_counted_as_it_was(tmp_path):
    path = write_video(tmp_path / "cut.mp4", frames=40, options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])
    everything = load_frames(path, FrameSelection(max_frames=100))
    for small in (SmallPictures(longer_side=48), None):
        frames = load_frames(path, FrameSelection(max_frames=4), small=small)
        assert "breaks off" in frames.note
        between = load_between(path, frames, small or SmallPictures(longer_side=48))
        check(path, frames, between, everything, used=frames.source_frame_index.tolist())


def save(folder, count, size_wh=SIZE_WH):
    folder.mkdir()
    paths = [folder / f"shot_{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(numbered_picture(number, size_wh)).save(path)
    return paths


@pytest.mark.parametrize("kind", ["folder", "list", "pattern", "array", "uint16", "floats"])
def test_pictures_and_arrays(tmp_path, kind):
    paths = save(tmp_path / "shots", 12)
    array = np.stack([numbered_picture(number) for number in range(12)])
    source = {
        "folder": tmp_path / "shots",
        "list": [str(path) for path in paths],
        "pattern": str(tmp_path / "shots" / "shot_*.png"),
        "array": array,
        "uint16": array.astype(np.uint16) * 257,
        "floats": array.astype(np.float32) / 255,
    }[kind]
    everything = load_frames(source)
    frames = load_frames(source, FrameSelection(max_frames=4))
    between = load_between(source, frames, SmallPictures(longer_side=48))
    check(source, frames, between, everything, used=[0, 4, 7, 11])


def test_pictures_lie_upright(tmp_path):
    paths = save(tmp_path / "shots", 3)
    turned = Image.open(paths[1]).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter turn clockwise is needed
    turned.save(paths[1], exif=exif)
    frames = load_frames(paths, FrameSelection(max_frames=2))
    between = load_between(paths, frames, SmallPictures(longer_side=48))
    expected = grey([numbered_picture(number) for number in range(3)], (48, 32))
    assert np.abs(between.pictures - expected).max() <= 1


def test_what_cannot_be_followed_is_the_used_frames_alone(tmp_path):
    paths = save(tmp_path / "shots", 6)
    some = FrameSelection(max_frames=3)
    for times in ([0, 0, 1], [0, np.nan, 2], [3, 2, 1]):
        frames = load_frames(paths, some, times_s=times)
        between = load_between(paths, frames)
        assert not between.in_order and between.count == 3
        assert between.source_index.tolist() == [0, 2, 5]
        assert between.used.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(between.times_s, times)
    known = load_between(paths, load_frames(paths, some, times_s=[1, 2, 8]))
    np.testing.assert_allclose(known.times_s, [1, 1.5, 2, 4, 6, 8])
    Image.fromarray(numbered_picture(9, (64, 96))).save(paths[5])
    several_sizes = load_between(paths, load_frames(paths, some, one_size=False))
    assert not several_sizes.in_order and several_sizes.pictures.shape == (3, 96, 96)


def test_a_source_that_is_gone_leaves_the_used_frames(tmp_path):
    paths = save(tmp_path / "shots", 6)
    video = write_video(tmp_path / "clip.mp4", frames=9)
    array = np.stack([numbered_picture(number) for number in range(6)])
    some = FrameSelection(max_frames=3)
    loaded = [(source, load_frames(source, some)) for source in (paths, video, array)]
    paths[3].write_bytes(b"")
    assert load_between(paths, loaded[0][1]).source_index.tolist() == [0, 1, 2, 4, 5]
    for path in (*paths, video):
        path.unlink()
    other = save(tmp_path / "others", 2)
    for source, frames in loaded:
        for instead in (other, iter([]), None, 3):
            between = load_between(instead, frames)
            assert between.used.tolist() == [0, 1, 2] and between.in_order
            expected = SmallPictures().shrunk(frames.images[1])
            assert (between.pictures[1] == expected).all()
        if source is video:
            assert load_between(source, frames).count == 3


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_frames(tmp_path, count):
    path = write_video(tmp_path / "clip.mp4", frames=9)
    frames = load_frames(path, FrameSelection(max_frames=count))
    between = load_between(path, frames)
    assert between.count == (1 if count == 1 else 9)
    assert between.used.tolist() == [0, 8][:count]


@pytest.mark.parametrize("most", [1, 5, 30, 60, 1000])
def test_the_number_is_bounded_and_spread_evenly(most):
    rng = np.random.default_rng(most)
    for _ in range(20):
        used = np.sort(rng.choice(400, 5, replace=False)).tolist()
        index = indices_between(used, most)
        assert (np.diff(index) > 0).all() and set(used) <= set(index.tolist())
        whole = used[-1] - used[0] + 1
        assert len(index) <= max(min(most, whole), len(used))
        assert len(index) >= min(most - 4, whole)
        if most > 5:
            gaps = [np.diff(index[(index >= a) & (index <= b)]) for a, b in pairwise(used)]
            assert all(np.ptp(each) <= 1 for each in gaps)


def test_pictures_are_thinned_and_never_held_at_full_size(tmp_path):
    array = np.zeros((400, 96, 128, 3), np.uint8)
    array += np.arange(400, dtype=np.uint16).astype(np.uint8)[:, None, None, None]
    frames = load_frames(array, FrameSelection(max_frames=3))
    small = SmallPictures(longer_side=32, most=101)
    load_between(array, frames, small)  # what is loaded on first use is not counted
    tracemalloc.start()
    between = load_between(array, frames, small)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 99 <= between.count <= 101
    assert (between.pictures == (between.source_index % 256)[:, None, None]).all()
    # Twice the small pictures and a few of the whole ones; all of the whole ones take 15 MB.
    assert peak < 2 * between.pictures.nbytes + 101 * 500 + 4 * array[0].nbytes


def test_sizes():
    assert small_size((1920, 1080), 224) == (224, 126)
    assert small_size((1080, 1920), 224) == (126, 224)
    assert small_size((100, 60), 224) == (100, 60)
    assert small_size((3000, 2), 224) == (224, 1)


def test_names_that_have_changed_are_noticed(tmp_path):
    paths = save(tmp_path / "shots", 5)
    frames = load_frames(tmp_path / "shots", FrameSelection(max_frames=3))
    paths[0].rename(tmp_path / "shots" / "shot_9.png")
    assert load_between(tmp_path / "shots", frames).count == 3
    assert load_between(paths, replace(frames, file_names=None)).count == 3
