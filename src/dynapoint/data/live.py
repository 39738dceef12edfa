"""Videos that are read from the front to the back as they come: pipes and cameras."""

import os
import re
import stat
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dynapoint.data.arriving import Arrived, ArrivingStream, check_arriving
from dynapoint.data.streamed import StreamRequest
from dynapoint.data.video import damage_lines
from dynapoint.data.video_decoding import Decoding
from dynapoint.data.video_fields import WithoutCombs
from dynapoint.data.video_file import OpenVideo, open_arriving, packets_of
from dynapoint.data.video_pass import INTERLACED, Showing
from dynapoint.data.video_timeline import (
    LONGEST_STAY_S,
    duration_by_rate_s,
    may_jump,
    stamps_are_guessed,
    watch_of,
)

_CAMERA = re.compile(r"camera:(\d+)")
_OF_CAMERAS = "v4l2"
_ADVICE_ON_PIPES = (
    "give a video that can be read from the front to the back, such as Matroska, MPEG-TS or "
    "fragmented MP4: ffmpeg -i VIDEO -f matroska - | dynapoint ..."
)
_ADVICE_ON_CAMERAS = "check that it is there, that no other program uses it, and its permissions"
# Where none of so many packets is a key frame, the file does not say which are.
_LONGEST_WAIT = 250
_END: Any = object()
# So many steps of the clock tell how long a frame is shown.
_STEPS = 250


class LiveVideo(ArrivingStream):
    """The frames of an open video that come one after another, decoded in one thread.

    Frames are whole: those of which a packet was refused or is missing, and those that may be built
    on such, are left out up to the next key frame.

    Memory: a few decoded frames.

    Args:
        video: The open video; it is closed with the stream.
        request: What is asked of it.
        name: Of the source.
        advice: What to do where no frame comes.
        file: What is closed with it, if something is.
    """

    def __init__(
        self,
        video: OpenVideo,
        request: StreamRequest,
        *,
        name: str,
        advice: str,
        file: Any = None,
    ) -> None:
        super().__init__(request, name=name, from_video=True)
        self._video = video
        self._advice = advice
        self._file = file
        self._showing = Showing(video)
        self._losses = _Losses(video)
        self._clock = _Clock(video)
        self._combed = 0

    def close(self) -> None:
        """Close the source."""
        super().close()
        self._video.close()
        if self._file is not None:
            self._file.close()

    def _said(self) -> Sequence[str]:
        """Damage, then what was done to the pictures."""
        losses = self._losses
        damage = damage_lines(
            self.name,
            readable=self._arrived,
            breaks_off_s=self._clock.end_s if losses.breaks_off else None,
            lost=losses.lost,
            before_key=losses.before_key,
        )
        return (*damage, *self._showing.remarks, *([INTERLACED] if self._combed else []))

    def _arriving(self) -> Iterator[Arrived]:
        """All whole frames of the video."""
        clock = self._clock
        # Of a frame that was deinterlaced the filter's stamp is another.
        timed = ((clock.next_s(frame), frame) for frame in self._losses.whole())
        frames = WithoutCombs(timed, self._video.stream.time_base)
        for number, (time_s, frame) in enumerate(frames):
            self._combed = frames.combed
            yield Arrived(
                number=number,
                time_s=time_s,
                image=partial(self._showing.picture, frame),
                small=partial(self._shrunk, frame),
                count=partial(self._showing.count, frame),
            )

    def _shrunk(self, frame: Any, _: Any) -> np.ndarray:
        """The small picture of a frame."""
        return self._small.shrunk_frame(frame, self._showing.style_of(frame))


class _Clock:
    """One timeline of frames as they come, whose clock may start again or be missing."""

    def __init__(self, video: OpenVideo) -> None:
        self._tick_s = float(video.stream.time_base)
        self._jumps = may_jump(video)
        self._guessed = stamps_are_guessed(video)
        self._rate_s = duration_by_rate_s(video)
        self._steps_s: deque[float] = deque(maxlen=_STEPS)
        self._latest: int | None = None
        self._time_s = -1.0

    @property
    def usual_s(self) -> float:
        """How long a frame is shown, typically."""
        return float(np.median(self._steps_s)) if self._steps_s else self._rate_s

    @property
    def end_s(self) -> float:
        """When the last frame that came has been shown."""
        return max(self._time_s, 0.0) + self.usual_s

    def next_s(self, frame: Any) -> float:
        """When the next frame is shown, in seconds since the first."""
        stamp, latest = frame.dts if self._guessed else frame.pts, self._latest
        if self._time_s < 0:
            self._time_s = 0.0
        elif stamp is None or latest is None or self._starts_again(stamp - latest):
            # The frame before stays as long as others do.
            self._time_s += self.usual_s
        else:
            step_s = (stamp - latest) * self._tick_s
            self._steps_s.append(step_s)
            self._time_s += step_s
        self._latest = stamp
        return self._time_s

    def _starts_again(self, ticks: int) -> bool:
        return ticks <= 0 or (self._jumps and ticks * self._tick_s > LONGEST_STAY_S)


@dataclass(frozen=True, kw_only=True)
class _Packet:
    """What is known of a packet when its frame comes.

    Attributes:
        key: Whether decoding can begin there.
        leading: Whether it is shown before the first key frame, and built on what came before that.
        disposable: Whether no other frame is built on it.
    """

    key: bool
    leading: bool
    disposable: bool


class _Losses:
    """The frames of an open video that are whole, judged as they come.

    Attributes:
        lost: Frames that were left out, and places where some are missing.
        before_key: Frames before the first key frame.
        breaks_off: Whether reading failed.
    """

    def __init__(self, video: OpenVideo) -> None:
        self.lost = 0
        self.before_key = 0
        self.breaks_off = False
        self._video = video
        self._watch = watch_of(video)
        self._decoding = Decoding(video=video, packets=self._packets())
        self._packets_by_number: dict[int, _Packet] = {}
        self._errors = 0
        self._last_key = 0
        # From which packets on frames may be built on what is not there, up to the next key frame.
        self._lost_at: list[int] = []

    def whole(self) -> Iterator[Any]:
        """Frames that are whole and to be shown."""
        for number, frame in self._decoding:
            packet = self._packets_by_number.pop(number, None)
            self._heed_errors()
            if packet is None or packet.leading:
                continue
            if frame.is_corrupt:
                self._lose(number)
            elif packet.key:
                # All that is built on what was lost before it, and shown before it, has come.
                self._lost_at = [each for each in self._lost_at if each > number]
            if any(each <= number for each in self._lost_at):
                self.lost += 1
                continue
            yield frame
        self._heed_errors()

    def _packets(self) -> Iterator[Any]:
        """Packets from the first key frame on, as they come."""
        number, leads = 0, False
        first_stamp: int | None = None
        source, ahead = packets_of(self._video), deque[Any]()
        while (packet := ahead.popleft() if ahead else next(source, _END)) is not _END:
            if packet is None:
                self.breaks_off = True
                return
            key = packet.is_keyframe or self._video.all_key_frames
            if not number:
                if not key and self.before_key < _LONGEST_WAIT:
                    self.before_key += 1
                    continue
                first_stamp, leads = packet.pts, not self._video.all_key_frames
            elif key:
                leads = False
            early = None not in (packet.pts, first_stamp) and packet.pts < first_stamp
            self.before_key += leads and early
            self._last_key = number if key else self._last_key
            if self._watch is not None and self._watch.misses_a_reference(
                bytes(packet), key=packet.is_keyframe
            ):
                self._lose(number)
            elif packet.is_corrupt and not self._joined(source, ahead):
                # The decoder sees what is wrong with it, but not that something behind it is gone.
                self._lose(number + 1)
            self._packets_by_number[number] = _Packet(
                key=key, leading=leads and early, disposable=packet.is_disposable
            )
            # Of packets that gave no frame none is kept for long.
            self._packets_by_number.pop(number - _LONGEST_WAIT, None)
            number += 1
            yield packet

    @staticmethod
    def _joined(source: Iterator[Any], ahead: deque[Any]) -> bool:
        """Whether a key frame comes next or after that, as where joined recordings meet."""
        while len(ahead) < 2 and (packet := next(source, _END)) is not _END:
            ahead.append(packet)
        return any(packet is not None and packet.is_keyframe for packet in list(ahead)[:2])

    def _heed_errors(self) -> None:
        """Lose what was refused since, and what may be built on it."""
        for number in self._decoding.errors[self._errors :]:
            packet = self._packets_by_number.pop(number, None)
            self.lost += 1
            if packet is None or not packet.disposable:
                self._lose(number)
        self._errors = len(self._decoding.errors)

    def _lose(self, number: int) -> None:
        """Leave out frames from a packet on, up to the next key frame."""
        if not any(self._last_key <= each <= number for each in self._lost_at):
            self._lost_at.append(number)


def open_live(source: Any, request: StreamRequest) -> LiveVideo | None:
    """A source that is a pipe or a camera; None for others.

    Raises:
        ConfigError: Something was asked of it that needs a source whose frames are known before.
        InputError: It cannot be opened, or gives no video.
    """
    if isinstance(source, str | os.PathLike):
        return _of_path(os.fspath(source), request)
    if hasattr(source, "read") and not hasattr(source, "__array__"):
        name = getattr(source, "name", None)
        return _of_pipe(source, request, name=Path(name).stem if isinstance(name, str) else "pipe")
    return None


def _of_path(path: str, request: StreamRequest) -> LiveVideo | None:
    """Standard input, a named pipe or a camera by its name or device."""
    if path == "-":
        return _of_pipe(sys.stdin, request, name="pipe")
    camera = _CAMERA.fullmatch(path)
    if camera:
        return open_camera(f"/dev/video{camera[1]}", request, name=f"camera{camera[1]}")
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISCHR(mode):
        return open_camera(path, request, name=Path(path).name)
    if stat.S_ISFIFO(mode):
        file = open(path, "rb")
        return _of_pipe(file, request, name=Path(path).stem, owned=file)
    return None


def open_camera(
    device: str, request: StreamRequest, *, name: str, format: str = _OF_CAMERAS
) -> LiveVideo:
    """A camera, or another device that FFmpeg's `format` reads.

    Raises:
        InputError: It cannot be opened.
    """
    check_arriving(request, name)
    what = f"camera {device}"
    video = open_arriving(device, what=what, advice=_ADVICE_ON_CAMERAS, format=format)
    return LiveVideo(video, request, name=name, advice=_ADVICE_ON_CAMERAS)


def _of_pipe(file: Any, request: StreamRequest, *, name: str, owned: Any = None) -> LiveVideo:
    """What can be read from, and be it in text mode."""
    check_arriving(request, name)
    reader = _Reader(getattr(file, "buffer", file))
    video = open_arriving(reader, what=f"the input {name}", advice=_ADVICE_ON_PIPES)
    return LiveVideo(video, request, name=name, advice=_ADVICE_ON_PIPES, file=owned)


class _Reader:
    """Gives FFmpeg bytes as soon as there are some, and nothing that it could jump by."""

    def __init__(self, file: Any) -> None:
        self._read = getattr(file, "read1", None) or file.read

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        content: bytes = self._read(size)
        return content
