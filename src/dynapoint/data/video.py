"""Reading chosen frames of a video, holding only the frames wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dynapoint.data.memory import require_room
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.data.video_decoding import Verdict, examine
from dynapoint.data.video_pass import Showing, VideoPass
from dynapoint.data.video_timeline import (
    PacketList,
    Timeline,
    list_packets,
    timeline_by_stamps,
    timeline_of,
)
from dynapoint.errors import InputError


@dataclass(frozen=True, kw_only=True)
class VideoFrames:
    """Chosen frames of a video.

    `source_frame_index` counts the frames that can be shown from 0; `timestamps_s` are the times at
    which they are shown, in seconds since the first of them; `readable_count` is how many there
    are; `remarks` say in a line each what is damaged or was left out, which stream was taken, and
    what was done to the pictures beyond decoding them.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"]
    timestamps_s: Float64[np.ndarray, " frame"]
    source_frame_index: Int64[np.ndarray, " frame"]
    readable_count: int
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What one decoding pass found.

    `sound` says that the decoder refused nothing, `complete` that all frames from the first to the
    last one wanted came besides, `jumped` that it did not begin at the start.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"]
    remarks: tuple[str, ...]
    sound: bool
    complete: bool
    jumped: bool


def read_video(
    path: Path, selection: FrameSelection, small: SmallPictures | None = None
) -> VideoFrames:
    """Decode a video and keep the frames selected, upright, in eight-bit sRGB.

    Packets are listed first, without decoding, so that one decoding pass, from the key frame before
    the first frame wanted to the last one wanted, suffices and only those are held. Where the file
    does not say when frames are shown, or something in it cannot be decoded, all of it is decoded
    once more before, to know which frames there are. `small` keeps small pictures of what lies
    between the frames wanted, which is decoded anyway.

    Raises:
        InputError: The file is no video, not one of its frames can be decoded, none lies in the
            span selected, or they do not fit into memory.
    """
    listed = list_packets(path)
    timeline = timeline_by_stamps(listed)
    if timeline is not None and not listed.doubtful:
        wanted = selection.choose(timeline.times_s)
        for jump in (True, False):
            found = _decode(path, listed, timeline, wanted, small=small, jump=jump)
            if found.complete:
                return _chosen(
                    path, found, timeline, wanted, damage=damage_of(path, listed, timeline, 0)
                )
            if not (found.sound and found.jumped):
                break
        del found
    verdict = examine_some(path, listed)
    timeline = timeline_of(listed, verdict.good)
    wanted = selection.choose(timeline.times_s)
    found = _decode(path, listed, timeline, wanted, small=small, jump=False, known_good=True)
    damage = damage_of(path, listed, timeline, verdict.lost)
    return _chosen(path, found, timeline, wanted, damage=damage)


def examine_some(path: Path, listed: PacketList) -> Verdict:
    """Decode all of a video and say which frames are whole (`video_decoding.examine`).

    Raises:
        InputError: There are none.
    """
    verdict = examine(path, listed)
    if not len(verdict.good):
        raise InputError(
            f"video {path} was opened but not one of its frames could be decoded; "
            "give an undamaged video file"
        )
    return verdict


def other_frames(path: Path) -> InputError:
    """What to say of a video that changed while it was read."""
    return InputError(
        f"video {path} gave other frames when it was decoded again; give an undamaged video "
        "file that nothing writes to"
    )


def look_again(path: Path, wanted: Sequence[int], small: SmallPictures) -> None:
    """Decode a video once more for the small pictures alone; frames are counted by `read_video`.

    Args:
        path: The video.
        wanted: Indices of the frames that `read_video` gave.
        small: Keeps what lies between them.

    Raises:
        InputError: The file is no video any more.
    """
    listed = list_packets(path)
    index = np.asarray(wanted, dtype=np.int64)
    timeline = timeline_by_stamps(listed)
    if timeline is not None and not listed.doubtful and index[-1] < len(timeline.packets):
        for jump in (True, False):
            found = _decode(path, listed, timeline, index, small=small, pictures=False, jump=jump)
            if found.complete:
                return
    timeline = timeline_of(listed, examine(path, listed).good)
    if index[-1] < len(timeline.packets):
        _decode(
            path, listed, timeline, index, small=small, pictures=False, jump=False, known_good=True
        )


def _chosen(
    path: Path,
    found: _Pass,
    timeline: Timeline,
    wanted: Int64[np.ndarray, " frame"],
    *,
    damage: tuple[str, ...],
) -> VideoFrames:
    """The frames of a pass with their times, and a line on all there is to say."""
    if len(found.images) != len(wanted):
        raise other_frames(path)
    return VideoFrames(
        images=found.images,
        timestamps_s=timeline.times_s[wanted],
        source_frame_index=wanted,
        readable_count=len(timeline.packets),
        remarks=(*damage, *found.remarks),
    )


def _decode(
    path: Path,
    listed: PacketList,
    timeline: Timeline,
    wanted: Int64[np.ndarray, " frame"],
    *,
    small: SmallPictures | None = None,
    pictures: bool = True,
    jump: bool = True,
    known_good: bool = False,
) -> _Pass:
    """Decode what is needed and keep the wanted frames' pictures.

    With `jump`, decoding begins at the key frame before the first frame wanted where it can. With
    `known_good`, all frames of the timeline have been decoded before. `small` is shown what lies
    between; without `pictures` no others are kept.
    """
    frames = VideoPass(
        path,
        listed,
        timeline,
        first=int(wanted[0]),
        last=int(wanted[-1]),
        jump=jump,
        known_good=known_good,
    )
    keeper = _Keeper(wanted, Showing(frames.video), pictures=pictures)
    if small is not None:
        small.begin(wanted.tolist())
    for index, frame in frames:
        keeper.offer(index, frame)
        if small is not None:
            style = keeper.showing.style_of(frame)
            small.look(index, frame, style, float(timeline.times_s[index]))
    return _Pass(
        images=keeper.images,
        remarks=(*keeper.showing.remarks, *frames.remarks),
        sound=frames.sound,
        complete=frames.complete,
        jumped=frames.jumped,
    )


class _Keeper:
    """Keeps the pictures of the wanted frames in one array, made when the first one comes."""

    def __init__(
        self, wanted: Int64[np.ndarray, " frame"], showing: Showing, *, pictures: bool
    ) -> None:
        self.showing = showing
        self._place = {int(index): place for place, index in enumerate(wanted)}
        self._images = np.zeros((0, 1, 1, 3), dtype=np.uint8)
        self._filled: set[int] = set()
        self._pictures = pictures

    @property
    def images(self) -> UInt8[np.ndarray, "frame height width rgb=3"]:
        """The pictures in the order of their times; of those that never came there is none."""
        if len(self._filled) == len(self._images):
            return self._images
        return self._images[sorted(self._filled)]

    def offer(self, index: int, frame: Any) -> None:
        """Keep the picture of a frame if it is wanted."""
        place = self._place.get(index)
        if place is None or not self._pictures:
            return
        picture = self.showing.picture(frame)
        if not self._filled:
            require_room(len(self._place), (picture.shape[0], picture.shape[1]))
            self._images = np.empty((len(self._place), *picture.shape), dtype=np.uint8)
        self._images[place] = picture
        self._filled.add(place)


def damage_of(path: Path, listed: PacketList, timeline: Timeline, lost: int) -> tuple[str, ...]:
    """Lines saying what could not be read, or was left out for it; none if all is well."""
    readable = len(timeline.packets)
    declared = listed.declared_frames if listed.declared_frames > readable else None
    end_s = float(timeline.times_s[-1]) + timeline.frame_duration_s
    return damage_lines(
        path.name,
        readable=readable,
        declared=declared,
        breaks_off_s=end_s if listed.breaks_off else None,
        lost=max(lost, 1) if lost or listed.torn else 0,
        before_key=listed.before_key,
    )


def damage_lines(
    name: str,
    *,
    readable: int,
    breaks_off_s: float | None,
    lost: int,
    before_key: int,
    declared: int | None = None,
) -> tuple[str, ...]:
    """Lines about a video's damage.

    Args:
        name: Of the video.
        readable: How many frames could be read.
        breaks_off_s: Where it ends too soon, or None.
        lost: How many frames could not be read, at least.
        before_key: How many frames stand before the first key frame.
        declared: How many frames there should be, if these are more.
    """
    remarks = []
    if breaks_off_s is not None:
        of_all = "" if declared is None else f" of {declared}"
        remarks.append(
            f"{name} breaks off: {readable}{of_all} frames could be read, up to "
            f"{breaks_off_s:.2f} s"
        )
    elif lost:
        remarks.append(
            f"{name} is damaged: {readable} frames could be read, at least {lost} "
            "could not, or may be built on one that could not"
        )
    if before_key:
        remarks.append(
            f"{before_key} frames at the start left out, which are built on frames before "
            "the file's beginning"
        )
    return tuple(remarks)
