"""The frames of a video file one after another."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from dynapoint.data.small_pictures import evenly_between
from dynapoint.data.streamed import Beside, FrameStream, SmallBetween, StreamedFrame, StreamRequest
from dynapoint.data.video import damage_of, examine_some, other_frames
from dynapoint.data.video_pass import Showing, VideoPass
from dynapoint.data.video_timeline import Timeline, list_packets, timeline_by_stamps, timeline_of

# Decoders give frames in the order in which they are shown; where the clocks of a file tell another
# one, so many are held until the one comes whose turn it is (the most that H.264 holds back).
_MOST_WAITING = 16


class VideoStream(FrameStream):
    """The frames that `data.video.read_video` gives of a video, as they are decoded.

    One decoding pass suffices for a sound video. Where the decoder finds out midway that something
    is broken, all of the video is examined, and decoded anew up to there. Frames that were given
    before stay; what follows is what `read_video` gives, except where these would have been others
    (evenly spaced ones among fewer): then what was chosen before and is whole follows.

    Memory: a few decoded frames, one picture, and some 200 bytes a packet.

    Raises:
        InputError: The file is no video, not one of its frames can be decoded, or none lies in the
            span selected.
    """

    def __init__(self, path: Path, request: StreamRequest, *, identity: str | None) -> None:
        super().__init__(request, name=path.stem, from_video=True, identity=identity)
        self._path = path
        self._listed = list_packets(path)
        self._known_good = False
        self._remarks: tuple[str, ...] = ()
        timeline = timeline_by_stamps(self._listed)
        if timeline is None or self._listed.doubtful:
            self._examine(given=0)
        else:
            self._damage = damage_of(path, self._listed, timeline, 0)
            self._plan(timeline, request.selection.choose(timeline.times_s))

    def _lines(self) -> Sequence[str]:
        """Damage, what was done to the pictures, and the selection."""
        assert self.frame_count is not None
        selected = self._request.selection.note(self.frame_count, self.source_count)
        return (*self._damage, *self._remarks, *([selected] if selected else []))

    def _plan(self, timeline: Timeline, wanted: Int64[np.ndarray, " frame"]) -> None:
        """Take a timeline for the video's, and frames of it for those that are used."""
        self._timeline, self._wanted = timeline, wanted
        self.frame_count, self.source_count = len(wanted), len(timeline.packets)
        self._beside = Beside(
            self._request,
            name=self.name,
            from_video=True,
            own_times_s=timeline.times_s[wanted],
            index=wanted,
            source_count=self.source_count,
        )

    def _examine(self, *, given: int) -> None:
        """Find out which frames are whole by decoding all, when some may have been given."""
        listed = self._listed
        verdict = examine_some(self._path, listed)
        self._known_good = True
        choose = self._request.selection.choose
        timeline = timeline_of(listed, verdict.good)
        wanted = choose(timeline.times_s)
        if given:
            planned = self._timeline.packets[self._wanted]
            if not np.isin(planned[:given], verdict.good).all():
                timeline = timeline_of(listed, np.union1d(verdict.good, planned[:given]))
                wanted = choose(timeline.times_s)
            if not np.array_equal(timeline.packets[wanted][:given], planned[:given]):
                wanted = np.flatnonzero(np.isin(timeline.packets, planned))
        self._damage = damage_of(self._path, listed, timeline, verdict.lost)
        self._plan(timeline, wanted)

    def _frames(self, start: int) -> Iterator[StreamedFrame]:
        """Decode, again where need be, and show what has not been given yet."""
        given, jump = 0, not self._known_good
        while True:
            found = VideoPass(
                self._path,
                self._listed,
                self._timeline,
                first=int(self._wanted[0]),
                last=int(self._wanted[-1]),
                jump=jump,
                known_good=self._known_good,
            )
            # Of frames given in a pass before, those of this one are counted and not shown.
            with closing(self._shown(found, given, start)) as shown:  # type: ignore[type-var]
                for number, frame in shown:
                    given = number + 1
                    if frame is not None:
                        yield frame
            if self._known_good:
                if given != len(self._wanted):
                    raise other_frames(self._path)
                return
            if found.complete:
                return
            if found.sound and jump and found.jumped:
                jump = False
                continue
            self._examine(given=given)
            jump = False

    def _shown(
        self, found: VideoPass, given: int, start: int
    ) -> Iterator[tuple[int, StreamedFrame | None]]:
        """The numbers of the frames used, those behind `given`; with the frames behind `start`."""
        showing = Showing(found.video)
        numbers = {int(index): number for number, index in enumerate(self._wanted)}
        between: list[SmallBetween] = []
        awaited: frozenset[int] = frozenset()
        for index, frame in _in_turn(found, int(self._wanted[0]), patient=self._known_good):
            number = numbers.get(index)
            if number is None:
                if index in awaited:
                    between.append(self._small_between(index, frame, showing))
                continue
            shown = None
            if number >= max(given, start):
                shown = self._frame(number, frame, showing, tuple(between))
            else:
                showing.count(frame)
            self._remarks = (*showing.remarks, *found.remarks)
            between.clear()
            awaited = self._awaited(number) if number + 1 >= max(given, start) else frozenset()
            if number >= given:
                yield number, shown

    def _awaited(self, number: int) -> frozenset[int]:
        """Which frames are to be kept small between a frame used and the next."""
        if number + 1 >= len(self._wanted):
            return frozenset()
        first, last = self._wanted[number : number + 2].tolist()
        return frozenset(evenly_between(first, last, self._request.most_between).tolist())

    def _small_between(self, index: int, frame: Any, showing: Showing) -> SmallBetween:
        """The small picture of a frame that is not used."""
        return SmallBetween(
            picture=self._small.shrunk_frame(frame, showing.style_of(frame)),
            source_index=index,
            time_s=float(self._timeline.times_s[index]),
        )

    def _frame(
        self, number: int, frame: Any, showing: Showing, between: tuple[SmallBetween, ...]
    ) -> StreamedFrame:
        """A frame that is used."""
        image = showing.picture(frame)
        small = None
        if self._request.most_between:
            small = self._small.shrunk_frame(frame, showing.style_of(frame))
        index = int(self._wanted[number])
        return StreamedFrame(
            image=image,
            timestamp_s=float(self._timeline.times_s[index]),
            source_index=index,
            number=number,
            ignore=self._beside.ignore(number, (image.shape[0], image.shape[1])),
            between=between,
            small=small,
        )


def _in_turn(found: VideoPass, first: int, *, patient: bool) -> Iterator[tuple[int, Any]]:
    """Frames of a pass by their indices; it ends where one fails to come or is not sound.

    With `patient` one that does not come is passed over.
    """
    waiting: dict[int, Any] = {}
    turn = first
    with closing(iter(found)) as frames:  # type: ignore[type-var]
        for index, frame in frames:
            if not patient and not found.sound:
                return
            if index >= turn:
                waiting[index] = frame
            if len(waiting) > _MOST_WAITING:
                if not patient:
                    return
                turn = min(waiting)
            while turn in waiting:
                yield turn, waiting.pop(turn)
                turn += 1
    if patient:
        yield from sorted(waiting.items())
