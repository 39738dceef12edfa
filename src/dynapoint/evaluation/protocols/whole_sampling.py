"""Tasks that show a whole sequence, or a stretch of it: depth, cameras, masks and tracks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.protocols.sampling import drawn
from dynapoint.evaluation.protocols.task import Task
from dynapoint.evaluation.protocols.track_queries import track_queries


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Frames `first`, `first + step`, …: at most `count` of them, or all.

    Where a sequence ends before, the stretch begins so much earlier that it has as many frames as
    there can be.
    """

    first: int = 0
    step: int = 1
    count: int | None = None

    def frames(self, frame_count: int) -> tuple[int, ...]:
        """The frames of a sequence of so many."""
        if self.count is None:
            first = self.first if self.first < frame_count else 0
            return tuple(range(first, frame_count, self.step))
        latest = max(frame_count - 1 - (self.count - 1) * self.step, 0)
        places = range(min(self.first, latest), frame_count, self.step)
        return tuple(places[: self.count])


@dataclass(frozen=True, kw_only=True)
class WholeSequence:
    """One task with all frames of a stretch.

    Attributes:
        own_maps: The own-time point map of every frame is asked.
        depth, cameras, moving, known_lens, stride: As in `Task`.
    """

    stretch: Stretch = Stretch()
    own_maps: bool = False
    depth: bool = False
    cameras: bool = False
    moving: bool = False
    known_lens: bool = False
    stride: int = 1

    def __call__(self, sequence: TruthSequence) -> tuple[Task, ...]:
        """The one task of a sequence."""
        frames = self.stretch.frames(sequence.frame_count)
        own = tuple((place, place) for place in range(len(frames))) if self.own_maps else ()
        return (
            Task(
                dataset=sequence.dataset,
                sequence=sequence.name,
                name="whole",
                frames=frames,
                maps=own,
                depth=self.depth,
                cameras=self.cameras,
                moving=self.moving,
                known_lens=self.known_lens,
                stride=self.stride,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class EvenFrames:
    """One task with so many evenly spaced frames, the first and the last among them.

    Depth and cameras are asked.
    """

    count: int
    stride: int = 1

    def __call__(self, sequence: TruthSequence) -> tuple[Task, ...]:
        """The one task of a sequence; none where it has no depth, poses or lens to compare."""
        holds = sequence.holds
        if not (holds.depth or holds.poses or holds.lens):
            return ()
        places = np.linspace(
            0, sequence.frame_count - 1, min(self.count, sequence.frame_count)
        ).round()
        return (
            Task(
                dataset=sequence.dataset,
                sequence=sequence.name,
                name=f"even{self.count}",
                frames=tuple(int(place) for place in places),
                depth=True,
                cameras=True,
                stride=self.stride,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class DepthPairs:
    """So many pairs of frames of a sequence, whose depth is asked.

    Drawn of all pairs that are 1 to `farthest` frames apart (`sampling.drawn`).
    """

    count: int
    farthest: int
    seed: int = 0
    stride: int = 1

    def __call__(self, sequence: TruthSequence) -> tuple[Task, ...]:
        """The pairs in the order of time; fewer where there are fewer."""
        pairs: list[tuple[int, ...]] = [
            (first, first + apart)
            for apart in range(1, self.farthest + 1)
            for first in range(sequence.frame_count - apart)
        ]
        return tuple(
            Task(
                dataset=sequence.dataset,
                sequence=sequence.name,
                name="depth-" + "-".join(f"{frame:05d}" for frame in pair),
                frames=pair,
                depth=True,
                stride=self.stride,
            )
            for pair in sorted(drawn(sequence, pairs, count=self.count, seed=self.seed))
        )


@dataclass(frozen=True, kw_only=True)
class TracksOfFirstFrame:
    """One task with the first frames: the set's tracks that frame 0 sees are followed.

    Attributes:
        count: How many frames are shown at most; None for all.
        cameras, known_lens: As in `Task`.
        truncated: Asked is the middle of the pixel that a place lies in, as St4RTrack's code reads
            it: its places are cut off to integers.
    """

    count: int | None = None
    cameras: bool = False
    known_lens: bool = False
    truncated: bool = False

    def __call__(self, sequence: TruthSequence) -> tuple[Task, ...]:
        """The one task of a sequence; none where frame 0 sees no track."""
        xy = track_queries(sequence, 0).xy
        if self.truncated:
            xy = np.floor(xy) + 0.5
        if not len(xy):
            return ()
        return (
            Task(
                dataset=sequence.dataset,
                sequence=sequence.name,
                name="tracks_known_lens" if self.known_lens else "tracks",
                frames=Stretch(count=self.count).frames(sequence.frame_count),
                cameras=self.cameras,
                track_xy=_pairs(xy.tolist()),
                known_lens=self.known_lens,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class GridOfFirstFrame:
    """One task with the first frames: every so many pixels of frame 0 are followed."""

    frames: int
    stride: int

    def __call__(self, sequence: TruthSequence) -> tuple[Task, ...]:
        """The one task of a sequence; none of a sequence that is shorter."""
        if sequence.frame_count < self.frames:
            return ()
        return (
            Task(
                dataset=sequence.dataset,
                sequence=sequence.name,
                name=f"grid{self.stride}",
                frames=tuple(range(self.frames)),
                maps=tuple((0, time) for time in range(self.frames)),
                stride=self.stride,
            ),
        )


def _pairs(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in rows)
