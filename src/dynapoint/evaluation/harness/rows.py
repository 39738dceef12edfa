"""The rows of a run: whose answers are scored, and where they come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dynapoint.errors import InputError
from dynapoint.evaluation.harness.pictures import PictureDigests
from dynapoint.evaluation.harness.plan import Plan
from dynapoint.evaluation.harness.predicting import made_by, method_folder
from dynapoint.evaluation.methods.method import Method, Question
from dynapoint.evaluation.methods.trivial import (
    TrueGeometryNothingMoved,
    asks_for_motion,
    nothing_moved,
    trivial_methods,
)
from dynapoint.evaluation.predictions.files import prediction_file, read_prediction
from dynapoint.evaluation.predictions.made import Made, difference
from dynapoint.evaluation.protocols.task import Answer


@dataclass(frozen=True, kw_only=True)
class Row:
    """Whose answers are scored.

    Attributes:
        name: In the tables.
        answer: Gives the answer to a task and what made it; None where there is none.
        trivial: Whether it stands there for comparison.
    """

    name: str
    answer: "Callable[[Question], tuple[Answer, Made] | None]"
    trivial: bool = False


def rows_of(
    plan: Plan,
    methods: Sequence[Method],
    output: Path,
    predictions: Mapping[str, Path],
    digests: PictureDigests,
    *,
    only_score: bool = False,
) -> list[Row]:
    """All rows of a protocol: methods, predictions of others, trivial answers and the truth.

    Each of the first two is followed by its own geometry without motion where that differs.

    Args:
        plan: Of the protocol.
        methods: Whose predictions lie in the folder of the run.
        output: This folder.
        predictions: Folders of others by their names.
        digests: Of the pictures shown.
        only_score: Whether predictions of other weights and options than the methods' are scored.
    """
    rows: list[Row] = []
    moves = any(asks_for_motion(task) for _, _, task in plan.questions())
    known = {trivial.info.name for trivial in trivial_methods()}
    for each in _stored(methods, output, predictions, digests, only_score=only_score):
        rows.append(Row(name=each.name, answer=each.answer))
        if moves and each.name not in known:
            rows.append(Row(name=f"{each.name}, nothing moved", answer=each.still, trivial=True))
    names = {row.name for row in rows}
    for trivial in trivial_methods():
        differs = moves or not isinstance(trivial, TrueGeometryNothingMoved)
        if differs and trivial.info.name not in names:
            rows.append(Row(name=trivial.info.name, answer=_Trivial(trivial).answer, trivial=True))
    return rows


def _stored(
    methods: Sequence[Method],
    output: Path,
    predictions: Mapping[str, Path],
    digests: PictureDigests,
    *,
    only_score: bool,
) -> "list[_Stored]":
    """All folders of predictions."""
    own = [
        _Stored(
            method.info.name,
            method_folder(output, method.info.name),
            digests,
            method=None if only_score else method,
        )
        for method in methods
    ]
    return own + [_Stored(name, folder, digests) for name, folder in predictions.items()]


class _Stored:
    """Answers from files."""

    def __init__(
        self, name: str, folder: Path, digests: PictureDigests, *, method: Method | None = None
    ) -> None:
        self.name = name
        self._folder, self._digests, self._method = folder, digests, method
        self._first: Made | None = None
        self._last: tuple[Question, tuple[Answer, Made] | None] | None = None

    def answer(self, question: Question) -> tuple[Answer, Made] | None:
        """That of a task's file.

        Raises:
            InputError: It is damaged, or of another task or other pictures, or was not made as
                the others were.
        """
        if self._last is None or self._last[0] is not question:
            self._last = question, self._read(question)
        return self._last[1]

    def still(self, question: Question) -> tuple[Answer, Made] | None:
        """The same without motion."""
        found = self.answer(question)
        return None if found is None else (nothing_moved(question.task, found[0]), found[1])

    def _read(self, question: Question) -> tuple[Answer, Made] | None:
        task = question.task
        path = prediction_file(self._folder, task)
        if not path.is_file():
            return None
        answer, made = read_prediction(path, task, question.image_hw)
        wanted = Made(task=task.digest, pictures=self._digests.of(question))
        if self._method is not None:
            wanted = made_by(self._method.info, task, pictures=wanted.pictures)
        elif self._first is not None:
            first = self._first
            wanted = Made(
                task=wanted.task,
                pictures=wanted.pictures,
                method=first.method,
                weights=first.weights,
                options=first.options,
            )
        other = difference(made, wanted)
        if other is not None:
            raise InputError(
                f"{path}: was made {other}; predict it again (`--again`) or write it again"
            )
        self._first = self._first or made
        return answer, made


class _Trivial:
    """Answers worked out when they are scored, which takes less than to read them."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def answer(self, question: Question) -> tuple[Answer, Made] | None:
        """That of the method."""
        return self._method.answer(question), made_by(self._method.info, question.task)
