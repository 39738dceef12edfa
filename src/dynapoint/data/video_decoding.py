"""Decoding a video: frames with the numbers of their packets, and which of them are whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from dynapoint.data.video_file import OpenVideo, open_video, packets_of
from dynapoint.data.video_timeline import NO_STAMP, PacketList

# A packet of these always gives a picture, so that one without has been lost.
_ALWAYS_A_PICTURE = frozenset({"hevc", "libdav1d", "av1"})


class _Number:
    """What a packet is marked with, and the frame that comes of it."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass(kw_only=True)
class Decoding:
    """One way through a video; iterating gives (number of the packet, decoded frame).

    A frame whose packet is not known has the number -1. `errors` are the numbers of packets that
    the decoder refused, or of some a little behind them where it works in threads. Packets that
    were not listed before can only be decoded from the first on; `packets` may stand between the
    file and the decoder.
    """

    video: OpenVideo
    listed: PacketList | None = None
    packets: Iterable[Any] | None = None
    first_packet: int = 0
    errors: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Decode from the first packet to the end."""
        import av  # noqa: PLC0415 - FFmpeg's libraries load slowly.

        numbers = self._numbers()
        number = 0
        for packet in packets_of(self.video) if self.packets is None else self.packets:
            if packet is None:
                break
            number = next(numbers) if numbers is not None else self._found(packet)
            # PyAV keeps it by its address, so that no two packets may share one.
            packet.opaque = _Number(number)
            try:
                frames = self.video.decoder.decode(packet)
            except (av.FFmpegError, OSError):
                self.errors.append(number)
                continue
            yield from self._numbered(frames)
        try:
            frames = self.video.decoder.decode(None)
        except (av.FFmpegError, OSError):
            self.errors.append(number)
            return
        yield from self._numbered(frames)

    def _numbers(self) -> Iterator[int] | None:
        """Numbers of the packets that come; None where they are looked up after a jump."""
        if self.listed is None or not self.first_packet:
            return iter(range(1 << 62))
        stamps = self.listed.shown_at
        self._by_stamp = {stamp: number for number, stamp in enumerate(stamps.tolist())}
        first = int(stamps[self.first_packet])
        decoded = int(self.listed.decoded_at[self.first_packet])
        place = first if decoded == NO_STAMP else min(first, decoded)
        self.video.container.seek(place, stream=self.video.stream)
        return None

    def _found(self, packet: Any) -> int:
        return self._by_stamp.get(packet.pts, -1)

    def _numbered(self, frames: list[Any]) -> Iterator[tuple[int, Any]]:
        for frame in frames:
            yield frame.opaque.number if isinstance(frame.opaque, _Number) else -1, frame


def decode(
    path: Path, listed: PacketList, *, first_packet: int = 0, one_thread: bool = False
) -> Decoding:
    """Begin to decode a video, at a key frame; whoever asks closes `Decoding.video`."""
    return Decoding(
        video=open_video(path, one_thread=one_thread), listed=listed, first_packet=first_packet
    )


def key_packet_before(listed: PacketList, packet: int) -> int:
    """The last key frame from which a frame and all that are shown after it can be decoded."""
    stamp = listed.shown_at[packet]
    before = listed.key & (listed.shown_at <= stamp) & (listed.shown_at != NO_STAMP)
    before[packet + 1 :] = False
    found = np.flatnonzero(before)
    return int(found[-1]) if len(found) else 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What decoding all of a video says of it.

    `good` are the packets of whole frames, in the order in which they came; `lost` counts frames
    that were to be shown and could not be decoded, or are built on one that could not, and places
    where some are missing.
    """

    good: Int64[np.ndarray, " frame"]
    lost: int


def examine(path: Path, listed: PacketList) -> Verdict:
    """Decode all of a video and say which frames are whole.

    What the demuxer doubts is decoded like all else: the decoder knows. But what comes behind it,
    up to the next key frame, may be built on what is not there.
    """
    came, broken, errors = _run(path, listed, one_thread=False)
    if errors or broken or listed.doubtful:
        # One by one, so that every error is its own packet's.
        _, again, errors = _run(path, listed, one_thread=True)
        broken = [*broken, *again]
    lost = np.zeros(listed.count, dtype=bool)
    lost[[number for number in errors if 0 <= number < listed.count]] = True
    lost[broken] = True
    if listed.codec in _ALWAYS_A_PICTURE:
        missing = listed.shown.copy()
        missing[came] = False
        lost |= missing
    bad = _with_what_is_built_on_it(listed, lost)
    good = [number for number in came if listed.shown[number] and not bad[number]]
    there = lost.copy()
    there[came] = True
    return Verdict(
        good=np.array(list(dict.fromkeys(good)), dtype=np.int64),
        lost=int((listed.shown & bad & there).sum()) + _gaps(listed),
    )


def _gaps(listed: PacketList) -> int:
    """Places that the demuxer doubts where the clock runs on and some frames' times are missing."""
    clocks = listed.clocks()
    found = 0
    for number in np.flatnonzero(listed.flagged & listed.stamped):
        later = min(int(number) + 2, listed.count - 1)
        same = listed.shown & (clocks == clocks[number])
        if clocks[later] == clocks[number] and same.sum() > 2:
            times = np.sort(listed.shown_at[same])
            near = times[np.searchsorted(times, listed.shown_at[number]) :][:8]
            found += bool(len(near) > 1 and np.diff(near).max() > 1.5 * np.median(np.diff(times)))
    return found


def _run(
    path: Path, listed: PacketList, *, one_thread: bool
) -> tuple[list[int], list[int], list[int]]:
    """Packets whose frames came, those whose frames are broken, and those that were refused."""
    found = decode(path, listed, one_thread=one_thread)
    came, broken = [], []
    try:
        for number, frame in found:
            if 0 <= number < listed.count:
                came.append(number)
                if frame.is_corrupt:
                    broken.append(number)
    finally:
        found.video.close()
    return came, broken, found.errors


def _with_what_is_built_on_it(listed: PacketList, lost: np.ndarray) -> np.ndarray:
    """Which frames are lost or may be built on one that is."""
    bad = lost.copy()
    whole, key_stamp = True, NO_STAMP
    for number in range(listed.count):
        stamp = int(listed.shown_at[number])
        whole &= not listed.gap[number]
        if listed.key[number]:
            # What is shown before it may still be built on what was lost.
            key_stamp = NO_STAMP if whole else stamp
            whole = True
        elif not whole or (key_stamp != NO_STAMP and NO_STAMP < stamp < key_stamp):
            bad[number] = True
        # Where joined recordings meet, the demuxer doubts the end of the one; nothing is missing.
        joined = listed.key[number + 1 : number + 3].any()
        gap = listed.flagged[number] and not joined
        if gap or (lost[number] and not listed.disposable[number]):
            whole = False
    return bad
