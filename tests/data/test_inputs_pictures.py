"""Image files as people see them: profiles, transparency, several pictures in one file, damage."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from dynapoint.data.between import load_between
from dynapoint.data.colours import ADOBE_RGB, WIDE_VIDEO, srgb_from, to_srgb_primaries
from dynapoint.data.frames import load_frames
from dynapoint.data.images import image_size, open_image, read_image, read_picture
from dynapoint.data.picture_sequences import sequence_in
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.errors import ConfigError, InputError

COLOURS = np.array([(200, 60, 60), (40, 200, 40), (60, 80, 210), (128, 128, 128)], np.uint8)


def fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(*, gamma, space=b"RGB ", primaries=None):
    """A colour profile of version 2: curves of one power and, for RGB, a matrix (ICC.1:2001)."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
    }
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for name, xyz in zip((b"r", b"g", b"b"), primaries, strict=True):
            tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*xyz)
            tags[name + b"TRC"] = curve
    start, table, data = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        padded = value + b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", start + len(data), len(padded))
        data += padded
    head = struct.pack(">I", start + len(data)) + bytes(4) + struct.pack(">I", 0x02400000)
    head += b"mntr" + space + b"XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp"
    head += bytes(28) + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


# Adobe RGB's primaries as a profile has them, for the white of print (D50).
WIDE = profile(
    gamma=2.19921875,
    primaries=(
        (0.60974, 0.31111, 0.01947),
        (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457),
    ),
)


def bars():
    return Image.fromarray(np.repeat(np.repeat(COLOURS[None], 64, 0), 32, 1))


def in_profile(image, given):
    """An image whose numbers mean the same in a profile, by Little CMS."""
    source = ImageCms.createProfile("sRGB")
    target = ImageCms.ImageCmsProfile(io.BytesIO(given))
    return ImageCms.profileToProfile(image, source, target, renderingIntent=1)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_a_profile_is_applied(tmp_path, name):
    options = {"a.jpg": {"quality": 98, "subsampling": 0}, "a.webp": {"lossless": True}}
    in_profile(bars(), WIDE).save(tmp_path / name, icc_profile=WIDE, **options.get(name, {}))
    found = read_picture(tmp_path / name)
    assert np.abs(found.pixels[32, 16::32].astype(int) - COLOURS).max() <= 4
    assert found.remarks == ()


def test_a_profile_of_a_palette_and_of_transparency(tmp_path):
    stored = in_profile(bars(), WIDE)
    stored.quantize(16).save(tmp_path / "palette.png", icc_profile=WIDE)
    assert np.abs(read_image(tmp_path / "palette.png")[32, 16::32].astype(int) - COLOURS).max() <= 5
    clear = stored.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.array([0, 255], np.uint8).repeat(64), (64, 1))))
    clear.save(tmp_path / "clear.png", icc_profile=WIDE)
    found = read_image(tmp_path / "clear.png")[32, 16::32].astype(int)
    assert (found[:2] == 255).all() and np.abs(found[2:] - COLOURS[2:]).max() <= 4


@pytest.mark.parametrize("deep", [False, True])
def test_a_gray_profile_is_applied(tmp_path, deep):
    linear = profile(gamma=1.0, space=b"GRAY")
    light = np.linspace(0, 1, 256)
    stored = np.round(light * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
    Image.fromarray(np.tile(stored, (4, 1))).save(tmp_path / "a.png", icc_profile=linear)
    found = read_image(tmp_path / "a.png")[0].astype(int)
    want = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    # Little CMS has few steps for what is nearly black.
    assert np.abs(found - np.round(want)[:, None]).max() <= 10
    assert np.abs(found - np.round(want)[:, None])[20:].max() <= 2


def test_profiles_that_do_not_fit_are_named(tmp_path):
    for name, given in (
        ("gray.png", profile(gamma=2.2, space=b"GRAY")),
        ("rubbish.png", b"x" * 99),
    ):
        bars().save(tmp_path / name, icc_profile=given)
        found = read_picture(tmp_path / name)
        assert np.array_equal(found.pixels, np.array(bars()))
        assert found.remarks == ("a colour profile that cannot be used was left out",)
    note = load_frames([tmp_path / "gray.png", tmp_path / "rubbish.png"]).note
    assert note == "a colour profile that cannot be used was left out (2 of 2 images)"


def test_srgb_s_own_profile_changes_nothing(tmp_path):
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=own)
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)


def test_print_and_lab_colours(tmp_path):
    bars().convert("CMYK").save(tmp_path / "print.tif")
    assert "approximate" in read_picture(tmp_path / "print.tif").remarks[0]
    lab = ImageCms.profileToProfile(
        bars(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(tmp_path / "lab.tif")
    # Steps of Lab with eight bits are coarse.
    assert np.abs(read_image(tmp_path / "lab.tif")[32, 16::32].astype(int) - COLOURS).max() <= 10


def adobe(colours):
    """Numbers of Adobe RGB for colours in sRGB, by its definition (1998, table 4.3.5.3)."""
    code = colours / 255
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    srgb = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    wide = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    both = np.linalg.inv(wide) @ np.array(srgb)
    return np.round((light @ both.T).clip(0, 1) ** (256 / 563) * 255).astype(np.uint8)


def test_adobe_rgb_by_exif_alone(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 2
    stored = Image.fromarray(np.repeat(np.repeat(adobe(COLOURS)[None], 32, 0), 32, 1))
    stored.save(tmp_path / "a.jpg", quality=98, subsampling=0, exif=exif)
    found = read_image(tmp_path / "a.jpg")[16, 16::32].astype(int)
    assert np.abs(found - COLOURS).max() <= 5


def test_the_power_that_a_png_names(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", struct.pack(">I", 100000))
    light = np.linspace(0, 1, 256)
    stored = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (2, 1, 3))
    Image.fromarray(stored).save(tmp_path / "linear.png", pnginfo=chunks)
    want = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(read_image(tmp_path / "linear.png")[0, :, 1] - want).max() < 0.6
    usual = PngImagePlugin.PngInfo()
    usual.add(b"gAMA", struct.pack(">I", 45455))
    Image.fromarray(stored).save(tmp_path / "usual.png", pnginfo=usual)
    assert np.array_equal(read_image(tmp_path / "usual.png"), stored)


@pytest.mark.parametrize("space", [*WIDE_VIDEO.values(), ADOBE_RGB])
def test_white_and_grays_stay_in_every_space(space):
    matrix = to_srgb_primaries(space)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-9)
    grays = np.tile(np.arange(0, 65536, 257, dtype=np.uint16)[None, :, None], (1, 1, 3))
    shown = srgb_from(grays, space, display_gamma=space.gamma)
    assert np.abs(shown.astype(int) - (grays // 257)).max() <= 1


def test_bt2020_s_matrix_is_the_recommendation_s():
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    np.testing.assert_allclose(to_srgb_primaries(WIDE_VIDEO[9]), expected, atol=2e-4)


def moving(count=6, size_wh=(64, 48)):
    """Pictures of a bright square that moves, each with a level of its own."""
    pictures = []
    for number in range(count):
        picture = np.full((size_wh[1], size_wh[0], 3), 40, np.uint8)
        picture[10:30, 4 + 6 * number : 20 + 6 * number] = (220, 100 + 20 * number, 40)
        pictures.append(Image.fromarray(picture))
    return pictures


STAYS_MS = [100, 300, 50, 200, 100, 100]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.webp", {"lossless": True}),
        ("a.png", {}),
        ("a.apng", {"format": "PNG"}),
        ("a.avif", {"quality": 95}),
    ],
)
def test_moving_pictures_are_all_read_with_their_times(tmp_path, name, options):
    pictures, path = moving(), tmp_path / name
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=STAYS_MS, **options)
    frames = load_frames(path)
    assert frames.count == frames.source_count == 6 and frames.from_video and frames.note is None
    np.testing.assert_allclose(
        frames.timestamps_s, np.cumsum([0, *STAYS_MS[:-1]]) / 1000, atol=2e-3
    )
    for image, picture in zip(frames.images, pictures, strict=True):
        assert np.abs(image.astype(int) - np.array(picture)).mean() < 3
    part = load_frames(path, FrameSelection(start_s=0.3, end_s=0.5))
    assert part.source_frame_index.tolist() == [2, 3]
    assert np.array_equal(part.images, frames.images[2:4])


def test_what_lies_between_moving_pictures_keeps_their_times(tmp_path):
    pictures, path = moving(), tmp_path / "a.webp"
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=STAYS_MS, lossless=True
    )
    frames = load_frames(path, FrameSelection(max_frames=2))
    between = load_between(path, frames, SmallPictures(longer_side=32))
    assert between.source_index.tolist() == list(range(6)) and between.in_order
    np.testing.assert_allclose(between.times_s, np.cumsum([0, *STAYS_MS[:-1]]) / 1000, atol=1e-6)


def test_transparent_moving_pictures_are_laid_on_white_each_by_itself(tmp_path):
    pictures = []
    for number in range(3):
        rgba = np.zeros((20, 30, 4), np.uint8)
        rgba[5:10, 5 * number : 5 * number + 8] = (200, 30, 30, 255)
        pictures.append(Image.fromarray(rgba))
    for name, options in (("a.webp", {"lossless": True}), ("a.png", {"disposal": 1})):
        pictures[0].save(
            tmp_path / name, save_all=True, append_images=pictures[1:], duration=100, **options
        )
        frames = load_frames(tmp_path / name)
        for image, picture in zip(frames.images, pictures, strict=True):
            opaque = np.array(picture)[..., 3] > 0
            assert (image[~opaque] == 255).all() and (image[opaque] == (200, 30, 30)).all()


def test_the_still_of_an_animated_png_is_no_part_of_it(tmp_path):
    pictures = moving(4)
    pictures[0].save(
        tmp_path / "a.png",
        save_all=True,
        append_images=pictures[1:],
        duration=100,
        default_image=True,
    )
    frames = load_frames(tmp_path / "a.png")
    assert frames.count == 3 and np.array_equal(frames.images[0], np.array(pictures[1]))


def test_pictures_that_stay_for_no_time_follow_each_other(tmp_path):
    pictures = moving(3)
    pictures[0].save(
        tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=0, lossless=True
    )
    np.testing.assert_allclose(load_frames(tmp_path / "a.webp").timestamps_s, [0, 0.1, 0.2])


def test_pages_of_a_tiff_are_frames_without_times(tmp_path):
    pictures, path = moving(), tmp_path / "stack.tif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    frames = load_frames(path)
    assert frames.count == 6 and not frames.from_video
    assert all(np.array_equal(a, np.array(b)) for a, b in zip(frames.images, pictures, strict=True))
    assert load_frames(path, times_s=[0, 2, 3, 4, 5, 9]).timestamps_s[-1] == 9
    with pytest.raises(ConfigError, match="no times"):
        load_frames(path, FrameSelection(fps=2.0))


def test_smaller_copies_and_other_sizes_in_a_tiff(tmp_path):
    pictures = moving(3)
    small = pictures[0].resize((16, 12))
    marked = small.copy()
    marked.encoderinfo = {"tiffinfo": {254: 1}}
    pictures[0].save(tmp_path / "pyramid.tif", save_all=True, append_images=[marked])
    assert sequence_in(tmp_path / "pyramid.tif") is None
    assert load_frames(tmp_path / "pyramid.tif").image_hw == (48, 64)
    small.save(tmp_path / "mixed.tif", save_all=True, append_images=pictures)
    frames = load_frames(tmp_path / "mixed.tif")
    assert frames.count == 3 and frames.image_hw == (48, 64)
    assert frames.note == "1 pages of other sizes than 64x48 left out"


def test_the_second_picture_of_a_telephone_s_jpeg_is_named(tmp_path):
    first, second = moving(2)
    second = second.resize((16, 12))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    frames = load_frames(tmp_path / "a.jpg")
    assert frames.count == 1 and frames.image_hw == (48, 64)
    assert "second picture" in frames.note


def test_of_several_files_each_gives_one_picture_and_the_rest_is_named(tmp_path):
    pictures = moving(3)
    for number in range(2):
        pictures[0].save(
            tmp_path / f"{number}.webp",
            save_all=True,
            append_images=pictures[1:],
            duration=100,
            lossless=True,
        )
    frames = load_frames(tmp_path)
    assert frames.count == 2
    assert frames.note == "only the first of several pictures in a file was taken (2 of 2 images)"


def test_transparency_of_every_kind(tmp_path):
    gray = np.array([[0, 100, 200, 255]], np.uint8).repeat(2, axis=0)
    Image.fromarray(gray).save(tmp_path / "gray.png", transparency=100)
    assert read_image(tmp_path / "gray.png")[0, :, 0].tolist() == [0, 255, 200, 255]
    deep = gray.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=100 * 257)
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 255, 200, 255]
    both = Image.merge("LA", [Image.fromarray(gray), Image.fromarray(255 - gray)])
    both.save(tmp_path / "both.png")
    shown = gray + np.round((255.0 - gray) * gray / 255)
    found = read_image(tmp_path / "both.png")[..., 0]
    assert np.abs(found - shown).max() <= 1
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    palette.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    palette.save(tmp_path / "palette.png", transparency=bytes([255, 0, 128]))
    found = read_image(tmp_path / "palette.png")[0].tolist()
    assert found[:2] == [[200, 10, 10], [255, 255, 255]]
    assert np.abs(np.array(found[2]) - [132, 132, 227]).max() <= 1


def test_damaged_exif_is_no_reason_to_refuse_a_picture(tmp_path):
    picture = moving(1)[0]
    rng = np.random.default_rng(3)
    for number in range(30):
        exif = b"Exif\0\0" + (b"MM\0*" if number % 2 else b"II*\0") + rng.bytes(60)
        path = tmp_path / f"{number}.jpg"
        picture.save(path, quality=95, exif=exif)
        shape = read_picture(path).pixels.shape
        assert shape[:2] == image_size(path) and sorted(shape[:2]) == [48, 64]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_files_that_are_cut_off_are_refused_in_one_line(tmp_path, name):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 60, 3), dtype=np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for share in (0, 0.02, 0.4, 0.9):
        (tmp_path / name).write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError) as raised:
            load_frames(tmp_path / name)
        assert "\n" not in str(raised.value) and str(tmp_path / name) in str(raised.value)


def test_floats_that_overshoot_one_a_little_are_no_dark_picture(tmp_path):
    values = np.linspace(-0.02, 1.05, 100, dtype=np.float32).reshape(10, 10)
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = read_image(tmp_path / "a.tif")[..., 0]
    assert np.abs(found - np.round(values.clip(0, 1) * 255)).max() <= 1
    Image.fromarray(values * 1.5).save(tmp_path / "b.tif")
    with pytest.raises(InputError, match="gray values"):
        read_image(tmp_path / "b.tif")


def test_heic_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(300))
    with pytest.raises(InputError, match=r"pip install 'dynapoint\[heic\]'"):
        open_image(tmp_path / "a.heic")
