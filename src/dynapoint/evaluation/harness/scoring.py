"""The second step: answers are compared with the truth, and numbers are pooled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from dynapoint.evaluation.harness.held_truth import HeldTruth
from dynapoint.evaluation.harness.plan import Plan
from dynapoint.evaluation.harness.rows import Row
from dynapoint.evaluation.methods.method import Question
from dynapoint.evaluation.methods.truth import TruthMethod
from dynapoint.evaluation.predictions.files import ARRAYS
from dynapoint.evaluation.predictions.made import Made
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.progress import steps


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """What one method got for one task.

    Attributes:
        method: The row.
        set_title: The set, as the tables call it.
        sequence: Of the set.
        task: The task's name.
        answered: Whether the method said anything that was asked.
        values: All that was measured.
        seconds: What predicting took; 0 where that is not known.
        peak_mib: The same of memory.
    """

    method: str
    set_title: str
    sequence: str
    task: str
    answered: bool
    values: tuple[Measured, ...]
    seconds: float = 0.0
    peak_mib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A pooled number.

    Attributes:
        value: NaN where nothing was measured.
        measured: From how many tasks it comes.
        possible: From how many the truth's own number comes.
    """

    method: str
    set_title: str
    metric: str
    value: float
    measured: int
    possible: int

    @property
    def whole(self) -> bool:
        """Whether no task is missing."""
        return self.measured >= self.possible


@dataclass
class Scored:
    """All scores of a protocol.

    Attributes:
        tasks: Of every row and task.
        made: By row, what made its answers, each kind once.
    """

    tasks: list[TaskScore] = field(default_factory=list)
    made: dict[str, list[Made]] = field(default_factory=dict)


def score(plan: Plan, rows: Sequence[Row], *, progress: bool = False) -> Scored:
    """Score all rows on all tasks, one task of all rows after another.

    Raises:
        InputError: A file of a set or a prediction is missing or damaged.
    """
    scored = Scored()
    total = sum(each.task_count for each in plan.sets)
    for which, truth, task in steps(plan.questions(), "task", total=total, wanted=progress):
        held = HeldTruth(truth)
        question = Question(task=task, truth=held)
        for row in rows:
            found = row.answer(question)
            answer, made = (None, None) if found is None else found
            answered = answer is not None and says_anything(task, answer)
            values: tuple[Measured, ...] = ()
            if answer is not None and answered:
                values = tuple(plan.protocol.score(task, held, answer))
            if made is not None and not row.trivial:
                _remember(scored.made.setdefault(row.name, []), made)
            scored.tasks.append(
                TaskScore(
                    method=row.name,
                    set_title=which.which.title,
                    sequence=truth.name,
                    task=task.name,
                    answered=answered,
                    values=values,
                    seconds=0.0 if row.trivial or answer is None else answer.seconds,
                    peak_mib=0.0 if row.trivial or answer is None else answer.peak_mib,
                )
            )
    return scored


def says_anything(task: Task, answer: Answer) -> bool:
    """Whether an answer has anything of what a task asks."""
    return any(getattr(answer, name) is not None for name in ARRAYS)


def pooled(scores: Sequence[TaskScore], columns: Sequence[Column]) -> list[Cell]:
    """One number for each method, set and column, as `Column.pooled` says."""
    grouped: dict[tuple[str, str], list[TaskScore]] = {}
    for each in scores:
        grouped.setdefault((each.method, each.set_title), []).append(each)
    truth = TruthMethod.info.name
    cells = []
    for (method, set_title), of_set in grouped.items():
        for column in columns:
            best = grouped.get((truth, set_title), of_set)
            cells.append(
                Cell(
                    method=method,
                    set_title=set_title,
                    metric=column.metric,
                    value=pool(of_set, column),
                    measured=_counted(of_set, column.metric),
                    possible=_counted(best, column.metric) or _answered(of_set),
                )
            )
    return cells


def pool(scores: Sequence[TaskScore], column: Column) -> float:
    """The mean of a metric over tasks, over sequences, or by weight; NaN counts nowhere."""
    found = [
        (each.sequence, measured.value, measured.weight)
        for each in scores
        for measured in each.values
        if measured.metric == column.metric and not math.isnan(measured.value)
    ]
    if column.pooled == "weighted":
        weight = math.fsum(weight for _, _, weight in found)
        return math.fsum(v * w for _, v, w in found) / weight if weight > 0 else math.nan
    if column.pooled == "tasks":
        return _mean([value for _, value, _ in found])
    by_sequence: dict[str, list[float]] = {}
    for sequence, value, _ in found:
        by_sequence.setdefault(sequence, []).append(value)
    return _mean([_mean(values) for values in by_sequence.values()])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _counted(scores: Sequence[TaskScore], metric: str) -> int:
    """In how many tasks a metric was measured."""
    return sum(
        any(value.metric == metric and not math.isnan(value.value) for value in each.values)
        for each in scores
    )


def _answered(scores: Sequence[TaskScore]) -> int:
    return sum(each.answered for each in scores)


def _remember(kinds: list[Made], made: Made) -> None:
    """Keep what made an answer if none that was kept is alike."""
    for kind in kinds:
        if (kind.method, kind.weights, kind.options) == (made.method, made.weights, made.options):
            if (kind.package, kind.commit, kind.machine) == (
                made.package,
                made.commit,
                made.machine,
            ):
                return
    kinds.append(made)
