"""Pictures as people see them: HDR, odd sizes, transparency, deep and strange files, memory."""

import tracemalloc
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from dynapoint.data import masks, memory, picture_files
from dynapoint.data.frames import load_frames
from dynapoint.data.hdr import HLG, PQ, srgb_from_hdr
from dynapoint.data.images import read_image
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import InputError
from video_files import set_display_matrix, write_planes, write_video

BT709, BT2020 = 1, 9
PAPER_WHITE = 203.0


def pq_code(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084's inverse EOTF, in [0, 1], written from the standard's constants."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = (np.asarray(nits, np.float64) / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg_code(nits: np.ndarray) -> np.ndarray:
    """BT.2100's OETF of gray light that a display of 1000 cd/m² shows with these nits."""
    scene = (np.asarray(nits, np.float64) / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    bright = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def srgb_code(light: np.ndarray) -> np.ndarray:
    light = np.asarray(light, np.float64)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("transfer", "code"), [(PQ, pq_code), (HLG, hlg_code)])
def test_what_is_darker_than_paper_keeps_its_light_and_the_rest_keeps_its_order(transfer, code):
    nits = np.linspace(0, 1000, 400)
    gray = np.round(65535 * code(nits)).astype(np.uint16)[None, :, None].repeat(3, axis=2)
    shown = srgb_from_hdr(gray, transfer=transfer, primaries=BT2020)[0].astype(int)
    assert np.ptp(shown, axis=1).max() <= 1, "gray stays gray"
    level = shown[:, 1]
    dark = nits < 0.6 * PAPER_WHITE
    assert np.abs(level[dark] - srgb_code(nits[dark] / PAPER_WHITE)).max() <= 1
    assert (np.diff(level) >= 0).all()
    assert 225 <= level[np.abs(nits - PAPER_WHITE).argmin()] <= 235, "paper is bright, not the top"
    assert level[-1] >= 254
    # Mid-gray (18 %) is sRGB's 118.
    assert abs(level[np.abs(nits - 0.18 * PAPER_WHITE).argmin()] - 118) <= 2


def test_brighter_light_than_the_peak_is_white_and_colours_keep_their_hue():
    nits = np.array([[[400.0, 40.0, 4.0], [10000.0, 10000.0, 10000.0]]])
    coded = np.round(65535 * pq_code(nits)).astype(np.uint16)
    shown = srgb_from_hdr(coded, transfer=PQ, primaries=BT709)[0].astype(int)
    assert (shown[1] == 255).all()
    light = ((shown[0] / 255 + 0.055) / 1.055) ** 2.4
    assert shown[0, 0] > shown[0, 1] > shown[0, 2]
    assert light[1] / light[0] == pytest.approx(0.1, rel=0.05)


def test_wide_colours_come_to_narrow_primaries():
    # BT.709's red in BT.2020's primaries (BT.2087).
    red = np.array([[[0.6274, 0.0691, 0.0164]]]) * 0.5 * PAPER_WHITE
    coded = np.round(65535 * pq_code(red)).astype(np.uint16)
    shown = srgb_from_hdr(coded, transfer=PQ, primaries=BT2020)[0, 0].astype(int)
    assert abs(shown[0] - srgb_code(np.array(0.5))) <= 2 and shown[1:].max() <= 4


@pytest.mark.parametrize(
    ("name", "transfer", "code"), [("PQ", PQ, pq_code), ("HLG", HLG, hlg_code)]
)
def test_an_hdr_video_is_brought_to_srgb_and_says_so(tmp_path, name, transfer, code):
    nits = 0.18 * PAPER_WHITE
    luma = round(4 * (16 + 219 * float(code(np.array(nits)))))
    planes = [np.full((64, 96), luma, np.uint16)] + [np.full((32, 48), 512, np.uint16)] * 2
    path = write_planes(
        tmp_path / "hdr.mp4",
        [planes] * 3,
        codec="libx265",
        pix_fmt="yuv420p10le",
        tags={"color_trc": transfer, "color_primaries": BT2020, "colorspace": BT2020},
        options={"x265-params": "log-level=none", "preset": "ultrafast", "crf": "4"},
    )
    frames = load_frames(path)
    assert frames.note == f"{name} brought to sRGB"
    assert frames.images.shape == (3, 64, 96, 3)
    assert np.abs(frames.images.astype(int) - 118).max() <= 3


def test_ten_bits_without_hdr_are_plain(tmp_path):
    planes = [np.full((64, 96), 4 * 126, np.uint16)] + [np.full((32, 48), 512, np.uint16)] * 2
    path = write_planes(tmp_path / "deep.mkv", [planes] * 2, codec="ffv1", pix_fmt="yuv420p10le")
    frames = load_frames(path)
    assert frames.note is None and np.abs(frames.images.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(("tag", "weights"), [(6, (0.299, 0.114)), (1, (0.2126, 0.0722))])
def test_colours_are_those_of_the_matrix_that_the_file_names(tmp_path, tag, weights):
    coded = (120, 90, 180)
    planes = [np.full((64, 96), coded[0], np.uint8)]
    planes += [np.full((32, 48), value, np.uint8) for value in coded[1:]]
    path = write_planes(
        tmp_path / "colour.mkv",
        [planes] * 2,
        codec="ffv1",
        pix_fmt="yuv420p",
        tags={"colorspace": tag},
    )
    of_red, of_blue = weights
    luma, blue, red = (coded[0] - 16) / 219, (coded[1] - 128) / 224, (coded[2] - 128) / 224
    r, b = luma + 2 * (1 - of_red) * red, luma + 2 * (1 - of_blue) * blue
    g = (luma - of_red * r - of_blue * b) / (1 - of_red - of_blue)
    shown = load_frames(path).images.astype(int)
    assert np.abs(shown - 255 * np.array([r, g, b])).max() <= 1


def test_a_gray_video(tmp_path):
    rng = np.random.default_rng(0)
    planes = [[rng.integers(0, 256, (33, 57), np.uint8)] for _ in range(3)]
    path = write_planes(tmp_path / "gray.mkv", planes, codec="ffv1", pix_fmt="gray")
    images = load_frames(path).images
    assert (np.ptp(images, axis=-1) == 0).all()
    assert np.corrcoef(images[..., 0].ravel(), np.stack(planes).ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("size_wh", [(97, 65), (33, 17), (1, 1), (3, 2), (640, 1), (1, 333)])
def test_odd_sizes_of_videos(tmp_path, size_wh):
    rng = np.random.default_rng(0)
    width, height = size_wh
    stored = rng.integers(0, 256, (3, height, width, 3), np.uint8)
    path = write_planes(
        tmp_path / "odd.mov", [[image] for image in stored], codec="png", pix_fmt="rgb24"
    )
    assert np.array_equal(load_frames(path).images, stored)


def test_a_transparent_video_is_laid_on_white(tmp_path):
    flat = [np.full((16, 24), value, np.uint8) for value in (126, 128, 128)]
    alpha = np.zeros((16, 24), np.uint8)
    alpha[:, 12:] = 255
    path = write_planes(
        tmp_path / "glass.mkv", [[*flat, alpha]] * 2, codec="ffv1", pix_fmt="yuva444p"
    )
    images = load_frames(path).images.astype(int)
    assert (images[:, :, :12] == 255).all() and np.abs(images[:, :, 12:] - 128).max() <= 1


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    planes = [np.full((64, 96), 126, np.uint8)] + [np.full((32, 48), 128, np.uint8)] * 2
    for aspect, width in ((Fraction(4, 3), 128), (Fraction(1, 2), 48), (Fraction(1, 1), 96)):
        path = write_planes(
            tmp_path / "wide.mp4",
            [planes] * 2,
            codec="libx264",
            pix_fmt="yuv420p",
            pixel_aspect=aspect,
        )
        assert load_frames(path).image_hw == (64, width)
    # The width is the stored one, which a quarter turn makes the height.
    path = write_planes(
        path, [planes] * 2, codec="libx264", pix_fmt="yuv420p", pixel_aspect=Fraction(4, 3)
    )
    set_display_matrix(path, 0, 1, -1, 0)
    assert load_frames(path).image_hw == (128, 64)


def test_a_picture_that_changes_size_midway_keeps_the_first_one_s(tmp_path):
    first = write_video(tmp_path / "a.ts", frames=5, size_wh=(96, 64))
    second = write_video(tmp_path / "b.ts", frames=5, size_wh=(192, 128))
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    frames = load_frames(tmp_path / "both.ts", FrameSelection(stride=1))
    assert frames.image_hw == (64, 96) and frames.count >= 9


def test_deep_colour_images(tmp_path):
    rng = np.random.default_rng(0)
    bgr = rng.integers(0, 65536, (5, 7, 3), np.uint16)
    for name in ("deep.png", "deep.tiff"):
        cv2.imwrite(str(tmp_path / name), bgr)
        shown = read_image(tmp_path / name).astype(float)
        assert np.abs(shown - bgr[..., ::-1] / 257).max() <= 1
    deep = Image.fromarray(bgr[..., 0])
    deep.save(tmp_path / "gray.tiff")
    assert np.abs(read_image(tmp_path / "gray.tiff")[..., 1] - bgr[..., 0] / 257).max() <= 1


def test_print_colours_and_transparent_palettes(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "print.jpg")[4, 4].astype(int)
    assert red > 230 and green < 30 and blue < 30
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "palette.png", transparency=0)
    image = read_image(tmp_path / "palette.png")
    assert image[0, 0].tolist() == [255, 255, 255] and image[1, 1].tolist() == [10, 20, 30]
    Image.new("1", (4, 4), 1).save(tmp_path / "bits.png")
    assert (read_image(tmp_path / "bits.png") == 255).all()
    Image.new("LA", (4, 4), (0, 0)).save(tmp_path / "hidden.png")
    assert (read_image(tmp_path / "hidden.png") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_exif_orientations(tmp_path, orientation):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:10, :20] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored.transpose(1, 0, 2), 2),
        8: np.rot90(stored, 1),
    }[orientation]
    assert np.array_equal(read_image(tmp_path / "photo.png"), turned)


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dot.png")
    assert load_frames(tmp_path / "dot.png").images.tolist() == [[[[1, 2, 3]]]]


def test_arrays_of_sixteen_bits():
    values = np.random.default_rng(0).integers(0, 65536, (2, 4, 5, 3), np.uint16)
    assert np.abs(load_frames(values).images - values / 257).max() <= 0.5 + 1e-4


def test_more_than_memory_holds_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 500_000_000)
    picture = Image.new("RGB", (7680, 4320))
    paths = [tmp_path / f"{number}.jpg" for number in range(8)]
    picture.save(paths[0])
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    with pytest.raises(InputError, match=r"8 frames of 7680x4320 take 0\.8 GB but 0\.5 GB"):
        load_frames(paths)


def test_pictures_of_different_sizes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    sizes = [(4000, 30), (30, 4000), (30, 30), (30, 30)]
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("RGB", size).save(path)
    monkeypatch.setattr(memory, "available_bytes", lambda: 150_000_000)
    monkeypatch.setattr(picture_files, "read_picture", None)
    with pytest.raises(InputError, match=r"4 frames of 4000x4000 take 0\.2 GB but 0\.1 GB"):
        load_frames(tmp_path, one_size=False)


def test_a_picture_that_memory_cannot_decode_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("L", (2000, 1000)).save(path)
    monkeypatch.setattr(memory, "available_bytes", lambda: 20_000_000)
    for one_size in (True, False):
        with pytest.raises(InputError, match=r"2000x1000, which takes 0\.0 GB.*make it smaller"):
            load_frames(path, one_size=one_size)
    monkeypatch.setattr(memory, "available_bytes", lambda: 40_000_000)
    assert load_frames(path, one_size=False).image_hw == (1000, 2000)


def test_masks_that_memory_cannot_hold_are_refused(tmp_path, monkeypatch):
    frames = np.zeros((50, 40, 60, 3), np.uint8)
    for number in range(50):
        Image.new("L", (60, 40)).save(tmp_path / f"{number}.png")
    assert not load_frames(frames, ignore_masks=tmp_path).ignore.any()
    monkeypatch.setattr(masks, "require_room", partial(_with_room, 50_000))
    with pytest.raises(InputError, match="masks of 60x40 take"):
        load_frames(frames, ignore_masks=tmp_path)


def _with_room(available: int, *given, **named) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda: available)
        memory.require_room(*given, **named)


@pytest.mark.parametrize("late", [False, True])
def test_pictures_that_lie_on_their_side_find_their_place_among_others(tmp_path, late):
    """Also where a PNG says so behind its pixels, so that it is known only once it is read."""
    random = np.random.default_rng(0)
    shapes = [(20, 30, 3), (60, 10, 3), (25, 25, 3)]
    pixels = [random.integers(0, 256, shape, np.uint8) for shape in shapes]
    for number, picture in enumerate(pixels):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6 if number == 1 else 1
        Image.fromarray(picture).save(tmp_path / f"{number}.png", exif=exif)
    if late:
        content = (tmp_path / "1.png").read_bytes()
        start = content.index(b"eXIf") - 4
        length = 12 + int.from_bytes(content[start : start + 4], "big")
        end = content.index(b"IEND") - 4
        moved = [content[:start], content[start + length : end]]
        moved += [content[start : start + length], content[end:]]
        (tmp_path / "1.png").write_bytes(b"".join(moved))
    found = load_frames(tmp_path, one_size=False)
    upright = [pixels[0], np.rot90(pixels[1], -1), pixels[2]]
    assert found.sizes_hw.tolist() == [[20, 30], [10, 60], [25, 25]]
    assert found.images.shape == (3, 25, 60, 3)
    for image, picture in zip(found.images, upright, strict=True):
        height, width = picture.shape[:2]
        assert (image[:height, :width] == picture).all()
        assert (image[height:] == 255).all() and (image[:, width:] == 255).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float64])
def test_an_array_is_never_held_twice(tmp_path, monkeypatch, kind):
    np.save(tmp_path / "array.npy", np.ones((40, 100, 120, 3), kind))
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    every = FrameSelection(max_frames=40)
    tracemalloc.start()
    loaded = load_frames(mapped, every)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = loaded.images.nbytes
    assert loaded.count == 40 and peak < 1.6 * whole
    monkeypatch.setattr(memory, "available_bytes", lambda: whole - 1)
    with pytest.raises(InputError, match="40 frames of 120x100 take"):
        load_frames(mapped, every)
    assert load_frames(mapped, FrameSelection(max_frames=39)).count == 39


def test_a_large_video_is_held_once(tmp_path, monkeypatch):
    path = write_video(tmp_path / "large.mp4", frames=3, size_wh=(1920, 1080))
    monkeypatch.setattr(memory, "available_bytes", lambda: 10_000_000)
    with pytest.raises(InputError, match="use fewer frames"):
        load_frames(path)
    assert load_frames(path, FrameSelection(max_frames=1)).count == 1


def test_available_memory_is_known_or_not(tmp_path, monkeypatch):
    assert memory.available_bytes() is None or memory.available_bytes() > 10**7
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   123 kB\n")
    monkeypatch.setattr(memory, "_MEMORY_FILE", tmp_path / "meminfo")
    assert memory.available_bytes() == 123 * 1024
    monkeypatch.setattr(memory, "_MEMORY_FILE", tmp_path / "none")
    assert memory.available_bytes() is None
    memory.require_room(10**9, (10**4, 10**4))
