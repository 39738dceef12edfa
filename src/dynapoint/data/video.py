"""Reading chosen frames of a video, once through, holding only the frames wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dynapoint.data.memory import require_room
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.data.video_picture import PictureStyle
from dynapoint.errors import InputError

# FFmpeg opens text as a terminal session and single pictures as one-frame videos; text is no video.
_NOT_VIDEO_FORMATS = frozenset({"tty", "srt", "webvtt", "ass"})


@dataclass(frozen=True, kw_only=True)
class VideoFrames:
    """Chosen frames of a video.

    `source_frame_index` counts the decoded frames from 0; `timestamps_s` are the times at which
    they are shown, in seconds since the first frame of the video; `readable_count` is how many
    frames could be read; `damage` is one line if the video breaks off or holds frames that could
    not be decoded, else None; `hdr` is PQ or HLG where that was brought to sRGB, else None.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"]
    timestamps_s: Float64[np.ndarray, " frame"]
    source_frame_index: Int64[np.ndarray, " frame"]
    readable_count: int
    damage: str | None
    hdr: str | None


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """What the container says before anything is decoded.

    `ticks` are the presentation times of all packets in order, in units of the stream, or None
    where the file lacks some or gives one twice; `breaks_off` says that it promises more.
    """

    ticks: list[int] | None
    times_s: Float64[np.ndarray, " packet"]
    declared_frames: int
    frame_duration_s: float
    breaks_off: bool

    @property
    def packets(self) -> int:
        """How many frames there should be."""
        return len(self.times_s)


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What one decoding pass found: pictures of the wanted frames, times of all good frames.

    `kept` are the indices of the frames in `images`.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"]
    kept: list[int]
    times_s: dict[int, float | None]
    damaged_frames: int
    hdr: str | None


def read_video(
    path: Path, selection: FrameSelection, small: SmallPictures | None = None
) -> VideoFrames:
    """Decode a video and keep the frames selected, upright, in eight-bit sRGB.

    Packets are listed first, without decoding, so that one decoding pass, from the key frame before
    the first frame wanted to the last one wanted, suffices and only those are held. Only a video
    that turns out damaged is decoded a second time. `small` keeps small pictures of what lies
    between the frames wanted, which is decoded anyway.

    Raises:
        InputError: The file is no video, not one of its frames can be decoded, none lies in the
            span selected, or they do not fit into memory.
    """
    survey = _survey(path)
    wanted = selection.choose(survey.times_s).tolist()
    if wanted and not survey.breaks_off:
        found = _decode(path, wanted, survey, small=small)
        if found.kept == wanted and not found.damaged_frames:
            return _chosen(found, dict(enumerate(survey.times_s.tolist())), survey.packets, None)
        del found
    found = _decode(path, wanted, small=small)
    if not found.times_s:
        raise InputError(
            f"video {path} was opened but not one of its frames could be decoded; "
            "give an undamaged video file"
        )
    times_s = _times_s(found.times_s, survey.frame_duration_s)
    damage = _damage_note(path, survey, found, last_time_s=max(times_s.values()))
    if len(times_s) != survey.packets or found.kept != wanted:
        good = sorted(times_s)
        shown = np.array([times_s[index] for index in good])
        wanted = [good[index] for index in selection.choose(shown)]
        found = _decode(path, wanted, small=small)
    return _chosen(found, times_s, len(times_s), damage)


def look_again(path: Path, wanted: Sequence[int], small: SmallPictures) -> None:
    """Decode a video once more for the small pictures alone; frames are counted by `read_video`.

    Args:
        path: The video.
        wanted: Indices of the frames that `read_video` gave.
        small: Keeps what lies between them.

    Raises:
        InputError: The file is no video any more.
    """
    survey = _survey(path)
    if not survey.breaks_off:
        found = _decode(path, wanted, survey, small=small, whole=False)
        if found.kept == list(wanted) and not found.damaged_frames:
            return
    _decode(path, wanted, small=small, whole=False)


def _chosen(
    found: _Pass, times_s: dict[int, float], readable_count: int, damage: str | None
) -> VideoFrames:
    """The frames of a pass with their times."""
    return VideoFrames(
        images=found.images,
        timestamps_s=np.array([times_s[index] for index in found.kept], dtype=np.float64),
        source_frame_index=np.array(found.kept, dtype=np.int64),
        readable_count=readable_count,
        damage=damage,
        hdr=found.hdr,
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
    """List packets without decoding and note what the header promises."""
    container, stream = _open(path)
    with container:
        rate = stream.average_rate or stream.guessed_rate
        frame_duration_s = float(1 / rate) if rate else 1 / 30
        stamps: list[int | None] = []
        damaged = False
        for packet in _packets(container, stream):
            if packet is None or packet.is_corrupt:
                damaged = True
            elif packet.size and not packet.is_discard:
                stamps.append(packet.pts)
        ticks = sorted(stamp for stamp in stamps if stamp is not None)
        sound = len(set(ticks)) == len(stamps)
        times_s = np.arange(len(stamps)) * frame_duration_s
        if sound and stamps:
            times_s = (np.array(ticks) - ticks[0]) * float(stream.time_base)
        declared_s = _declared_duration_s(container, stream)
        end_s = float(times_s[-1]) + frame_duration_s if stamps else 0.0
        # Headers round durations and sound may outlast the picture, so a second of slack is given.
        short = declared_s - end_s > max(1.0, 0.1 * declared_s)
        return _Survey(
            ticks=ticks if sound else None,
            times_s=times_s,
            declared_frames=stream.frames,
            frame_duration_s=frame_duration_s,
            breaks_off=damaged or short or len(stamps) < stream.frames,
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


def _decode(
    path: Path,
    wanted: Sequence[int],
    survey: _Survey | None = None,
    *,
    small: SmallPictures | None = None,
    whole: bool = True,
) -> _Pass:
    """Decode in presentation order and keep the wanted frames' pictures, stepping over damage.

    With a survey only what is needed is decoded: from the key frame before the first frame wanted
    to the last one; frames are then known by their times. Without, they are counted from the start.
    `small` is shown what is decoded; `whole` False keeps no other pictures.
    """
    ticks = survey.ticks if survey is not None else None
    index_of = None if ticks is None else {tick: index for index, tick in enumerate(ticks)}
    container, stream = _open(path)
    keeper = _Keeper(wanted, stream, whole=whole)
    if small is not None:
        small.begin(wanted)
    times_s: dict[int, float | None] = {}
    damaged = emitted = 0
    with container:
        if ticks is not None and wanted[0] > 0:
            container.seek(ticks[wanted[0]], stream=stream)
        for frame in _decoded(container, stream):
            if frame is None:
                damaged += 1
                continue
            index = emitted if index_of is None else index_of.get(frame.pts, -1)
            emitted += 1
            if frame.is_corrupt or index < 0:
                # What leads up to the first frame wanted, behind a jump, may well be incomplete.
                damaged += not (survey is not None and 0 <= index < wanted[0])
            else:
                times_s[index] = frame.time
                keeper.offer(index, frame)
                if small is not None:
                    small.look(index, frame, stream)
            if survey is not None and len(keeper.kept) == len(wanted):
                break
    return _Pass(
        images=keeper.images[: len(keeper.kept)],
        kept=keeper.kept,
        times_s=times_s,
        damaged_frames=damaged,
        hdr=keeper.style.hdr if keeper.style else None,
    )


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames of a stream in presentation order; None for every packet that cannot be decoded."""
    import av  # noqa: PLC0415

    for packet in _packets(container, stream):
        if packet is not None and packet.is_corrupt:
            yield None
            continue
        try:
            frames = stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError):
            yield None
            continue
        yield from frames


class _Keeper:
    """Keeps the pictures of the wanted frames in one array, made when the first one comes."""

    def __init__(self, wanted: Sequence[int], stream: Any, *, whole: bool) -> None:
        self.images = np.zeros((0, 1, 1, 3), dtype=np.uint8)
        self.kept: list[int] = []
        self.style: PictureStyle | None = None
        self._wanted = set(wanted)
        self._stream = stream
        self._whole = whole

    def offer(self, index: int, frame: Any) -> None:
        """Keep the picture of a frame if it is wanted."""
        if index not in self._wanted:
            return
        if not self._whole:
            self.kept.append(index)
            return
        if self.style is None:
            self.style = PictureStyle.of(frame, self._stream)
        picture = self.style.picture(frame)
        if not self.kept:
            require_room(len(self._wanted), (picture.shape[0], picture.shape[1]))
            self.images = np.empty((len(self._wanted), *picture.shape), dtype=np.uint8)
        self.images[len(self.kept)] = picture
        self.kept.append(index)


def _times_s(times_s: dict[int, float | None], frame_duration_s: float) -> dict[int, float]:
    """Seconds since the first frame, by the frame rate if the file's times do not increase."""
    known = [time for time in times_s.values() if time is not None]
    if len(known) == len(times_s) and all(np.diff(known) > 0):
        return {index: time - known[0] for index, time in times_s.items() if time is not None}
    return {index: index * frame_duration_s for index in times_s}


def _damage_note(path: Path, survey: _Survey, found: _Pass, *, last_time_s: float) -> str | None:
    """One line saying how many frames could be read and up to where, or None if all is well."""
    readable = len(found.times_s)
    if survey.breaks_off:
        declared = survey.declared_frames
        of_all = f" of {declared}" if declared > readable else ""
        end_s = last_time_s + survey.frame_duration_s
        return (
            f"{path.name} breaks off: {readable}{of_all} frames could be read, up to {end_s:.2f} s"
        )
    if found.damaged_frames:
        return (
            f"{path.name} is damaged: {readable} frames could be read, "
            f"{found.damaged_frames} could not"
        )
    return None
