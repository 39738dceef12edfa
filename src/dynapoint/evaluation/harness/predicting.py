"""The first step: a method's answers to all tasks, as files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dynapoint.errors import DynapointError, InputError
from dynapoint.evaluation.environment import environment, machine, measured
from dynapoint.evaluation.harness.pictures import PictureDigests
from dynapoint.evaluation.harness.plan import Plan
from dynapoint.evaluation.methods.method import Method, MethodInfo, Question
from dynapoint.evaluation.predictions.files import (
    check_answer,
    prediction_file,
    read_made,
    safe_name,
    save_prediction,
)
from dynapoint.evaluation.predictions.made import Made, difference
from dynapoint.evaluation.protocols.task import Task
from dynapoint.progress import steps

FOLDER = "predictions"


def method_folder(output: Path, name: str) -> Path:
    """Where the predictions of a method lie in the folder of a run."""
    return output / FOLDER / safe_name(name)


def need_predictions(output: Path, name: str) -> None:
    """Refuse to score a method that was never asked.

    Raises:
        InputError: The folder of a run has no predictions of a method of this name.
    """
    folder = method_folder(output, name)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; wanted the predictions of {name}; leave --only-score out, "
            "or name the folder of an earlier run (-o)"
        )


def predict(
    plans: Sequence[Plan],
    methods: Sequence[Method],
    output: Path,
    *,
    again: bool = False,
    digests: PictureDigests | None = None,
    progress: bool = False,
) -> None:
    """Answer all tasks that have no answer yet; each answer is a file when it is there.

    Args:
        plans: What is asked. Protocols that ask the same task share its answer.
        methods: Who is asked, each of all tasks before the next.
        output: The folder of the run.
        again: Predict anew what does not fit or is damaged, instead of refusing it.
        digests: Those of pictures that are known.
        progress: Show on standard error how far it is.

    Raises:
        InputError: A prediction that is there is stale or damaged, or a file of a set is.
        OutputError: An answer cannot be written; those before it stay.
        DynapointError: A method cannot go on.
    """
    known = PictureDigests() if digests is None else digests
    asked = {
        (task.key, task.digest): (truth, task)
        for plan in plans
        for _, truth, task in plan.questions()
    }
    works = [
        _Work(method=method, folder=method_folder(output, method.info.name), again=again)
        for method in methods
    ]
    todo = [(work, truth, task) for work in works for truth, task in asked.values()]
    # What can be refused without a picture is refused before anything is predicted.
    for work, _, task in todo:
        work.check_file(task)
    for work, truth, task in steps(todo, "prediction", wanted=progress):
        work.do(Question(task=task, truth=truth), known)


def made_by(info: MethodInfo, task: Task, *, pictures: str = "") -> Made:
    """What a prediction of a method for a task has to say of itself, where it fits."""
    return Made(
        task=task.digest,
        pictures=pictures,
        method=info.name,
        weights=info.weights_sha256,
        options=info.options,
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A method and the folder of its predictions."""

    method: Method
    folder: Path
    again: bool

    def check_file(self, task: Task, pictures: str = "") -> bool:
        """Whether a task has its answer.

        Raises:
            InputError: It has one that does not fit or is damaged, and is not to be redone.
        """
        path = prediction_file(self.folder, task)
        if not path.is_file():
            return False
        try:
            found = read_made(path)
        except InputError:
            if self.again:
                return False
            raise
        other = difference(found, made_by(self.method.info, task, pictures=pictures))
        if other is not None and not self.again:
            raise InputError(
                f"{path}: was made {other}; predict it again with `--again`, or name another "
                "folder (-o)"
            )
        return other is None

    def do(self, question: Question, digests: PictureDigests) -> None:
        """Answer one task unless it is answered.

        Raises:
            DynapointError: As `predict`.
        """
        task, info = question.task, self.method.info
        pictures = digests.of(question)
        if self.check_file(task, pictures):
            return
        # Pictures are read before the clock starts.
        image_hw = question.image_hw
        try:
            with measured() as spent:
                answer = self.method.answer(question)
            check_answer(answer, task, image_hw, where="its answer")
        except DynapointError as error:
            raise type(error)(f"{info.name} on {task.key}: {error}") from error
        here = environment()
        made = replace(
            made_by(info, task, pictures=pictures),
            package=here.package,
            commit=here.commit,
            machine=machine(),
        )
        answer = replace(
            answer,
            seconds=answer.seconds or spent.seconds,
            peak_mib=answer.peak_mib or spent.peak_mib,
        )
        save_prediction(prediction_file(self.folder, task), answer, made)
