"""The parts of a long clip: segments, each a world of its own, and the windows that cover them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

SegmentKind: TypeAlias = Literal["scene", "black", "frozen"]
BeginsWith: TypeAlias = Literal["start", "cut", "black", "frozen"]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Frames that share one world: the camera of the first of them.

    Attributes:
        start: Index of the first frame.
        stop: Index behind the last one.
        kind: "scene"; or why there is nothing to reconstruct: all frames are "black", or all show
            the same picture ("frozen").
        begins_with: Why the segment begins: the clip does ("start"), the picture changes at once
            ("cut"), or a stretch of another kind begins or ends ("black", "frozen").
    """

    start: int
    stop: int
    kind: SegmentKind = "scene"
    begins_with: BeginsWith = "start"

    @property
    def count(self) -> int:
        """How many frames it has."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class Window:
    """Frames that a network sees together.

    Attributes:
        frames: Their indices in the clip, increasing; those of a wide one do not follow each other.
        segment: Index of the segment that all of them belong to.
        wide: Whether it was added to hold ordinary windows together (`windows.wide`).
    """

    frames: tuple[int, ...]
    segment: int = 0
    wide: bool = False

    @property
    def start(self) -> int:
        """Its first frame."""
        return self.frames[0]

    @property
    def stop(self) -> int:
        """The frame behind its last one."""
        return self.frames[-1] + 1


@dataclass(frozen=True, kw_only=True)
class WindowSizes:
    """How many frames a window has, and how many of them the next one sees again."""

    window: int
    overlap: int
