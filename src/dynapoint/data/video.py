"""Reading evenly spaced frames of a video, once through, holding only the frames wanted."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dynapoint.data.selection import evenly_spaced
from dynapoint.errors import InputError

# FFmpeg opens text as a terminal session and single pictures as one-frame videos; text is no video.
_NOT_VIDEO_FORMATS = frozenset({"tty", "srt", "webvtt", "ass"})


@dataclass(frozen=True, kw_only=True)
class VideoFrames:
    """Chosen frames of a video.

    `source_frame_index` counts the decoded frames from 0; `timestamps_s` are seconds since the
    first of them; `readable_count` is how many frames could be read; `damage` is one line if the
    video breaks off or holds frames that could not be decoded, else None.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"]
    timestamps_s: Float64[np.ndarray, " frame"]
    source_frame_index: Int64[np.ndarray, " frame"]
    readable_count: int
    damage: str | None


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """What the container says before anything is decoded."""

    packets: int
    declared_frames: int
    declared_duration_s: float
    frame_duration_s: float
    damaged: bool


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What one decoding pass found: pictures of the wanted frames, times of all good frames."""

    images: dict[int, np.ndarray]
    times_s: dict[int, float | None]
    damaged_frames: int


def read_video(path: Path, *, max_frames: int) -> VideoFrames:
    """Decode a video and keep at most `max_frames` evenly spaced frames, upright, in eight-bit RGB.

    Packets are counted first, without decoding, so that one decoding pass suffices and only the
    frames wanted are held. Only a video that turns out damaged is decoded a second time.

    Raises:
        InputError: The file is no video, or not one of its frames can be decoded.
    """
    survey = _survey(path)
    wanted = evenly_spaced(survey.packets, max_frames).tolist()
    found = _decode(path, wanted)
    good = sorted(found.times_s)
    if not good:
        raise InputError(
            f"video {path} was opened but not one of its frames could be decoded; "
            "give an undamaged video file"
        )
    if len(good) != survey.packets or set(found.images) != set(wanted):
        wanted = [good[index] for index in evenly_spaced(len(good), max_frames)]
        if not set(wanted) <= set(found.images):
            found = _decode(path, wanted)
    wanted = [index for index in wanted if index in found.images]
    times_s = _times_s(found.times_s, survey.frame_duration_s)
    images = [found.images[index] for index in wanted]
    return VideoFrames(
        images=np.stack(images),
        timestamps_s=np.array([times_s[index] for index in wanted], dtype=np.float64),
        source_frame_index=np.array(wanted, dtype=np.int64),
        readable_count=len(good),
        damage=_damage_note(path, survey, found, last_time_s=max(times_s.values())),
    )


def _open(path: Path) -> tuple[Any, Any]:
    """Open the container and its first video stream."""
    import av  # noqa: PLC0415 - FFmpeg's libraries load slowly and only videos need them.

    av.logging.set_level(None)
    if path.stat().st_size == 0:
        raise InputError(f"video {path} is empty (0 bytes); give a video file with content")
    advice = "give a video (e.g. MP4, MOV, MKV, WebM, AVI), an image or a folder of images"
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"file {path} cannot be opened as a video ({reason}); {advice}") from error
    if not container.streams.video or container.format.name in _NOT_VIDEO_FORMATS:
        container.close()
        raise InputError(f"file {path} holds no video stream; {advice}")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of a stream as far as it can be read; the last one is None if it breaks off."""
    import av  # noqa: PLC0415

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            yield None
            return
        yield packet


def _survey(path: Path) -> _Survey:
    """Count packets without decoding and note what the header promises."""
    container, stream = _open(path)
    with container:
        rate = stream.average_rate or stream.guessed_rate
        packets, damaged = 0, False
        for packet in _packets(container, stream):
            if packet is None or packet.is_corrupt:
                damaged = True
            elif packet.size and not packet.is_discard:
                packets += 1
        return _Survey(
            packets=packets,
            declared_frames=stream.frames,
            declared_duration_s=_declared_duration_s(container, stream),
            frame_duration_s=float(1 / rate) if rate else 1 / 30,
            damaged=damaged,
        )


def _declared_duration_s(container: Any, stream: Any) -> float:
    """Seconds of video that the header promises; 0 where it does not say."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Matroska says it in a tag for each stream, as hours:minutes:seconds.
    for name, text in stream.metadata.items():
        if name.upper() == "DURATION" and text.count(":") == 2:
            try:
                hours, minutes, seconds = (float(part) for part in text.split(":"))
            except ValueError:
                continue
            return 3600 * hours + 60 * minutes + seconds
    # The file's own duration may be that of the sound.
    alone = len(container.streams) == 1
    return container.duration / 1_000_000 if alone and container.duration else 0.0


def _decode(path: Path, wanted: Collection[int]) -> _Pass:
    """Decode in presentation order and keep the wanted frames' pictures, stepping over damage."""
    import av  # noqa: PLC0415

    container, stream = _open(path)
    images: dict[int, np.ndarray] = {}
    times_s: dict[int, float | None] = {}
    wanted = set(wanted)
    damaged = emitted = 0
    size: tuple[int, int] | None = None
    with container:
        for packet in _packets(container, stream):
            if packet is not None and packet.is_corrupt:
                damaged += 1
                continue
            try:
                frames = stream.codec_context.decode(packet)
            except (av.FFmpegError, OSError):
                damaged += 1
                continue
            for frame in frames:
                index, emitted = emitted, emitted + 1
                if frame.is_corrupt:
                    damaged += 1
                    continue
                times_s[index] = frame.time
                if index in wanted:
                    size = size or (frame.width, frame.height)
                    images[index] = _upright_rgb(frame, size)
    return _Pass(images=images, times_s=times_s, damaged_frames=damaged)


def _upright_rgb(frame: Any, size: tuple[int, int]) -> UInt8[np.ndarray, "height width rgb=3"]:
    """Picture of a frame, scaled to the first one's (width, height) and turned as the file says."""
    picture = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        picture = _displayed(picture, np.frombuffer(bytes(matrix), np.int32).tolist())
    return np.ascontiguousarray(picture)


def _displayed(
    picture: UInt8[np.ndarray, "height width rgb=3"], matrix: list[int]
) -> UInt8[np.ndarray, "shown_height shown_width rgb=3"]:
    """Turn and mirror a stored picture as a display matrix (a b u / c d v / x y w) says.

    Stored (x, y) is shown at (a x + c y, b x + d y) up to a shift; only quarter turns are meant.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, across, down = picture.transpose(1, 0, 2), c, b
    if across < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if down < 0 else picture


def _times_s(times_s: dict[int, float | None], frame_duration_s: float) -> dict[int, float]:
    """Seconds since the first frame, by the frame rate if the file's times do not increase."""
    known = [time for time in times_s.values() if time is not None]
    if len(known) == len(times_s) and all(np.diff(known) > 0):
        return {index: time - known[0] for index, time in times_s.items() if time is not None}
    return {index: index * frame_duration_s for index in times_s}


def _damage_note(path: Path, survey: _Survey, found: _Pass, *, last_time_s: float) -> str | None:
    """One line saying how many frames could be read and up to where, or None if all is well."""
    readable = len(found.times_s)
    end_s = last_time_s + survey.frame_duration_s
    missing_s = survey.declared_duration_s - end_s
    # Headers round durations and sound may outlast the picture, so a second of slack is given.
    short = missing_s > max(1.0, 0.1 * survey.declared_duration_s)
    declared = survey.declared_frames
    if survey.packets < declared or short or survey.damaged:
        of_all = f" of {declared}" if declared > readable else ""
        return (
            f"{path.name} breaks off: {readable}{of_all} frames could be read, up to {end_s:.2f} s"
        )
    if found.damaged_frames:
        return (
            f"{path.name} is damaged: {readable} frames could be read, "
            f"{found.damaged_frames} could not"
        )
    return None
