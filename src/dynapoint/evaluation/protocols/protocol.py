"""A table of a paper as data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.protocols.task import Answer, Task

Sampling = Callable[[TruthSequence], Iterable[Task]]
"""Which tasks a sequence gives; the same ones at every call (seeds are part of the sampling)."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number from one task.

    Attributes:
        metric: The key of a `Column`.
        value: NaN where there was nothing to measure, which no mean counts.
        weight: For columns that weigh their tasks, e.g. by pixels.
    """

    metric: str
    value: float
    weight: float = 1.0


Scorer = Callable[[Task, TruthSequence, Answer], tuple[Measured, ...]]
"""Compares an answer with the truth. Truth that no pixel has gives NaN, never an error."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        metric: Its key in `Measured`.
        title: Its head.
        unit: In words.
        better: Which direction is better.
        pooled: "tasks" is the mean over all tasks; "sequences" the mean over sequences of the mean
            over a sequence's tasks; "weighted" the mean over tasks by their weights.
        default: The variant that counts, where a paper leaves a choice open; others stand beside it
            in the JSON file and in the wide tables.
    """

    metric: str
    title: str
    unit: str
    better: Literal["lower", "higher"]
    pooled: Literal["tasks", "sequences", "weighted"] = "tasks"
    decimals: int = 3
    default: bool = True


@dataclass(frozen=True, kw_only=True)
class ProtocolSet:
    """One data set of a table.

    Attributes:
        dataset: A key of `datasets.registry`.
        split: Which of its parts.
        title: What the table calls it.
        sequences: Names, or None for all of the split.
        sampling: Which tasks its sequences give.
    """

    dataset: str
    split: str
    title: str
    sampling: Sampling
    sequences: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PaperValue:
    """A number that a paper prints: of a method, on a set (its title), in a column."""

    method: str
    set_title: str
    metric: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One table.

    Attributes:
        key: Its name on the command line, e.g. "vdpm-two-view".
        source: Paper and table.
        title: One line about what is measured.
        alignment: How prediction and truth are made comparable, in words.
        choices: What the paper leaves open (UNCONFIRMED) and what is done here, one line each.
        paper: The paper's own numbers.
    """

    key: str
    source: str
    title: str
    sets: tuple[ProtocolSet, ...]
    score: Scorer
    columns: tuple[Column, ...]
    alignment: str
    choices: tuple[str, ...] = ()
    paper: tuple[PaperValue, ...] = ()
