"""Which frames of a sequence are asked about: the same ones on every machine and at every call.

What a paper draws at random is drawn here by the order of SHA-256 hashes of seed, set, sequence and
frames, which no library's random numbers and no order of sequences can change.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.protocols.task import Task

PAIR_MAPS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(source, time): all four maps of two frames."""


@dataclass(frozen=True, kw_only=True)
class RandomPairs:
    """Pairs of frames of a sequence, whose four maps are asked.

    Attributes:
        margins: By how many frames the second of a pair is later; each pair has one of them.
        count: How many pairs a sequence gives; fewer where it does not have as many.
        stride: Of the grid, in pixels of the pictures.
        swapped: The maps are asked in the camera of the second frame too.
        seed: Another one draws other pairs.
    """

    margins: tuple[int, ...]
    count: int
    stride: int = 4
    swapped: bool = False
    seed: int = 0

    def __call__(self, sequence: TruthSequence) -> Iterable[Task]:
        """The pairs in the order of time."""
        pairs = [
            (start, start + margin)
            for margin in self.margins
            for start in range(sequence.frame_count - margin)
        ]
        for pair in sorted(drawn(sequence, pairs, count=self.count, seed=self.seed)):
            yield pair_task(sequence, pair, stride=self.stride, swapped=self.swapped)


@dataclass(frozen=True, kw_only=True)
class PairsFrom:
    """Pairs of frames that start at given ones, whose four maps are asked.

    Attributes:
        starts: First frames; a sequence too short for a pair lacks it.
        margin: By how many frames the second is later.
        stride: Of the grid, in pixels of the pictures.
    """

    starts: tuple[int, ...]
    margin: int
    stride: int = 4

    def __call__(self, sequence: TruthSequence) -> Iterable[Task]:
        """The pairs in the order of `starts`."""
        for start in self.starts:
            if start + self.margin < sequence.frame_count:
                yield pair_task(sequence, (start, start + self.margin), stride=self.stride)


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """Frames a step apart, where the pixels of the first one are asked at the times of all.

    Attributes:
        frames: How many frames a snippet has; a sequence too short gives none.
        step: How far apart they are.
        count: How many snippets a sequence gives; fewer where it does not have as many. They may
            overlap.
        stride: Of the grid, in pixels of the pictures.
        seed: Another one draws other snippets.
    """

    frames: int
    step: int
    count: int
    stride: int = 4
    seed: int = 0

    def __call__(self, sequence: TruthSequence) -> Iterable[Task]:
        """The snippets in the order of time."""
        length = (self.frames - 1) * self.step
        starts = [(start,) for start in range(sequence.frame_count - length)]
        for (start,) in sorted(drawn(sequence, starts, count=self.count, seed=self.seed)):
            yield Task(
                dataset=sequence.dataset,
                sequence=sequence.name,
                name=f"tracks-{start:05d}-{start + length:05d}-{self.step}",
                frames=tuple(range(start, start + length + 1, self.step)),
                maps=tuple((0, time) for time in range(self.frames)),
                stride=self.stride,
            )


@dataclass(frozen=True, kw_only=True)
class WholeClips:
    """The first frames of a sequence, whose own-time maps are asked.

    Attributes:
        frames: At most so many.
        stride: Of the grid, in pixels of the pictures.
    """

    frames: int
    stride: int = 4

    def __call__(self, sequence: TruthSequence) -> Iterable[Task]:
        """One task."""
        count = min(self.frames, sequence.frame_count)
        yield Task(
            dataset=sequence.dataset,
            sequence=sequence.name,
            name=f"frames-{count}",
            frames=tuple(range(count)),
            maps=tuple((frame, frame) for frame in range(count)),
            stride=self.stride,
        )


def pair_task(
    sequence: TruthSequence, frames: tuple[int, int], *, stride: int, swapped: bool = False
) -> Task:
    """The question for all four maps of two frames."""
    return Task(
        dataset=sequence.dataset,
        sequence=sequence.name,
        # Both calls are another question, and its answer another file.
        name=f"pair-{frames[0]:05d}-{frames[1]:05d}" + ("-swapped" if swapped else ""),
        frames=frames,
        maps=PAIR_MAPS,
        swapped=swapped,
        stride=stride,
    )


def drawn(
    sequence: TruthSequence,
    choices: list[tuple[int, ...]],
    *,
    count: int,
    seed: int,
) -> list[tuple[int, ...]]:
    """So many of the choices, drawn without putting back."""

    def rank(choice: tuple[int, ...]) -> bytes:
        words = f"{seed}/{sequence.dataset}/{sequence.name}/{'-'.join(map(str, choice))}"
        return hashlib.sha256(words.encode()).digest()

    return sorted(choices, key=rank)[:count]
