"""One timeline of a video, in the order in which its frames are shown.

Frames are known by the numbers of their packets in the file, from 0, without empty packets. Clocks
may start again midway (joined recordings) or be missing; what is made of them here, once, serves
both to choose frames and to say when they are shown.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from dynapoint.data.h264_references import ReferenceWatch
from dynapoint.data.video_boxes import breaks_off, tears
from dynapoint.data.video_file import OpenVideo, open_video, packets_of

NO_STAMP = -(1 << 63)
# FFmpeg's mark of formats whose clocks may jump (AVFMT_TS_DISCONT).
_CLOCK_MAY_JUMP = 0x0200
# A jump of a clock longer than this is no picture that stays, in such formats.
LONGEST_STAY_S = 10.0


@dataclass(frozen=True, kw_only=True)
class PacketList:
    """All packets with content of a video, in the order of the file, without any being decoded.

    Attributes:
        shown_at: Presentation times in ticks, `NO_STAMP` where the file gives none.
        decoded_at: Decoding times likewise.
        key: Whether decoding can begin there.
        shown: Whether its frame is to be shown: neither cut off by the file's own edit list, nor
            before the first key frame.
        flagged: Whether the demuxer doubts it.
        gap: Whether something that it may be built on is missing before it.
        disposable: Whether no other frame is built on it.
        tick_s: Seconds of a tick.
        rate_duration_s: How long a frame is shown by the file's frame rate.
        jumps: Whether the format's clock may jump.
        before_key: How many frames stand before the first key frame.
        breaks_off: Whether the file ends before what it announces.
        torn: Whether something is missing midway.
        declared_frames: How many frames the header counts; 0 where it does not.
        codec: FFmpeg's name of the decoder.
    """

    shown_at: Int64[np.ndarray, " packet"]
    decoded_at: Int64[np.ndarray, " packet"]
    key: Bool[np.ndarray, " packet"]
    shown: Bool[np.ndarray, " packet"]
    flagged: Bool[np.ndarray, " packet"]
    gap: Bool[np.ndarray, " packet"]
    disposable: Bool[np.ndarray, " packet"]
    tick_s: float
    rate_duration_s: float
    jumps: bool
    before_key: int
    breaks_off: bool
    torn: bool
    declared_frames: int
    codec: str

    @property
    def count(self) -> int:
        """How many packets there are."""
        return len(self.shown_at)

    @property
    def doubtful(self) -> bool:
        """Whether only decoding can tell which frames are whole."""
        return bool((self.flagged | self.gap).any())

    @property
    def stamped(self) -> bool:
        """Whether all frames that are shown say when."""
        return bool((self.shown_at[self.shown] != NO_STAMP).all())

    def clocks(self) -> Int64[np.ndarray, " packet"]:
        """For each packet, how many times the clock has started again before it."""
        clocks = np.zeros(self.count, dtype=np.int64)
        latest, clock = NO_STAMP, 0
        long = LONGEST_STAY_S / self.tick_s
        for packet, (stamp, key) in enumerate(
            zip(self.shown_at.tolist(), self.key.tolist(), strict=True)
        ):
            if stamp == NO_STAMP:
                clocks[packet] = clock
                continue
            if latest != NO_STAMP:
                # All that comes before a key frame in the file is shown before it.
                back = stamp <= latest if key else latest - stamp > long
                if back or (self.jumps and stamp - latest > long):
                    clock, latest = clock + 1, stamp
            latest = max(latest, stamp)
            clocks[packet] = clock
        return clocks


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The frames of a video as they are shown.

    Attributes:
        packets: The number of each frame's packet.
        times_s: When each is shown, in seconds since the first; strictly increasing.
        frame_duration_s: How long one is shown, typically.
        one_clock: Whether a frame is known by its presentation time alone.
    """

    packets: Int64[np.ndarray, " frame"]
    times_s: Float64[np.ndarray, " frame"]
    frame_duration_s: float
    one_clock: bool


_Facts = tuple[int, int, bool, bool, bool, bool, int, bool]


def list_packets(path: Path) -> PacketList:
    """List the packets of a video.

    Raises:
        InputError: The file is no video.
    """
    video = open_video(path)
    try:
        rate_duration_s = duration_by_rate_s(video)
        found, cut = [], False
        watch = watch_of(video)
        for packet in packets_of(video):
            if packet is None:
                cut = True
                break
            gap = watch is not None and watch.misses_a_reference(
                bytes(packet), key=packet.is_keyframe
            )
            found.append((*_facts(packet), gap))
        return _packet_list(path, video, found, cut=cut, rate_duration_s=rate_duration_s)
    finally:
        video.close()


def watch_of(video: OpenVideo) -> ReferenceWatch | None:
    """What sees that frames are gone that others are built on; None where nothing can."""
    codec = video.stream.codec_context
    return ReferenceWatch(codec.extradata) if codec.codec.name == "h264" else None


def duration_by_rate_s(video: OpenVideo) -> float:
    """How long a frame is shown by the file's frame rate, in seconds."""
    rate = video.stream.average_rate or video.stream.guessed_rate
    return float(1 / rate) if rate else 1 / 30


def stamps_are_guessed(video: OpenVideo) -> bool:
    """Whether FFmpeg guesses presentation times, in the order of the file: AVI has none."""
    return video.container.format.name == "avi" and not video.all_key_frames


def may_jump(video: OpenVideo) -> bool:
    """Whether the clock of a container's format may jump."""
    return bool(int(video.container.format.flags) & _CLOCK_MAY_JUMP)


def _facts(packet: Any) -> tuple[int, int, bool, bool, bool, bool, int]:
    return (
        NO_STAMP if packet.pts is None else packet.pts,
        NO_STAMP if packet.dts is None else packet.dts,
        packet.is_keyframe,
        packet.is_discard,
        packet.is_corrupt,
        packet.is_disposable,
        NO_STAMP if packet.pos is None else packet.pos,
    )


def _packet_list(
    path: Path,
    video: OpenVideo,
    found: list[_Facts],
    *,
    cut: bool,
    rate_duration_s: float,
) -> PacketList:
    table = np.array(found, dtype=np.int64).reshape(-1, 8)
    shown_at, decoded_at = table[:, 0], table[:, 1]
    if stamps_are_guessed(video):
        shown_at = np.full_like(shown_at, NO_STAMP)
    key, discard, flagged, disposable = (column.astype(bool) for column in table[:, 2:6].T)
    key = key | video.all_key_frames
    shown = ~discard
    if key.any():
        first = int(key.argmax())
        shown[:first] = False
        if shown_at[first] != NO_STAMP and not video.all_key_frames:
            # Frames that lead up to it are built on what is not there; a later clock is no matter.
            leading = (shown_at < shown_at[first]) & (shown_at != NO_STAMP)
            following = np.flatnonzero(key[first + 1 :])
            until = first + 1 + int(following[0]) if len(following) else len(key)
            shown[first:until] &= ~leading[first:until]
    fields = video.container.format
    torn = tears(path, fields.name)
    gap = table[:, 7].astype(bool)
    before_key = int((~shown & ~discard).sum())
    for place in torn:
        before = np.flatnonzero(table[:, 6] < place)
        if len(before):
            # What spoilt the beginning of the next one has most likely spoilt the end of this one.
            shown[before[-1]] = False
            gap[before[-1] + 1 : before[-1] + 2] = True
    return PacketList(
        shown_at=shown_at,
        decoded_at=decoded_at,
        key=key,
        shown=shown,
        flagged=flagged,
        gap=gap,
        disposable=disposable,
        tick_s=float(video.stream.time_base),
        rate_duration_s=rate_duration_s,
        jumps=may_jump(video),
        before_key=before_key,
        breaks_off=cut or breaks_off(path, fields.name),
        torn=bool(torn),
        declared_frames=video.stream.frames,
        codec=video.stream.codec_context.codec.name,
    )


def timeline_by_stamps(listed: PacketList) -> Timeline | None:
    """The timeline as the packets tell it; None where only decoding tells the order of frames."""
    packets = np.flatnonzero(listed.shown)
    if not listed.stamped or not len(packets):
        return None
    timeline = timeline_of(listed, packets)
    return timeline if timeline.one_clock or listed.clocks().max() else None


def timeline_of(listed: PacketList, packets: Int64[np.ndarray, " frame"]) -> Timeline:
    """The timeline of some frames.

    Args:
        listed: All packets.
        packets: Those of the frames, in the order in which the decoder gave them; by their times
            they are sorted here. Where they have none, their decoding times in ascending order are
            taken, and where these are missing too, the frame rate.
    """
    clocks = listed.clocks()
    known = listed.shown_at[packets]
    stamped = bool((known != NO_STAMP).all())
    if stamped:
        order = np.lexsort((np.arange(len(packets)), known, clocks[packets]))
        packets, known = packets[order], known[order]
    else:
        known = np.sort(listed.decoded_at[packets])
        clocks = np.zeros_like(clocks)
    clock = clocks[packets]
    step_s = np.diff(known) * listed.tick_s
    same = np.diff(clock) == 0
    usual_s = listed.rate_duration_s
    if (step_s[same] > 0).any():
        usual_s = float(np.median(step_s[same & (step_s > 0)]))
    sound = bool((known != NO_STAMP).all()) and bool((step_s[same] > 0).all())
    # Where a clock starts again, the frame before stays as long as others do.
    step_s = np.where(same, step_s, usual_s) if sound else np.full(len(step_s), usual_s)
    return Timeline(
        packets=packets,
        times_s=np.concatenate([np.zeros(min(1, len(packets))), np.cumsum(step_s)]),
        frame_duration_s=usual_s,
        one_clock=stamped and sound and bool(same.all()),
    )
