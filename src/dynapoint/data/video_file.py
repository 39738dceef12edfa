"""Opening a video: which of its streams is read, and what its container says of the picture."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dynapoint.data.video_boxes import Crop, clean_aperture
from dynapoint.errors import InputError

# FFmpeg opens text as a terminal session and single pictures as one-frame videos; text is no video.
_NOT_VIDEO_FORMATS = frozenset({"tty", "srt", "webvtt", "ass"})
# FFmpeg's own decoders of these show the colours that transparency hides; the libraries' do not.
_DECODERS_OF_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

# What devices give that are FFmpeg's own; it does not say that each picture stands for itself.
_WHOLE_PICTURES = frozenset({"wrapped_avframe"})
_ADVICE = "give a video (e.g. MP4, MOV, MKV, WebM, AVI), an image or a folder of images"


@dataclass(frozen=True, kw_only=True)
class OpenVideo:
    """An open container, the stream that is read, and its decoder.

    `remark` is one line if the file holds several video streams, else None; `crop` is the part of
    the coded picture that is shown, where the container says so.
    """

    container: Any
    stream: Any
    decoder: Any
    remark: str | None
    crop: Crop | None

    @property
    def pixel_aspect(self) -> Fraction | None:
        """How many times wider than high a pixel is, where the file says so."""
        aspect: Fraction | None = self.stream.sample_aspect_ratio
        return aspect

    @property
    def all_key_frames(self) -> bool:
        """Whether every frame of the codec stands for itself."""
        codec = self.stream.codec_context.codec
        return bool(codec.intra_only) or codec.name in _WHOLE_PICTURES

    def close(self) -> None:
        """Close the file."""
        self.container.close()


def open_video(path: Path, *, one_thread: bool = False) -> OpenVideo:
    """Open a video file; names are never taken for addresses, patterns or protocols.

    Args:
        path: The file.
        one_thread: Decode one packet after another: then errors come with the packet that has them,
            and none is passed over (decoders of H.264 look for fewer where they share a picture).

    Raises:
        InputError: It is empty, cannot be opened, or holds no video.
    """
    if path.stat().st_size == 0:
        raise InputError(f"video {path} is empty (0 bytes); give a video file with content")
    # Without the word in front, FFmpeg takes what stands before a colon for a protocol.
    container = _container("file:" + os.fspath(path), f"file {path}", advice=_ADVICE)
    stream, remark = _film(container, f"file {path}", advice=_ADVICE)
    crop = clean_aperture(
        path, container.format.name, stream_id=stream.id, stream_index=stream.index
    )
    decoder = _decoder(stream, one_thread=one_thread)
    return OpenVideo(container=container, stream=stream, decoder=decoder, remark=remark, crop=crop)


def open_arriving(source: Any, *, what: str, advice: str, format: str | None = None) -> OpenVideo:
    """Open a video that is read from the front to the back as it comes.

    It is decoded one packet after another, so that no frame is held back. What a container says of
    the part that is shown (a clean aperture) is not looked for.

    Args:
        source: An object that reads bytes, or what FFmpeg calls an input of some `format`.
        what: Words for it, to begin a sentence with.
        advice: What to do where it cannot be used.
        format: FFmpeg's name of a kind of device; None where the bytes tell.

    Raises:
        InputError: It cannot be opened, or holds no video.
    """
    container = _container(source, what, advice=advice, format=format)
    stream, remark = _film(container, what, advice=advice)
    decoder = _decoder(stream, one_thread=True)
    return OpenVideo(container=container, stream=stream, decoder=decoder, remark=remark, crop=None)


def _container(source: Any, what: str, *, advice: str, format: str | None = None) -> Any:
    """An open container; raises InputError where it is none."""
    import av  # noqa: PLC0415 - FFmpeg's libraries load slowly and only videos need them.

    av.logging.set_level(None)
    try:
        return av.open(source, format=format, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{what} cannot be opened as a video ({reason}); {advice}") from error


def _film(container: Any, what: str, *, advice: str) -> tuple[Any, str | None]:
    """The stream that is read, and a line about others; raises InputError where there is none."""
    stream, remark = (None, None)
    if container.format.name not in _NOT_VIDEO_FORMATS:
        stream, remark = _chosen_stream(container)
    if stream is None:
        pictures = len(container.streams.video)
        container.close()
        beside = " but pictures attached to it" if pictures else ""
        raise InputError(f"{what} holds no video stream{beside}; {advice}")
    return stream, remark


def _decoder(stream: Any, *, one_thread: bool) -> Any:
    """What decodes a stream, and keeps the numbers of packets."""
    import av  # noqa: PLC0415 - FFmpeg's libraries load slowly.

    decoder = stream.codec_context
    name = _DECODERS_OF_ALPHA.get(decoder.name)
    if name is not None and stream.metadata.get("alpha_mode") == "1":
        decoder = av.CodecContext.create(name, "r")
    decoder.thread_type = "AUTO"
    if one_thread:
        decoder.thread_count = 1
    decoder.copy_opaque = True
    return decoder


def packets_of(video: OpenVideo) -> Iterator[Any]:
    """Packets with content, as far as they can be read; the last one is None if they break off."""
    import av  # noqa: PLC0415 - FFmpeg's libraries load slowly.

    packets = video.container.demux(video.stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            yield None
            return
        # Empty ones stand for a picture that stays (AVI); to a decoder they would mean the end.
        if packet.size:
            yield packet


def _chosen_stream(container: Any) -> tuple[Any | None, str | None]:
    """The film among the video streams, and a line about the others if there are any.

    No picture that is attached (covers, thumbnails), no part of another stream; of the others one
    that moves, then one marked as the default, then the largest, then the first.
    """
    from av.stream import Disposition  # noqa: PLC0415 - FFmpeg's libraries load slowly.

    no_film = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.dependent
    found = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & no_film
    ]
    if not found:
        return None, None

    def rank(stream: Any) -> tuple[bool, bool, int]:
        default = bool(stream.disposition & Disposition.default)
        return stream.frames != 1, default, stream.width * stream.height

    # `max` keeps the first of equals.
    best = max(found, key=rank)
    if len(found) == 1:
        return best, None
    others = ", ".join(f"{each.width}x{each.height}" for each in found if each is not best)
    marked = ", the one marked as default" if _alone_default(best, found) else ""
    return best, (f"video stream of {best.width}x{best.height} used{marked}; left out: {others}")


def _alone_default(best: Any, found: list[Any]) -> bool:
    """Whether a stream is the only one marked as the default."""
    from av.stream import Disposition  # noqa: PLC0415 - FFmpeg's libraries load slowly.

    return [each for each in found if each.disposition & Disposition.default] == [best]
