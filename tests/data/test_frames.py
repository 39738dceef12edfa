"""`load_frames`: every kind of source, what is kept of it, and one clear line for what fails."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynapoint.data import video as video_module
from dynapoint.data.frames import load_frames
from dynapoint.data.images import read_image
from dynapoint.data.selection import FrameSelection, evenly_spaced
from dynapoint.errors import InputError
from video_files import number_in, numbered_picture, set_display_matrix, write_video


def save_numbered(folder: Path, names: list[str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        Image.fromarray(numbered_picture(number)).save(path)
    return paths


def numbers(frames) -> list[int]:
    return [number_in(image) for image in frames.images]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 24, 25, 1000])
@pytest.mark.parametrize("most", [1, 2, 24])
def test_selection_is_even_and_includes_both_ends(count, most):
    chosen = evenly_spaced(count, most)
    assert len(chosen) == min(count, most)
    assert (np.diff(chosen) > 0).all()
    if len(chosen) > 1:
        assert chosen[0] == 0 and chosen[-1] == count - 1
        assert np.ptp(np.diff(chosen)) <= 1


def test_video_frames_times_and_selection(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=30)
    everything = load_frames(path, FrameSelection(max_frames=100))
    assert numbers(everything) == list(range(30))
    assert everything.note is None and everything.name == "clip"
    np.testing.assert_allclose(everything.timestamps_s, np.arange(30) / 30, atol=1e-6)
    some = load_frames(str(path), FrameSelection(max_frames=7))
    assert some.source_frame_index.tolist() == evenly_spaced(30, 7).tolist() == numbers(some)
    assert some.note == "7 of 30 frames used, evenly spaced"
    np.testing.assert_allclose(some.timestamps_s, some.source_frame_index / 30, atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov", ""])
def test_containers_and_a_name_without_suffix(tmp_path, suffix):
    path = write_video(tmp_path / f"clip{suffix or '.mp4'}", frames=9)
    frames = load_frames(path.rename(tmp_path / f"other{suffix}"))
    assert numbers(frames) == list(range(9)) and frames.note is None


def test_variable_frame_rate_keeps_its_times(tmp_path):
    times_ms = [0, 40, 60, 200, 210, 500, 900, 1000]
    path = write_video(tmp_path / "vfr.mkv", frames=8, times_ms=times_ms)
    frames = load_frames(path)
    np.testing.assert_allclose(frames.timestamps_s, np.array(times_ms) / 1000, atol=2e-3)


ORIENTATIONS = {
    "clockwise": ((0, 1, -1, 0), lambda stored: np.rot90(stored, -1)),
    "upside down": ((-1, 0, 0, -1), lambda stored: np.rot90(stored, 2)),
    "counterclockwise": ((0, -1, 1, 0), lambda stored: np.rot90(stored, 1)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "flipped": ((1, 0, 0, -1), np.flipud),
    "transposed": ((0, 1, 1, 0), lambda stored: stored.transpose(1, 0, 2)),
    "transposed the other way": (
        (0, -1, -1, 0),
        lambda stored: np.rot90(stored.transpose(1, 0, 2), 2),
    ),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rotation_in_the_header_is_applied(tmp_path, orientation):
    matrix, shown_as = ORIENTATIONS[orientation]
    path = write_video(tmp_path / "phone.mp4", frames=3)
    set_display_matrix(path, *matrix)
    expected = shown_as(numbered_picture(1))
    image = load_frames(path).images[1]
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 6


def test_a_sound_video_is_decoded_once_holding_only_what_is_wanted(tmp_path, monkeypatch):
    path = write_video(tmp_path / "long.mp4", frames=60)
    passes = []
    decode = video_module._decode

    def counted(*arguments, **options):
        found = decode(*arguments, **options)
        passes.append(len(found.images))
        return found

    monkeypatch.setattr(video_module, "_decode", counted)
    load_frames(path, FrameSelection(max_frames=4))
    assert passes == [4]


@pytest.mark.parametrize("most", [24, 5])
def test_a_video_that_breaks_off_is_used_up_to_there(tmp_path, most):
    # The index stands first, as in videos made for streaming, so a cut file can still be opened.
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "cut.mp4", frames=40, size_wh=(160, 128), options=options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])
    frames = load_frames(path, FrameSelection(max_frames=most))
    assert frames.note is not None and "\n" not in frames.note
    assert "breaks off" in frames.note and "of 40 frames could be read" in frames.note
    shown = numbers(frames)
    assert shown == frames.source_frame_index.tolist() and shown[0] == 0
    readable = int(frames.note.split("breaks off: ")[1].split()[0])
    assert 8 < readable < 40 and shown[-1] == readable - 1
    assert len(shown) == min(readable, most)


def test_a_matroska_file_that_breaks_off_says_so(tmp_path):
    path = write_video(tmp_path / "cut.mkv", frames=120, size_wh=(160, 128))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    frames = load_frames(path, FrameSelection(max_frames=6))
    assert "breaks off" in frames.note and len(frames.images) == 6
    assert numbers(frames) == [n % 50 for n in frames.source_frame_index]


def test_sound_that_outlasts_the_picture_is_no_damage(tmp_path):
    for name in ("talk.mkv", "talk.mp4"):
        frames = load_frames(write_video(tmp_path / name, frames=10, silence_s=5))
        assert numbers(frames) == list(range(10)) and frames.note is None


def test_an_animated_picture_is_a_video(tmp_path):
    pictures = [Image.fromarray(numbered_picture(number)) for number in range(4)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    frames = load_frames(tmp_path / "a.gif")
    assert numbers(frames) == [0, 1, 2, 3]
    np.testing.assert_allclose(frames.timestamps_s, [0, 0.1, 0.2, 0.3], atol=1e-6)


def test_a_folder_is_read_in_natural_order(tmp_path):
    names = ["f1.png", "f2.png", "f10.png", "f11.png", "f100.png"]
    save_numbered(tmp_path / "walk", names)
    (tmp_path / "walk" / "notes.txt").write_text("not an image")
    (tmp_path / "walk" / "._f0.png").write_text("left by an archive program")
    frames = load_frames(tmp_path / "walk")
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert frames.name == "walk" and frames.note is None
    assert frames.timestamps_s.tolist() == [0, 1, 2, 3, 4]
    assert load_frames(
        tmp_path / "walk", FrameSelection(max_frames=2)
    ).source_frame_index.tolist() == [0, 4]


def test_a_folder_with_a_folder_of_images(tmp_path):
    save_numbered(tmp_path / "data" / "images", ["0.png", "1.png"])
    save_numbered(tmp_path / "data" / "depth", ["9.png"])
    # A mask or flow beside the folder of images is no frame.
    save_numbered(tmp_path / "data", ["mask.png"])
    frames = load_frames(tmp_path / "data")
    assert numbers(frames) == [0, 1] and frames.name == "data"
    assert frames.note == f"images taken from {tmp_path / 'data' / 'images'}"


def test_a_list_keeps_its_order_and_a_pattern_sorts(tmp_path):
    paths = save_numbered(tmp_path, ["a1.png", "a2.png", "a10.png"])
    assert numbers(load_frames(paths[::-1])) == [2, 1, 0]
    assert numbers(load_frames([str(path) for path in paths])) == [0, 1, 2]
    assert numbers(load_frames(str(tmp_path / "a*.png"))) == [0, 1, 2]
    assert numbers(load_frames([paths[1]])) == [1] == numbers(load_frames(paths[1]))


def test_a_file_with_brackets_in_its_name_is_a_file(tmp_path):
    paths = save_numbered(tmp_path, ["a[1].png"])
    assert numbers(load_frames(paths[0])) == [0]


def test_arrays(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), np.uint8)
    assert np.array_equal(load_frames(pictures).images, pictures)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(load_frames((pictures / 255).astype(dtype)).images, pictures)
    chosen = load_frames(pictures, FrameSelection(max_frames=3))
    assert np.array_equal(chosen.images, pictures[[0, 2, 4]]) and "3 of 5" in chosen.note


BAD_ARRAYS = [
    np.zeros((8, 9, 3), np.uint8),
    np.zeros((2, 8, 9), np.uint8),
    np.zeros((2, 8, 9, 4), np.uint8),
    np.zeros((0, 8, 9, 3), np.uint8),
    np.zeros((2, 8, 9, 3), np.int64),
    np.full((2, 8, 9, 3), 200.0),
    np.full((2, 8, 9, 3), -0.1),
    np.full((2, 8, 9, 3), np.nan),
]


@pytest.mark.parametrize("array", BAD_ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_of_another_shape_or_range_are_refused(array):
    with pytest.raises(InputError, match="give"):
        load_frames(array)


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(numbered_picture(5))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=98)
    expected = np.rot90(numbered_picture(5), -1)
    assert np.abs(read_image(tmp_path / "turned.jpg").astype(int) - expected).mean() < 4


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 128
    Image.fromarray(rgba).save(tmp_path / "half.png")
    red, green, blue = read_image(tmp_path / "half.png")[0, 0].astype(int)
    assert abs(red - (200 * 128 + 255 * 127) / 255) <= 1
    assert abs(green - 127) <= 1 and green == blue


def test_gray_palette_and_sixteen_bits(tmp_path):
    gray = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert np.array_equal(read_image(tmp_path / "gray.png"), gray[..., None].repeat(3, -1))
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png"), gray[..., None].repeat(3, -1))
    palette = Image.fromarray(gray).convert("P")
    palette.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    palette.save(tmp_path / "palette.png")
    expected = np.stack([gray, 255 - gray, np.full_like(gray, 7)], axis=-1)
    assert np.array_equal(read_image(tmp_path / "palette.png"), expected)
    Image.fromarray(gray / np.float32(255)).save(tmp_path / "float.tiff")
    assert np.array_equal(read_image(tmp_path / "float.tiff"), gray[..., None].repeat(3, -1))


def test_sizes_of_one_aspect_are_made_equal_and_others_refused(tmp_path):
    for name, size in (("a.png", (60, 40)), ("b.png", (120, 80)), ("c.png", (40, 60))):
        Image.fromarray(numbered_picture(3, size)).save(tmp_path / name)
    frames = load_frames([tmp_path / "a.png", tmp_path / "b.png"])
    assert frames.images.shape == (2, 40, 60, 3) and numbers(frames) == [3, 3]
    with pytest.raises(InputError, match=r"c\.png is 40x60 but .*a\.png is 60x40"):
        load_frames(tmp_path)


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message and len(message) < 800
    return message


@pytest.mark.parametrize("name", ["empty.mp4", "empty.jpg", "empty"])
def test_empty_files(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match="empty") as error:
        load_frames(tmp_path / name)
    one_line(error)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["random.mp4", "random.jpg", "random.bin"])
def test_random_files(tmp_path, name, seed):
    (tmp_path / name).write_bytes(np.random.default_rng(seed).bytes(20_000))
    with pytest.raises(InputError) as error:
        load_frames(tmp_path / name)
    assert name in one_line(error)


def test_text_is_no_video(tmp_path):
    for name in ("note.txt", "note.mp4", "note"):
        (tmp_path / name).write_text(
            "This is prose, and FFmpeg would show it as a terminal.\n" * 40
        )
        with pytest.raises(InputError) as error:
            load_frames(tmp_path / name)
        one_line(error)


def test_missing_things(tmp_path):
    (tmp_path / "hollow").mkdir()
    for source in (
        tmp_path / "none.mp4",
        tmp_path / "none.jpg",
        str(tmp_path / "*.jpg"),
        tmp_path / ("n" * 300),
        tmp_path / "hollow",
        [tmp_path / "a.jpg", tmp_path / "b.jpg"],
        [],
    ):
        with pytest.raises(InputError) as error:
            load_frames(source)
        one_line(error)


def test_no_frame_can_be_decoded(tmp_path):
    path = write_video(tmp_path / "hollow.mp4", frames=10, options={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="not one of its frames") as error:
        load_frames(path)
    one_line(error)


def test_an_index_that_is_cut_off_cannot_be_opened(tmp_path):
    path = write_video(tmp_path / "cut.mp4", frames=20)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError) as error:
        load_frames(path)
    one_line(error)


def test_damaged_image_and_things_that_are_no_image(tmp_path):
    paths = save_numbered(tmp_path, ["a.png", "b.png"])
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
        load_frames(paths)
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(InputError, match="in a list of images"):
        load_frames([paths[0], tmp_path / "words.txt"])


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, [1, 2], [b"a"]], ids=repr)
def test_other_kinds_of_source_are_refused(source):
    with pytest.raises(InputError, match="give"):
        load_frames(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load_frames(tmp_path / "pipe")
