"""Videos as recorders, editors and broken disks leave them: streams, damage, clocks, tags."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import ExifTags, Image

from dynapoint.data import video_decoding
from dynapoint.data.between import load_between
from dynapoint.data.frames import load_frames
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.data.video_timeline import list_packets
from dynapoint.errors import InputError
from video_files import set_display_matrix, write_planes, write_video

EVERY = FrameSelection(stride=1)


def picture(number, size_wh=(160, 128)):
    """A texture that moves, and a patch that says the number."""
    rng = np.random.default_rng(0)
    cells = rng.integers(60, 200, (size_wh[1] // 16, size_wh[0] // 16), dtype=np.uint8)
    texture = np.roll(np.kron(cells, np.ones((16, 16), np.uint8)), 3 * number, axis=1)
    texture[40:80, 60:100] = 20 + 5 * number
    return np.repeat(texture[..., None], 3, axis=2)


def numbers(images):
    return [round((float(image[50:70, 70:90].mean()) - 20) / 5) for image in images]


def write(target, count=40, *, first=0, shift=0, codec="libx264", options=None, format=None):
    """A video of numbered pictures, 20 a second, key frames every 10."""
    with av.open(str(target) if not hasattr(target, "write") else target, "w", format) as out:
        stream = out.add_stream(codec, rate=20)
        stream.width, stream.height = 160, 128
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        quality = {"libx264": {"crf": "8"}, "libvpx": {"b": "2M"}, "libvpx-vp9": {"b": "2M"}}
        stream.options = {"g": "10", **quality.get(codec, {"qscale": "2"}), **(options or {})}
        stream.codec_context.time_base = Fraction(1, 20)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(first + number), format="rgb24")
            frame.pts, frame.time_base = shift + number, Fraction(1, 20)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return target


def right(frames, count=40, levels=14):
    """Whether every frame is the picture of its time, as it was encoded."""
    shown = np.round(frames.timestamps_s * 20).astype(int)
    off = [
        np.abs(image.astype(int) - picture(number)).mean()
        for number, image in zip(shown, frames.images, strict=True)
    ]
    return max(off) < levels and shown[-1] < count


# Which stream.


def test_attached_pictures_are_no_film(tmp_path):
    write(tmp_path / "plain.mp4", 8)
    cover = np.full((400, 400, 3), (250, 120, 10), np.uint8)
    with av.open(str(tmp_path / "plain.mp4")) as source:
        with av.open(str(tmp_path / "a.mp4"), "w") as out:
            art = out.add_stream("mjpeg", rate=1)
            art.width = art.height = 400
            art.pix_fmt = "yuvj420p"
            art.disposition = Disposition.attached_pic
            film = out.add_stream_from_template(source.streams.video[0])
            still = av.VideoFrame.from_ndarray(cover, format="rgb24")
            out.mux([*art.encode(still), *art.encode()])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = film
                    out.mux(packet)
    frames = load_frames(tmp_path / "a.mp4")
    assert frames.count == 8 and frames.image_hw == (128, 160) and frames.note is None


def test_a_file_of_nothing_but_a_cover_is_refused(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as out:
        art = out.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
        art.disposition = Disposition.attached_pic
        sound = out.add_stream("aac", rate=16000)
        still = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
        out.mux([*art.encode(still), *art.encode()])
        samples = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), np.float32), format="fltp", layout="mono"
        )
        samples.sample_rate, samples.pts = 16000, 0
        out.mux([*sound.encode(samples), *sound.encode()])
    with pytest.raises(InputError, match="no video stream but pictures attached"):
        load_frames(tmp_path / "song.mp4")


@pytest.mark.parametrize(("defaults", "used"), [((0, 1), 1), ((1, 0), 0), ((1, 1), 1), ((0, 0), 1)])
def test_the_default_stream_then_the_largest(tmp_path, defaults, used):
    sizes = [(48, 32), (96, 64)]
    with av.open(str(tmp_path / "two.mkv"), "w") as out:
        streams = []
        for (width, height), default in zip(sizes, defaults, strict=True):
            stream = out.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = Disposition.default if default else Disposition(0)
            streams.append(stream)
        for _ in range(3):
            for stream, (width, height) in zip(streams, sizes, strict=True):
                gray = np.full((height, width, 3), width, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        for stream in streams:
            out.mux(stream.encode())
    frames = load_frames(tmp_path / "two.mkv")
    assert frames.image_hw == sizes[used][::-1]
    left = sizes[1 - used]
    assert (
        frames.note.startswith("video stream of")
        and f"left out: {left[0]}x{left[1]}" in frames.note
    )


# Damage.


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", ".mkv"),
        ("libx264", ".ts"),
        ("libvpx", ".webm"),
        ("libvpx-vp9", ".webm"),
        ("mpeg2video", ".ts"),
        ("mjpeg", ".avi"),
    ],
)
def test_whole_files_are_whole_and_torn_ones_give_only_whole_frames(tmp_path, codec, suffix):
    path = write(tmp_path / f"a{suffix}", codec=codec)
    frames = load_frames(path, EVERY)
    assert frames.count == 40 and frames.note is None and right(frames)
    content = path.read_bytes()
    if suffix == ".ts":
        half = len(content) // 376
        torn = content[: 188 * half] + content[188 * (half + 6) :]
    else:
        torn = bytearray(content)
        torn[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(bytes(torn))
    frames = load_frames(path, EVERY)
    assert frames.count < 40 and right(frames) and "is damaged" in frames.note
    assert "\n" not in frames.note


def changed(path, target, change):
    """Copy a video's packets, each as `change` (number, packet) gives it, None for none."""
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        for number, packet in enumerate(packets):
            given = change(number, packet)
            if given is not None:
                given.stream = copy
                out.mux(given)
    return target


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_what_is_built_on_a_broken_frame_is_left_out(tmp_path, codec):
    options = (
        {"x265-params": "log-level=none:keyint=10:min-keyint=10"} if codec == "libx265" else {}
    )
    path = write(tmp_path / "a.mkv", codec=codec, options={"bf": "0", **options})
    whole = load_frames(path, EVERY)

    def spoilt(number, packet):
        if number != 13:
            return packet
        content = bytearray(bytes(packet))
        if codec == "libx265":
            # Zeros are a picture like any other to its entropy decoder; an end too soon is not.
            del content[len(content) // 2 :]
        else:
            content[len(content) // 3 :] = bytes(len(content) - len(content) // 3)
        other = av.Packet(bytes(content))
        other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
        return other

    frames = load_frames(changed(path, tmp_path / "b.mkv", spoilt), EVERY)
    shown = np.round(frames.timestamps_s * 20).astype(int).tolist()
    assert set(range(13, 20)).isdisjoint(shown) and {*range(13), *range(20, 40)} <= set(shown)
    assert np.array_equal(frames.images, whole.images[shown])
    assert "is damaged: 33 frames could be read" in frames.note


def test_a_stream_that_begins_amid_a_group_begins_with_its_first_key_frame(tmp_path):
    path = write(tmp_path / "a.ts", codec="mpeg2video")
    content = path.read_bytes()
    path.write_bytes(content[188 * 40 :])
    frames = load_frames(path, EVERY)
    first = numbers(frames.images[:1])[0]
    assert first % 10 == 0 and numbers(frames.images) == list(range(first, 40))
    assert "at the start left out" in frames.note and frames.timestamps_s[0] == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_headers_that_count_otherwise_are_no_damage(tmp_path, suffix):
    """A longer duration, and more frames than there are, where all bytes are there."""
    path = write_video(tmp_path / f"a{suffix}", frames=12)
    content = bytearray(path.read_bytes())
    if suffix == ".mp4":
        for name in (b"mvhd", b"mdhd"):
            struct.pack_into(">I", content, content.index(name) + 20, 60_000_000)
    elif suffix == ".avi":
        struct.pack_into("<I", content, content.index(b"avih") + 8 + 16, 500)
        struct.pack_into("<I", content, content.index(b"strh") + 8 + 32, 500)
    else:
        place = content.index(b"DURATION")
        place = content.index(b"00:00:00", place)
        content[place : place + 8] = b"00:09:00"
    path.write_bytes(bytes(content))
    frames = load_frames(path)
    assert frames.count == 12 and frames.note is None


def test_a_packet_without_content_is_a_picture_that_stays(tmp_path):
    path = write(tmp_path / "a.avi", codec="mpeg4", options={"bf": "0"})
    content = bytearray(path.read_bytes())
    # AVI says that nothing changed by a chunk of length 0; here the 11th frame is made one.
    place = content.index(b"movi") + 4
    for _ in range(11):
        place += 8 + struct.unpack_from("<I", content, place + 4)[0]
        place += place % 2
    length = struct.unpack_from("<I", content, place + 4)[0]
    length += length % 2
    content[place : place + 4] = b"00dc"
    junk = struct.pack("<4sI", b"00dc", 0) + struct.pack("<4sI", b"JUNK", length - 8)
    content[place : place + 16] = junk
    # The list of places is left out, so that FFmpeg walks the chunks.
    path.write_bytes(bytes(content[: content.index(b"idx1")]))
    frames = load_frames(path, EVERY)
    assert 38 <= frames.count <= 39
    assert frames.timestamps_s[10] == pytest.approx(0.5) and frames.timestamps_s[11] > 0.59


# Clocks.


@pytest.mark.parametrize("shift", [0, 7, 20000, -5])
@pytest.mark.parametrize("frames_between", ["0", "3"])
def test_joined_recordings_have_one_clock(tmp_path, shift, frames_between):
    options = {"bf": frames_between}
    parts = [
        write(
            tmp_path / f"{first}.ts", 20, first=first, shift=shift if first else 0, options=options
        )
        for first in (0, 20)
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    everything = load_frames(path, EVERY)
    assert numbers(everything.images) == list(range(40)) and everything.note is None
    np.testing.assert_allclose(everything.timestamps_s, np.arange(40) / 20, atol=1e-3)
    for options, expected in (
        ({"start_s": 1.2}, list(range(24, 40))),
        ({"end_s": 0.5}, list(range(11))),
        ({"fps": 5.0}, list(range(0, 40, 4))),
    ):
        found = load_frames(path, FrameSelection(**options))
        assert found.source_frame_index.tolist() == numbers(found.images) == expected
    small = SmallPictures(longer_side=40)
    found = load_frames(path, FrameSelection(max_frames=5), small=small)
    between = load_between(path, found, small)
    np.testing.assert_allclose(between.times_s, np.arange(40) / 20, atol=1e-3)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_open_groups_of_pictures_are_entered_before_what_they_are_built_on(tmp_path, codec, suffix):
    made = "keyint=10:min-keyint=10:bframes=3:b-adapt=0:scenecut=0:open-gop=1"
    key = f"{codec[3:]}-params"
    options = {key: made + (":log-level=none:crf=4" if codec == "libx265" else "")}
    path = write(tmp_path / f"a{suffix}", codec=codec, options=options)
    everything = load_frames(path, EVERY)
    assert numbers(everything.images) == list(range(40))
    for begin in (0.4, 0.45, 0.5, 0.55, 0.95, 1.0, 1.3):
        part = load_frames(path, FrameSelection(start_s=begin, end_s=begin + 0.3))
        assert np.array_equal(part.images, everything.images[part.source_frame_index])
        assert part.timestamps_s[0] == pytest.approx(begin, abs=2e-3)


def test_an_edit_list_hides_what_leads_up_and_what_follows(tmp_path):
    path = write(tmp_path / "a.mp4", options={"bf": "2"})
    content = bytearray(path.read_bytes())
    place = content.index(b"elst")
    media = content.index(b"mdhd")
    scale = struct.unpack_from(">I", content, media + 16)[0]
    movie = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    start = struct.unpack_from(">i", content, place + 16)[0]
    struct.pack_into(">Ii", content, place + 12, round(0.8 * movie), start + round(0.65 * scale))
    path.write_bytes(bytes(content))
    frames = load_frames(path, EVERY)
    assert frames.note is None and numbers(frames.images)[0] == 13
    assert 28 <= numbers(frames.images)[-1] <= 29 and frames.timestamps_s[0] == 0


@pytest.mark.parametrize(
    ("suffix", "shift"),
    [(".mkv", -13), (".ts", -13), *((each, 4000) for each in (".mkv", ".mp4", ".ts"))],
)
def test_a_clock_may_begin_anywhere(tmp_path, suffix, shift):
    path = write(tmp_path / f"a{suffix}", 20, shift=shift)
    found = load_frames(path, FrameSelection(start_s=0.5))
    assert numbers(found.images) == list(range(10, 20))
    np.testing.assert_allclose(found.timestamps_s, np.arange(10, 20) / 20, atol=2e-3)


@pytest.mark.parametrize("format", ["h264", "mjpeg", "m4v", "ivf"])
def test_bare_streams_are_read_in_their_order(tmp_path, format):
    codec = {"h264": "libx264", "mjpeg": "mjpeg", "m4v": "mpeg4", "ivf": "libvpx-vp9"}[format]
    path = write(tmp_path / f"a.{format}", 20, codec=codec, format=format)
    frames = load_frames(path, EVERY)
    steps = np.diff(numbers(frames.images))
    assert frames.count == 20 and frames.note is None and (steps >= 0).all() and steps.max() <= 2
    assert (np.diff(frames.timestamps_s) > 0).all()


def test_avi_with_frames_between_keeps_one_timeline(tmp_path):
    path = write(tmp_path / "a.avi", codec="libx264", options={"bf": "3"})
    everything = load_frames(path, EVERY)
    assert numbers(everything.images) == list(range(40))
    found = load_frames(path, FrameSelection(start_s=0.75, end_s=1.3))
    assert numbers(found.images) == list(range(15, 27))
    assert np.array_equal(found.timestamps_s, everything.timestamps_s[15:27])


def test_a_sound_file_is_listed_as_it_is(tmp_path):
    listed = list_packets(write(tmp_path / "a.mkv"))
    assert listed.count == 40 and listed.shown.all() and listed.stamped and not listed.torn
    assert np.flatnonzero(listed.key).tolist() == [0, 10, 20, 30] and not listed.clocks().any()


# Tags.


def test_alpha_of_webm_is_laid_on_white_in_small_pictures_too(tmp_path):
    rgba = np.zeros((120, 160, 4), np.uint8)
    rgba[..., :3] = (200, 30, 30)
    rgba[30:90, 40:120] = (30, 60, 200, 255)
    for codec, options in (
        ("libvpx-vp9", {"crf": "8", "b": "0"}),
        ("libvpx", {"auto-alt-ref": "0", "b": "2M", "crf": "4"}),
    ):
        path = tmp_path / f"{codec}.webm"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuva420p"
            stream.options = options
            for _ in range(6):
                frame = av.VideoFrame.from_ndarray(rgba, format="rgba")
                out.mux(stream.encode(frame.reformat(format="yuva420p")))
            out.mux(stream.encode())
        frames = load_frames(path, FrameSelection(max_frames=2))
        assert np.abs(frames.images[:, 8, 8].astype(int) - 255).max() < 8
        assert np.abs(frames.images[:, 60, 80].astype(int) - (30, 60, 200)).max() < 12
        between = load_between(path, frames, SmallPictures(longer_side=40))
        assert between.count == 6 and between.pictures[:, 2, 2].min() > 247


def coded(colours, size_wh, matrix, *, levels=219):
    """Planes of eight-bit limited-range YUV 4:4:4 that show bars of colours; `matrix` (kr, kb)."""
    kr, kb = matrix
    value = np.asarray(colours) / 255
    luma = value @ [kr, 1 - kr - kb, kb]
    yuv = [
        16 + levels * luma,
        128 + 224 * (value[:, 2] - luma) / (2 * (1 - kb)),
        128 + 224 * (value[:, 0] - luma) / (2 * (1 - kr)),
    ]
    width, height = size_wh
    return [
        np.repeat(np.repeat(plane[None], height, 0), width // len(value), 1)
        .round()
        .astype(np.uint8)
        for plane in yuv
    ]


BARS = [(220, 40, 40), (40, 200, 40), (40, 60, 220), (230, 220, 40)]
BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)


@pytest.mark.parametrize(
    ("size_wh", "tags", "matrix"),
    [
        ((1280, 720), {}, BT709),
        ((1280, 544), {}, BT709),
        ((720, 1280), {}, BT709),
        ((720, 576), {}, BT601),
        ((64, 48), {"color_primaries": 1}, BT709),
        ((1280, 720), {"color_primaries": 6}, BT601),
        ((1280, 720), {"colorspace": 6}, BT601),
        ((64, 48), {"colorspace": 1}, BT709),
    ],
)
def test_the_matrix_is_the_file_s_or_that_of_its_size(tmp_path, size_wh, tags, matrix):
    planes = [coded(BARS, size_wh, matrix)] * 2
    path = write_planes(tmp_path / "a.mkv", planes, codec="ffv1", pix_fmt="yuv444p", tags=tags)
    found = load_frames(path).images[0, size_wh[1] // 2, size_wh[0] // 8 :: size_wh[0] // 4]
    assert np.abs(found.astype(int) - BARS).max() <= 2


@pytest.mark.parametrize(("primaries", "name"), [(9, "BT.2020"), (12, "Display P3")])
def test_wide_colours_of_ordinary_video_are_brought_to_srgb(tmp_path, primaries, name):
    to_wide = {
        9: [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]],
        12: [[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]],
    }[primaries]
    light = (np.array(BARS) / 255) ** 2.4
    wide = 255 * (light @ np.array(to_wide).T).clip(0, 1) ** (1 / 2.4)
    matrix = BT2020 if primaries == 9 else BT709
    tags = {"color_primaries": primaries, "color_trc": 1, "colorspace": 9 if primaries == 9 else 1}
    path = write_planes(
        tmp_path / "a.mkv",
        [coded(wide, (64, 48), matrix)] * 2,
        codec="ffv1",
        pix_fmt="yuv444p",
        tags=tags,
    )
    frames = load_frames(path)
    assert np.abs(frames.images[0, 24, 8::16].astype(int) - BARS).max() <= 12
    assert frames.note == f"colours of {name} brought to sRGB"


def with_clean_aperture(path, values):
    """Write a clean aperture (ISO/IEC 14496-12, 12.1.4) into an MP4 whose index comes last."""
    content = bytearray(path.read_bytes())

    def boxes(start, end):
        while start + 8 <= end:
            size = struct.unpack_from(">I", content, start)[0]
            yield start, size, bytes(content[start + 4 : start + 8])
            start += size

    chain, start, end = [], 0, len(content)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        place, size, _ = next(box for box in boxes(start, end) if box[2] == kind)
        chain.append(place)
        start, end = place + 8, place + size
    entry = chain[-1] + 16
    chain.append(entry)
    box = struct.pack(">I4s8i", 40, b"clap", *values)
    end = entry + struct.unpack_from(">I", content, entry)[0]
    for place in chain:
        size = struct.unpack_from(">I", content, place)[0]
        struct.pack_into(">I", content, place, size + 40)
    content[end:end] = box
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("aspect", [None, Fraction(2, 1)])
def test_a_clean_aperture_is_cut_before_pixels_are_turned(tmp_path, turned, aspect):
    rng = np.random.default_rng(2)
    luma = np.kron(rng.integers(30, 220, (8, 12), dtype=np.uint8), np.ones((8, 8), np.uint8))
    planes = [[luma, np.full((64, 96), 128, np.uint8), np.full((64, 96), 128, np.uint8)]] * 3
    path = write_planes(
        tmp_path / "a.mp4",
        planes,
        codec="libx264",
        pix_fmt="yuv444p",
        options={"crf": "1"},
        pixel_aspect=aspect,
    )
    if turned:
        set_display_matrix(path, 0, 1, -1, 0)
    whole = load_frames(path)
    # 72 x 40, its centre 4 to the right of the middle and 2 above it.
    frames = load_frames(with_clean_aperture(path, (72, 1, 40, 1, 4, 1, -2, 1)))
    wider = 1 if aspect is None else 2
    left, top = (96 - 72) // 2 + 4, (64 - 40) // 2 - 2
    upright = np.rot90(whole.images, 1, axes=(1, 2)) if turned else whole.images
    expected = upright[:, top : top + 40, wider * left : wider * (left + 72)]
    if turned:
        expected = np.rot90(expected, -1, axes=(1, 2))
    assert np.array_equal(frames.images, expected)
    assert f"cut to the {72 * wider}x40" in frames.note
    small = load_between(path, frames, SmallPictures(longer_side=48)).pictures
    assert small.shape[1:] == tuple(
        round(side * 48 / max(expected.shape[1:3])) for side in expected.shape[1:3]
    )
    full = load_between(path, frames, SmallPictures(longer_side=1000)).pictures
    assert np.abs(full.astype(int) - expected[..., 1]).mean() < 3


def test_senseless_apertures_are_left_alone(tmp_path):
    for values in ((200, 1, 88, 1, 0, 1, 0, 1), (0, 1, 0, 1, 0, 1, 0, 1), (9, 0, 9, 0, 0, 0, 0, 0)):
        path = with_clean_aperture(write_video(tmp_path / "a.mp4", frames=3), values)
        assert load_frames(path).image_hw == (64, 96)


@pytest.mark.parametrize(
    ("side", "kept"),
    [
        (b"\x54\xcc", np.s_[:, :, 16:]),
        (b"\x54\xdd", np.s_[:, :, :-16]),
        (b"\x54\xbb", np.s_[:, 16:]),
        (b"\x54\xaa", np.s_[:, :-16]),
    ],
)
def test_what_matroska_cuts_off_is_cut_off(tmp_path, side, kept):
    rng = np.random.default_rng(4)
    luma = np.kron(rng.integers(30, 220, (8, 12), dtype=np.uint8), np.ones((8, 8), np.uint8))
    planes = [[luma, np.full((64, 96), 128, np.uint8), np.full((64, 96), 128, np.uint8)]] * 3
    path = write_planes(tmp_path / "a.mkv", planes, codec="ffv1", pix_fmt="yuv444p")
    whole = load_frames(path)
    content = bytearray(path.read_bytes())
    # What says in which unit it is shown gives way to what is cut off, of as many bytes.
    place = content.index(b"\xb0\x81\x60\xba\x81\x40\x54\xb2\x81\x04") + 6
    content[place : place + 4] = side + b"\x81\x10"
    path.write_bytes(bytes(content))
    frames = load_frames(path)
    assert np.array_equal(frames.images, whole.images[kept])
    assert "cut to the" in frames.note and "pixels made square" not in frames.note


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_exif_in_motion_jpeg_turns_the_frames(tmp_path, turn):
    colours = np.full((48, 64, 3), 90, np.uint8)
    colours[:16, :24] = (220, 40, 40)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    still = io.BytesIO()
    Image.fromarray(colours).save(still, "JPEG", quality=95, subsampling=0, exif=exif)
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj444p"
        for number in range(3):
            packet = av.Packet(still.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 10), stream
            packet.is_keyframe = True
            out.mux(packet)
    upright = np.rot90(colours, {1: 0, 3: 2, 6: 3, 8: 1}[turn])
    frames = load_frames(tmp_path / "a.avi")
    assert frames.count == 3 and frames.images[0].shape == upright.shape
    assert np.abs(frames.images[1].astype(int) - upright).mean() < 4


def test_fonts_and_covers_attached_to_matroska_are_no_film(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.add_attachment("font.ttf", "application/x-truetype-font", bytes(500))
        cover = io.BytesIO()
        Image.new("RGB", (300, 300), (250, 120, 10)).save(cover, "JPEG")
        out.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        for _ in range(4):
            gray = np.full((64, 96, 3), 90, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        out.mux(stream.encode())
    frames = load_frames(tmp_path / "a.mkv")
    assert frames.count == 4 and frames.image_hw == (64, 96) and frames.note is None


def test_an_empty_edit_at_the_beginning_delays_the_film_and_no_more(tmp_path):
    path = write(tmp_path / "a.mp4", 20, options={"bf": "0"})
    plain = load_frames(path, EVERY)
    content = bytearray(path.read_bytes())
    at = content.index(b"elst")
    count = struct.unpack_from(">I", content, at + 8)[0]
    movie = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    entry = struct.pack(">Iihh", movie // 2, -1, 1, 0)
    content[at + 12 : at + 12] = entry
    struct.pack_into(">I", content, at + 8, count + 1)
    for name in (b"elst", b"edts", b"trak", b"moov"):
        place = content.index(name) - 4
        struct.pack_into(">I", content, place, struct.unpack_from(">I", content, place)[0] + 12)
    path.write_bytes(bytes(content))
    frames = load_frames(path, EVERY)
    assert frames.note is None and np.array_equal(frames.images, plain.images)
    np.testing.assert_allclose(frames.timestamps_s, plain.timestamps_s, atol=1e-3)


def test_transparency_of_wide_colours_is_laid_on_white(tmp_path):
    flat = [np.full((16, 24), value, np.uint8) for value in (126, 128, 128)]
    alpha = np.zeros((16, 24), np.uint8)
    alpha[:, 12:] = 255
    for tags in ({"color_primaries": 9, "color_trc": 1}, {"color_primaries": 9, "color_trc": 18}):
        path = write_planes(
            tmp_path / "glass.mkv",
            [[*flat, alpha]] * 2,
            codec="ffv1",
            pix_fmt="yuva444p",
            tags={**tags, "colorspace": 9},
        )
        images = load_frames(path).images.astype(int)
        assert (images[:, :, :12] == 255).all() and (images[:, :, 12:] < 200).all()


def woven(count=20):
    """Interlaced pictures of a bright square that moves from field to field."""
    fields = []
    for number in range(2 * count):
        field = np.full((240, 320, 3), 60, np.uint8)
        field[80:160, 20 + 4 * number : 60 + 4 * number] = 220
        fields.append(field)
    frames = []
    for number in range(count):
        frame = fields[2 * number].copy()
        frame[1::2] = fields[2 * number + 1][1::2]
        frames.append(frame)
    return fields[::2], frames


@pytest.mark.parametrize("turn", [False, True])
def test_interlaced_frames_are_one_moment(tmp_path, turn):
    moments, frames = woven()
    path = tmp_path / "tape.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"crf": "8", "x264-params": "interlaced=1:tff=1:keyint=5"}
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    if turn:
        set_display_matrix(path, -1, 0, 0, -1)
    for selection in (EVERY, FrameSelection(max_frames=3), FrameSelection(start_s=0.3, end_s=0.5)):
        found = load_frames(path, selection)
        assert "interlaced" in found.note
        for index, image in zip(found.source_frame_index, found.images, strict=True):
            expected = moments[index][::-1, ::-1] if turn else moments[index]
            assert np.abs(image.astype(int) - expected).mean() < 3


def test_progressive_video_is_not_filtered(tmp_path, monkeypatch):
    from dynapoint.data import video_fields

    monkeypatch.setattr(video_fields, "_Fields", None)
    assert load_frames(write(tmp_path / "a.mp4", 6)).note is None


def test_frames_of_other_sizes_midway_are_named(tmp_path):
    parts = []
    for size in ((96, 64), (64, 64)):
        target = io.BytesIO()
        with av.open(target, "w", "h264") as out:
            stream = out.add_stream("libx264", rate=10)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for _ in range(4):
                gray = np.full((size[1], size[0], 3), 90, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
            out.mux(stream.encode())
        parts.append(target.getvalue())
    (tmp_path / "a.h264").write_bytes(b"".join(parts))
    frames = load_frames(tmp_path / "a.h264")
    assert frames.count == 8 and frames.image_hw == (64, 96)
    assert frames.note == "4 frames of 64x64 scaled to the first one's size"


@pytest.mark.parametrize("size_wh", [(33, 17), (127, 95), (5, 9)])
@pytest.mark.parametrize("pix_fmt", ["yuv444p10le", "yuv422p10le", "yuv420p10le", "yuv422p"])
def test_odd_sizes_and_deep_samples(tmp_path, size_wh, pix_fmt):
    deep = pix_fmt.endswith("10le")
    kind, scale = (np.uint16, 4) if deep else (np.uint8, 1)
    width, height = size_wh
    across = 1 if "444" in pix_fmt else 2
    down = 2 if "420" in pix_fmt else 1
    chroma = (-(-height // down), -(-width // across))
    luma = np.full((height, width), 126 * scale, kind)
    planes = [luma, np.full(chroma, 128 * scale, kind), np.full(chroma, 128 * scale, kind)]
    path = write_planes(tmp_path / "a.mkv", [planes] * 3, codec="ffv1", pix_fmt=pix_fmt)
    frames = load_frames(path)
    assert frames.image_hw == (height, width)
    assert np.abs(frames.images.astype(int) - 128).max() <= 1


def test_numbers_of_packets_survive_decoders_that_end_late(tmp_path):
    """Two passes at once, with numbers that Python keeps once for all, do not mix them up."""
    path = write(tmp_path / "a.mkv")
    listed = list_packets(path)
    first, second = (iter(video_decoding.decode(path, listed)) for _ in range(2))
    found = [next(first)[0] for _ in range(5)]
    found += [number for number, _ in second][:0]
    found += [number for number, _ in first]
    assert sorted(found) == list(range(40))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
@pytest.mark.parametrize("made", ["bframes=0", "bframes=3:b-pyramid=2:ref=4", "interlaced=1"])
def test_h264_frames_built_on_one_that_is_gone_are_left_out(tmp_path, suffix, made):
    """A packet is taken out whole, which decoders do not say."""
    options = {"x264-params": f"{made}:keyint=10:min-keyint=10:scenecut=0"}
    path = write(tmp_path / f"a{suffix}", options=options)
    whole = load_frames(path, EVERY)
    assert whole.count == 40 and not list_packets(path).gap.any()
    for gone in (11, 14, 22):
        cut = changed(path, tmp_path / f"b{suffix}", without(gone))
        frames = load_frames(cut, EVERY)
        shown = np.round(frames.timestamps_s * 20).astype(int)
        # A neighbour that is missing is seen in rows between those of a field.
        most = 2 if made == "interlaced=1" else 0.1
        for index, image in zip(shown, frames.images, strict=True):
            assert np.abs(image.astype(int) - whole.images[index]).mean() <= most, (gone, index)
        assert {*range(10), *range(31, 40)} <= set(shown.tolist())


def without(gone):
    return lambda number, packet: None if number == gone else packet
