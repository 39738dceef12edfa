"""One run of protocols: predictions to files, scores from files, results and tables."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dynapoint.errors import ConfigError, InputError, OutputError
from dynapoint.evaluation.harness.gate import Baseline, check_comparable
from dynapoint.evaluation.harness.pictures import PictureDigests
from dynapoint.evaluation.harness.plan import Opened, Plan, plan_of
from dynapoint.evaluation.harness.predicting import method_folder, predict
from dynapoint.evaluation.harness.result import Result, facts_of, result_of, write_result
from dynapoint.evaluation.harness.rows import rows_of
from dynapoint.evaluation.harness.scoring import score
from dynapoint.evaluation.harness.tables import (
    Table,
    has_variants,
    is_tall,
    table_of,
    tall,
    to_latex,
    to_markdown,
)
from dynapoint.evaluation.harness.tasks_file import write_tasks
from dynapoint.evaluation.methods.method import Method
from dynapoint.evaluation.methods.trivial import trivial_methods
from dynapoint.evaluation.predictions.files import counted_files, prediction_file
from dynapoint.evaluation.protocols.protocol import Protocol
from dynapoint.progress import shown
from dynapoint.whole_file import whole_file

_SUFFIXES = (".json", ".md", ".tex", ".tasks.json")


def evaluate_protocols(
    protocols: Sequence[Protocol],
    data: Mapping[str, Path],
    methods: Sequence[Method],
    output: Path,
    *,
    predictions: Mapping[str, Path] | None = None,
    again: bool = False,
    baselines: Sequence[Baseline] = (),
    only_score: bool = False,
    pass_over: bool = False,
    progress: bool = False,
) -> list[Result]:
    """Answer and score protocols; OUTPUT/PROTOCOL.json, .md and .tex hold what comes of it.

    OUTPUT/PROTOCOL.tasks.json holds all that is asked, for methods that are no part of this.

    Predictions are kept in OUTPUT/predictions/METHOD; those that are there and fit are not made
    again. Each protocol's files are written as soon as it is scored.

    Args:
        protocols: What is asked.
        data: Folders of the sets by key; sets that are not given are left out and named.
        methods: Who is asked.
        output: The folder, made if it is not there.
        predictions: Folders of predictions that others made, by the names of their rows.
        again: Predict anew what is stale or damaged, instead of refusing it.
        baselines: What results will be compared with; those that cannot be are refused first.
        only_score: Predict nothing.
        pass_over: Leave out protocols of which no set is here, instead of refusing them.
        progress: Show on standard error how far it is.

    Raises:
        ConfigError: There is nothing to evaluate, two rows have one name, or a baseline is of a
            protocol that is not run or of other tasks.
        InputError: A file of a set is missing or damaged, a prediction is stale or damaged, or
            a folder of predictions answers none of the tasks.
        OutputError: Nothing can be written.
        ModelError: A network cannot be loaded.
    """
    given = dict(predictions or {})
    _check_rows(methods, given)
    _make_folder(output)
    digests = PictureDigests()
    with shown(progress, name="evaluate"):
        plans = _plans(protocols, Opened(data), baselines, pass_over=pass_over)
        for plan in plans:
            write_tasks(plan, output / f"{plan.protocol.key}.tasks.json")
        _check_folders(plans, given, output)
        if not only_score:
            predict(plans, methods, output, again=again, digests=digests, progress=progress)
        results = []
        for plan in plans:
            result = _score(
                plan, methods, output, given, digests, only_score=only_score, progress=progress
            )
            _write(result, output)
            results.append(result)
    return results


def _plans(
    protocols: Sequence[Protocol],
    opened: Opened,
    baselines: Sequence[Baseline],
    *,
    pass_over: bool,
) -> list[Plan]:
    """What is asked of what is here."""
    if pass_over:
        protocols = [each for each in protocols if any(map(opened.is_given, each.sets))]
        if not protocols:
            there = ", ".join(opened.data)
            found = f"no protocol asks for what is here of {there}" if there else "no data"
            raise ConfigError(f"{found}; give --data SET=PATH (`--protocol list` has the sets)")
    plans = [plan_of(protocol, opened) for protocol in protocols]
    sets = {plan.protocol.key: [facts_of(each) for each in plan.sets] for plan in plans}
    check_comparable(sets, baselines)
    return plans


def files_of(result: Result, output: Path) -> list[Path]:
    """What a run wrote of a protocol, beside predictions."""
    return [output / f"{result.protocol.key}{suffix}" for suffix in _SUFFIXES]


def tables(results: Sequence[Result]) -> str:
    """The tables of results for people."""
    parts = [f"## {each.protocol.key}\n\n{to_markdown(_table(each))}" for each in results]
    return "\n\n".join(parts)


def _table(result: Result, *, wide: bool = False) -> Table:
    table = table_of(result, wide=wide)
    return tall(table, result.protocol.columns) if is_tall(result) else table


def _score(
    plan: Plan,
    methods: Sequence[Method],
    output: Path,
    predictions: Mapping[str, Path],
    digests: PictureDigests,
    *,
    only_score: bool,
    progress: bool,
) -> Result:
    if only_score:
        # Of what was never predicted nothing can be said.
        folders = {method: method_folder(output, method.info.name) for method in methods}
        methods = [method for method in methods if folders[method].is_dir()]
    rows = rows_of(plan, methods, output, predictions, digests, only_score=only_score)
    return result_of(plan, rows, score(plan, rows, progress=progress))


def _write(result: Result, output: Path) -> None:
    """The JSON file and the tables of a protocol."""
    key = result.protocol.key
    write_result(result, output / f"{key}.json")
    table = _table(result)
    words = [f"# {key}", to_markdown(table)]
    latex = [to_latex(table)]
    if has_variants(result):
        wide = _table(result, wide=True)
        words += ["## All variants", to_markdown(wide)]
        latex += ["% All variants", to_latex(wide)]
    for suffix, text in ((".md", "\n\n".join(words)), (".tex", "\n\n".join(latex))):
        with whole_file(output / f"{key}{suffix}") as partial:
            partial.write_text(text + "\n", encoding="utf-8")


def _check_rows(methods: Sequence[Method], predictions: Mapping[str, Path]) -> None:
    """Refuse rows of one name, and folders of predictions without any."""
    names = [method.info.name for method in methods]
    known = {trivial.info.name for trivial in trivial_methods()}
    for name, folder in predictions.items():
        if not name.isprintable():
            raise ConfigError(f"--predictions has a name {name!r}; give one line of plain letters")
        still = {f"{row}, nothing moved" for row in (*names, *predictions)}
        if name in names or name in known or name in still:
            raise ConfigError(f"two rows would be called {name}; give the predictions another name")
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; wanted the predictions of {name}")
        if not counted_files(folder):
            raise InputError(
                f"{folder}: no predictions in it; wanted DATASET/SEQUENCE/NAME.DIGEST.npz "
                "(docs/evaluation.md)"
            )


def _check_folders(plans: Sequence[Plan], predictions: Mapping[str, Path], output: Path) -> None:
    """Refuse folders of predictions that answer nothing of what is asked."""
    tasks = [task for plan in plans for _, _, task in plan.questions()]
    for folder in predictions.values():
        if not any(prediction_file(folder, task).is_file() for task in tasks):
            raise InputError(
                f"{folder}: none of its {counted_files(folder)} predictions is of a task that is "
                f"asked; {output / plans[0].protocol.key}.tasks.json has the files wanted below it"
            )


def _make_folder(output: Path) -> None:
    """Make the folder of a run, before minutes are spent.

    Raises:
        OutputError: It is a file, or cannot be made or written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be made ({error.strerror or error}); wanted a folder for "
            "predictions and results; name another"
        ) from error
    if not os.access(output, os.W_OK):
        raise OutputError(f"{output}: not writable; name another folder")
