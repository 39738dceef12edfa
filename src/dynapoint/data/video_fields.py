"""Interlaced video: frames that hold two moments, a row of the one and a row of the other in turn.

FFmpeg's filter `bwdif` makes a picture of the first moment of each; frames that are not marked as
interlaced pass through it as they are.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

_Mark = TypeVar("_Mark")

# The filter refuses smaller pictures.
_LEAST_SIDE_PX = 3


class WithoutCombs(Generic[_Mark]):
    """The same (mark, frame), of those marked as interlaced the first field's picture.

    A mark is what frames are known by, such as their numbers. Nothing is filtered, or held back,
    before the first frame that is interlaced. `combed` counts these.
    """

    def __init__(self, frames: Iterable[tuple[_Mark, Any]], time_base: Any) -> None:
        self._frames = frames
        self._time_base = time_base
        self.combed = 0

    def __iter__(self) -> Iterator[tuple[_Mark, Any]]:
        """The frames in their order."""
        filtering: _Fields[_Mark] | None = None
        for mark, frame in self._frames:
            if filtering is not None and not filtering.fits(frame):
                yield from filtering.rest()
                filtering = None
            combed = frame.interlaced_frame and min(frame.width, frame.height) >= _LEAST_SIDE_PX
            self.combed += combed
            if filtering is None and combed:
                filtering = _Fields(frame, self._time_base)
            if filtering is None:
                yield mark, frame
            else:
                yield from filtering.push(mark, frame)
        if filtering is not None:
            yield from filtering.rest()


class _Fields(Generic[_Mark]):
    """FFmpeg's filter for frames of one size and format; it gives each when it has the next."""

    def __init__(self, frame: Any, time_base: Any) -> None:
        from av.filter import Graph  # noqa: PLC0415 - FFmpeg's libraries load slowly.

        self._like = (frame.width, frame.height, frame.format.name)
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=time_base
        )
        fields = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        sink = self._graph.add("buffersink")
        source.link_to(fields)
        fields.link_to(sink)
        self._graph.configure()
        self._waiting: list[tuple[_Mark, tuple[int, int, int, int]]] = []

    def fits(self, frame: Any) -> bool:
        """Whether a frame is like the first one."""
        return (frame.width, frame.height, frame.format.name) == self._like

    def push(self, mark: _Mark, frame: Any) -> Iterator[tuple[_Mark, Any]]:
        """Hand a frame in; gives those that are ready."""
        self._waiting.append((mark, _tags(frame)))
        self._graph.push(frame)
        yield from self._ready()

    def rest(self) -> Iterator[tuple[_Mark, Any]]:
        """What the filter still holds."""
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[tuple[_Mark, Any]]:
        import av  # noqa: PLC0415 - FFmpeg's libraries load slowly.

        while True:
            try:
                frame: Any = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            mark, tags = self._waiting.pop(0)
            # A filter agrees on colours before it sees a frame, and writes that onto each.
            frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = tags
            yield mark, frame


def _tags(frame: Any) -> tuple[int, int, int, int]:
    return (
        int(frame.colorspace),
        int(frame.color_range),
        int(frame.color_primaries),
        int(frame.color_trc),
    )
