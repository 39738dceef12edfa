"""Videos and pictures for streams of frames, and a check that streamed frames are the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from dynapoint.data.streamed import StreamedFrame
from video_files import numbered_picture


def textures(count: int, size_wh: tuple[int, int] = (160, 128), seed: int = 0) -> list[np.ndarray]:
    """A texture that moves, so that every frame is another."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(60, 200, (size_wh[1] // 16, size_wh[0] // 16), dtype=np.uint8)
    texture = np.repeat(np.kron(cells, np.ones((16, 16), np.uint8))[..., None], 3, axis=2)
    return [np.roll(texture, 3 * number, axis=1) for number in range(count)]


def write(
    path: Path,
    count: int = 40,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """A video of moving textures, 20 a second, key frames every 10."""
    with av.open(str(path), "w", format) as out:
        stream: Any = out.add_stream(codec, rate=20)
        stream.width, stream.height = 160, 128
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        fast = {"libx264": {"preset": "ultrafast"}, "libvpx": {"deadline": "realtime"}}
        stream.options = {"g": "10", **fast.get(codec, {}), **(options or {})}
        for picture in textures(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path


def spoilt(path: Path, target: Path, numbers: set[int]) -> Path:
    """A copy of a video in which some packets are cut to a third, which no demuxer notices."""
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        for number, packet in enumerate(packets):
            given: Any = packet
            if number in numbers:
                content = bytes(packet)
                third = len(content) // 3
                given = av.Packet(content[:third] + bytes(len(content) - third))
                given.pts, given.dts, given.time_base = packet.pts, packet.dts, packet.time_base
            given.stream = copy
            out.mux(given)
    return target


def save(folder: Path, count: int, size_wh: tuple[int, int] = (96, 64)) -> list[Path]:
    """Numbered pictures in a new folder."""
    folder.mkdir()
    paths = [folder / f"shot_{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(numbered_picture(number, size_wh)).save(path)
    return paths


def assert_same_part(found: Sequence[StreamedFrame], later: Sequence[StreamedFrame]) -> None:
    """Some frames of a stream are those of another."""
    for one, two in zip(found, later, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        assert one.small is not None and two.small is not None
        np.testing.assert_array_equal(one.small, two.small)
        np.testing.assert_array_equal([one.timestamp_s], [two.timestamp_s])
        assert (one.number, one.source_index) == (two.number, two.source_index)
        assert len(one.between) == len(two.between)
        for small, other in zip(one.between, two.between, strict=True):
            np.testing.assert_array_equal(small.picture, other.picture)
            assert (small.source_index, small.time_s) == (other.source_index, other.time_s)
