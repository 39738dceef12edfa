"""Small videos whose frames say their own number, made with PyAV."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SIZE_WH = (96, 64)


def numbered_picture(number: int, size_wh: tuple[int, int] = SIZE_WH) -> np.ndarray:
    """A gray level for the number and a bright patch in the top left corner, to tell turns."""
    picture = np.full((size_wh[1], size_wh[0], 3), 20 + 4 * (number % 50), np.uint8)
    picture[: size_wh[1] // 4, : size_wh[0] // 4] = 250
    return picture


def number_in(picture: np.ndarray) -> int:
    """The number that a picture shows, read far from the patch."""
    height, width = picture.shape[:2]
    middle = picture[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4]
    return round((float(middle.mean()) - 20) / 4)


def write_video(
    path: Path,
    *,
    frames: int = 30,
    size_wh: tuple[int, int] = SIZE_WH,
    fps: int = 30,
    times_ms: list[int] | None = None,
    options: dict[str, str] | None = None,
    keyframe_every: int = 5,
    codec: str = "libx264",
    silence_s: int = 0,
) -> Path:
    """Write a video; `times_ms` gives a variable frame rate."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.gop_size = keyframe_every
        if codec == "libx264":
            stream.options = {"crf": "8", "preset": "ultrafast"}
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=16000) if silence_s else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, size_wh), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            samples = np.zeros((1, 16000 * silence_s), np.float32)
            silence = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, 0
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a rotation into an MP4's track header, as telephones do, by the letter of ISO 14496-12.

    The matrix (a b u / c d v / x y w) sends stored (p, q) to (a p + c q + x, b p + d q + y).
    """
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    assert content[header] == 0, "version 0 of the box is expected"
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    struct.pack_into(">9i", content, header + 40, *matrix)
    path.write_bytes(bytes(content))


def write_planes(
    path: Path,
    planes: list[list[np.ndarray]],
    *,
    codec: str,
    pix_fmt: str,
    tags: dict[str, int] | None = None,
    pixel_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames given by their planes as they are; `tags` are colour tags by name (H.273)."""
    height, width = planes[0][0].shape[:2]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = options or {}
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if pixel_aspect is not None:
            stream.sample_aspect_ratio = pixel_aspect
        for number, arrays in enumerate(planes):
            frame = av.VideoFrame(width, height, pix_fmt)
            for plane, array in zip(frame.planes, arrays, strict=True):
                rows = np.zeros((array.shape[0], plane.line_size), np.uint8)
                coded = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)
                rows[:, : coded.shape[1]] = coded
                plane.update(rows.tobytes())
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
