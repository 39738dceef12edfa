"""Digests of the pictures that tasks show, each worked out once in a run."""

from dynapoint.evaluation.methods.method import Question
from dynapoint.evaluation.predictions.made import pictures_digest


class PictureDigests:
    """Remembers what it worked out by set, sequence and frames."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, tuple[int, ...]], str] = {}

    def of(self, question: Question) -> str:
        """The digest of a question's pictures, which are read unless it is known.

        Raises:
            InputError: A picture is missing or damaged.
        """
        task = question.task
        shown = task.dataset, task.sequence, task.frames
        if shown not in self._known:
            self._known[shown] = pictures_digest(question.images)
        return self._known[shown]
