"""Runs of protocols: predictions to files, scores from files, results, tables and the gate."""

import json
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from dynapoint.errors import ConfigError, InputError, ModelError, OutputError
from dynapoint.evaluation.harness.gate import read_baseline, regressions, tolerance_of
from dynapoint.evaluation.harness.held_truth import HeldTruth
from dynapoint.evaluation.harness.plan import Opened, plan_of
from dynapoint.evaluation.harness.predicting import method_folder
from dynapoint.evaluation.harness.run import evaluate_protocols
from dynapoint.evaluation.harness.scoring import TaskScore, pool, pooled
from dynapoint.evaluation.methods.method import MethodInfo
from dynapoint.evaluation.methods.truth import TruthMethod
from dynapoint.evaluation.predictions.files import prediction_file, read_made, write_prediction
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.registry import protocol_of
from dynapoint.evaluation.protocols.task import Answer
from engine_sequence import EngineSequence, true_answer
from made_up_set import NAMES, PROTOCOL, made_up
from miniatures.engine_clip import engine_clip
from miniatures.tapvid3d import write_miniature

__all__ = ["made_up"]


class Counting:
    """The truth moved by a step, as a method that counts how often it is asked."""

    def __init__(self, name="moved", *, by=0.5, weights="", options="", fails_at=None):
        self.info = MethodInfo(name=name, weights_sha256=weights, options=options)
        self.asked: list[str] = []
        self.by, self.fails_at = by, fails_at

    def answer(self, question):
        if len(self.asked) == self.fails_at:
            raise self.error
        self.asked.append(question.task.key)
        truth = true_answer(question.task, question.truth)
        moved = {"points": truth.points, "depth": truth.depth}
        return replace(
            truth, **{k: None if v is None else v + np.float32(self.by) for k, v in moved.items()}
        )

    error: BaseException = KeyboardInterrupt()


def run(made_up, output, *methods, **options):
    return evaluate_protocols([PROTOCOL], {"made-up": made_up}, methods, output, **options)[0]


def tasks_of(made_up):
    return [task for _, _, task in plan_of(PROTOCOL, Opened({"made-up": made_up})).questions()]


def values(result, row):
    return {
        cell.metric: cell.value
        for cell in result.cells
        if cell.method == row and cell.set_title == "Made-up"
    }


# ---- predicting and scoring ----------------------------------------------------------------


def test_the_truth_is_perfect_through_files(made_up, tmp_path):
    result = run(made_up, tmp_path / "out", TruthMethod(), Counting())
    files = sorted((tmp_path / "out" / "predictions" / "truth").rglob("*.npz"))
    assert len(files) == len(tasks_of(made_up)) == 6
    for metric, value in values(result, "truth").items():
        assert value == pytest.approx(0, abs=1e-6), metric
    moved = values(result, "moved")
    assert moved["points"] == pytest.approx(0.5, abs=1e-5)
    assert moved["depth"] == pytest.approx(0.5, abs=1e-5)
    assert moved["world_from_camera"] == pytest.approx(0, abs=1e-12)
    assert values(result, "flat scene")["points"] > 0.1
    still = values(result, "true geometry, nothing moved")
    assert 0 < still["points"] < values(result, "flat scene")["points"]
    assert values(result, "moved, nothing moved")["points"] > 0.4
    assert result.rows == (
        "truth",
        "moved",
        "moved, nothing moved",
        "flat scene",
        "true geometry, nothing moved",
    )


def test_a_second_run_asks_for_what_is_missing_alone(made_up, tmp_path):
    first, output = Counting(), tmp_path / "out"
    run(made_up, output, first)
    assert len(first.asked) == 6
    task = tasks_of(made_up)[4]
    prediction_file(method_folder(output, "moved"), task).unlink()
    second = Counting()
    result = run(made_up, output, second)
    assert second.asked == [task.key]
    assert values(result, "moved")["points"] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ModelError("memory does not suffice")])
def test_what_was_finished_before_a_stop_stays(made_up, tmp_path, error):
    stopped, output = Counting(fails_at=2), tmp_path / "out"
    stopped.error = error
    with pytest.raises(type(error)) as caught:
        run(made_up, output, stopped)
    if isinstance(error, ModelError):
        assert str(caught.value).startswith(f"moved on {tasks_of(made_up)[2].key}: memory")
    again = Counting()
    run(made_up, output, again)
    assert len(again.asked) == 4


STALE = (
    (dict(weights="b" * 64), "with other weights (aaaaaaaa, now bbbbbbbb)"),
    (dict(weights="a" * 64, options="finer"), "with other options (coarse, now finer)"),
)


@pytest.mark.parametrize(("changes", "said"), STALE)
def test_stale_predictions_are_refused_and_redone(made_up, tmp_path, changes, said):
    output = tmp_path / "out"
    run(made_up, output, Counting(weights="a" * 64, options="coarse"))
    changed = Counting(**{"options": "coarse", **changes}, by=1.0)
    with pytest.raises(InputError) as caught:
        run(made_up, output, changed)
    assert said in str(caught.value) and "--again" in str(caught.value)
    assert "\n" not in str(caught.value) and changed.asked == []
    result = run(made_up, output, changed, again=True)
    assert len(changed.asked) == 6
    assert values(result, "moved")["points"] == pytest.approx(1.0, abs=1e-5)


def test_other_pictures_make_predictions_stale(made_up, tmp_path):
    output = tmp_path / "out"
    run(made_up, output, Counting())
    # The first sequence is another clip now, of the same name.
    (made_up / "8.clip").rename(made_up / "7.clip")
    with pytest.raises(InputError, match="other pictures"):
        run(made_up, output, Counting())
    redone = Counting()
    run(made_up, output, redone, again=True)
    assert len(redone.asked) == 3


def test_a_damaged_prediction_is_refused_and_redone(made_up, tmp_path):
    output = tmp_path / "out"
    run(made_up, output, Counting())
    path = prediction_file(method_folder(output, "moved"), tasks_of(made_up)[3])
    path.write_bytes(path.read_bytes()[:200])
    for options in ({}, {"only_score": True}):
        with pytest.raises(InputError, match="damaged") as caught:
            run(made_up, output, Counting(), **options)
        assert str(path) in str(caught.value)
    redone = Counting()
    run(made_up, output, redone, again=True)
    assert len(redone.asked) == 1


def test_scoring_alone_asks_nobody(made_up, tmp_path):
    output = tmp_path / "out"
    before = run(made_up, output, Counting(weights="a"))
    other = Counting(weights="b")
    after = run(made_up, output, other, only_score=True)
    assert other.asked == [] and values(after, "moved") == values(before, "moved")
    # Files of two kinds would be no method's.
    task = tasks_of(made_up)[1]
    prediction_file(method_folder(output, "moved"), task).unlink()
    run(made_up, tmp_path / "else", other)
    source = prediction_file(method_folder(tmp_path / "else", "moved"), task)
    source.rename(prediction_file(method_folder(output, "moved"), task))
    with pytest.raises(InputError, match="other weights"):
        run(made_up, output, other, only_score=True)
    # Who was never asked has no row.
    assert "new" not in run(made_up, tmp_path / "else", Counting("new"), only_score=True).rows


def test_predictions_say_where_they_come_from(made_up, tmp_path):
    run(made_up, tmp_path / "out", Counting(weights="a", options="x=1"))
    made = read_made(
        prediction_file(method_folder(tmp_path / "out", "moved"), tasks_of(made_up)[0])
    )
    assert (made.method, made.weights, made.options) == ("moved", "a", "x=1")
    assert made.package.startswith("dynapoint ") and made.machine and made.seconds > 0
    assert len(made.pictures) == 64


def test_an_answer_of_another_shape_is_refused_before_it_is_written(made_up, tmp_path):
    class Wrong(Counting):
        def answer(self, question):
            return Answer(points=np.zeros((4, 2, 2, 3), np.float32))

    with pytest.raises(InputError, match=r"points has shape \(4, 2, 2, 3\); wanted \(4, 6, 8, 3\)"):
        run(made_up, tmp_path / "out", Wrong())
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_predictions_of_others_are_scored_beside(made_up, tmp_path):
    theirs = tmp_path / "theirs"
    for _, truth, task in plan_of(PROTOCOL, Opened({"made-up": made_up})).questions():
        if task.name == "pair-2" and truth.name == NAMES[1]:
            continue
        images = np.stack([truth.image(frame) for frame in task.frames])
        answer = true_answer(task, truth)
        if answer.points is not None:
            answer = replace(answer, points=answer.points + np.float32(0.25))
        write_prediction(theirs, task, images, answer, method="theirs 1.0")
    result = run(made_up, tmp_path / "out", predictions={"theirs": theirs})
    cell = result.cell("theirs", "Made-up", "points")
    assert cell.value == pytest.approx(0.25, abs=1e-5)
    assert (cell.measured, cell.possible, cell.whole) == (3, 4, False)
    assert result.cell("theirs", "Made-up", "depth").whole
    assert "theirs, nothing moved" in result.rows
    text = (tmp_path / "out" / "made-up-table.md").read_text()
    assert "0.250*" in text and "With *: theirs answered 3 of 4 tasks of Made-up" in text
    with pytest.raises(ConfigError, match="two rows would be called truth"):
        run(made_up, tmp_path / "out", predictions={"truth": theirs})
    (tmp_path / "empty").mkdir()
    for wrong, said in (
        (tmp_path / "empty", "no predictions"),
        (tmp_path / "no", "no such folder"),
    ):
        with pytest.raises(InputError, match=said):
            run(made_up, tmp_path / "out", predictions={"theirs": wrong})


def test_an_answer_that_says_nothing_counts_nowhere(made_up, tmp_path):
    class Silent(Counting):
        def answer(self, question):
            return Answer() if question.task.name == "pair-0" else super().answer(question)

    result = run(made_up, tmp_path / "out", Silent())
    cell = result.cell("moved", "Made-up", "points")
    assert (cell.measured, cell.possible) == (2, 4)


def test_a_held_sequence_says_the_same_and_reads_once():
    asked = []

    class Noted(EngineSequence):
        def __getattribute__(self, name):
            if name in QUESTIONS:
                asked.append(name)
            return super().__getattribute__(name)

    plain, noted = EngineSequence(engine_clip()), Noted(engine_clip())
    held = HeldTruth(noted)
    asked.clear()
    assert (held.name, held.holds, held.image_hw) == (plain.name, plain.holds, plain.image_hw)
    for again in (False, True):
        if again:
            assert set(asked) == set(QUESTIONS)
            asked.clear()
        for name, arguments in QUESTIONS.items():
            one, two = (getattr(each, name)(*arguments) for each in (held, plain))
            if name == "tracks":
                one, two = one.xyz, two.xyz
            np.testing.assert_array_equal(one, two)
    # Pictures, which are large and which no scorer looks at, are not kept.
    assert set(asked) - {"object_poses", "tracks"} == {"image"}
    assert held.tracks() is held.tracks() and held.object_poses() is held.object_poses()
    assert not np.array_equal(held.points(2, 4), held.points(2, 2))
    assert not np.array_equal(held.depth(3), held.depth(0))


QUESTIONS = {
    "image": (1,),
    "intrinsics": (2,),
    "world_from_camera": (3,),
    "depth": (3,),
    "points": (2, 4),
    "visible": (1, 5),
    "moving": (2,),
    "instances": (4,),
    "object_poses": (),
    "tracks": (),
}


# ---- what is here --------------------------------------------------------------------------


def test_a_set_that_is_not_given_is_a_dash_and_named_once(made_up, tmp_path):
    result = run(made_up, tmp_path / "out", Counting())
    assert result.cell("moved", "Sintel", "depth") is None
    text = (tmp_path / "out" / "made-up-table.md").read_text()
    assert text.count("Missing: Sintel is not given (--data sintel=PATH, training/final") == 2
    tasks = json.loads((tmp_path / "out" / "made-up-table.tasks.json").read_text())["tasks"]
    assert [each["digest"] for each in tasks] == [task.digest for task in tasks_of(made_up)]
    assert tasks[0]["file"] == prediction_file(Path(), tasks_of(made_up)[0]).as_posix()
    with pytest.raises(ConfigError, match="no data for made-up-table: Made-up is not given"):
        evaluate_protocols([PROTOCOL], {}, [Counting()], tmp_path / "out")


def test_a_split_that_was_not_downloaded_is_a_dash(tmp_path):
    write_miniature(tmp_path, engine_clip())
    (adt,) = (tmp_path / "adt").iterdir()
    adt.unlink()
    drive, aria, studio = plan_of(protocol_of("tapvid3d"), Opened({"tapvid3d": tmp_path})).sets
    assert drive.task_count and studio.task_count and not aria.task_count
    assert aria.missing.startswith(f"Aria Digital Twin: {tmp_path / 'adt'}: no *.npz in it")
    with pytest.raises(InputError, match="drivetrack: no such folder"):
        plan_of(protocol_of("tapvid3d"), Opened({"tapvid3d": tmp_path / "adt"}))


def test_sequences_that_lack_are_named(made_up, tmp_path):
    which = replace(PROTOCOL.sets[0], sequences=(NAMES[0], "a", "b", "c", "d"))
    result = evaluate_protocols(
        [replace(PROTOCOL, sets=(which,))], {"made-up": made_up}, [Counting()], tmp_path / "out"
    )[0]
    assert result.sets[0].missing == "Made-up lacks 4 of 5 sequences (a, b, c, …)"
    assert result.sets[0].sequences == 1


def test_a_folder_that_cannot_be_made_is_said_first(made_up, tmp_path):
    (tmp_path / "file").touch()
    method = Counting()
    with pytest.raises(OutputError, match="cannot be made"):
        run(made_up, tmp_path / "file" / "out", method)
    assert method.asked == []


# ---- pooling -------------------------------------------------------------------------------


def scores(*rows, method="m"):
    return [
        TaskScore(
            method=method, set_title="S", sequence=sequence, task=str(number), answered=True,
            values=(Measured(metric="x", value=value, weight=weight),),
        )
        for number, (sequence, value, weight) in enumerate(rows)
    ]  # fmt: skip


ROWS = (("a", 1.0, 1.0), ("a", 3.0, 2.0), ("b", 8.0, 3.0), ("b", math.nan, 90.0))


@pytest.mark.parametrize(
    ("how", "expected"),
    [("tasks", 4.0), ("sequences", (2.0 + 8.0) / 2), ("weighted", (1 + 6 + 24) / 6)],
)
def test_numbers_are_pooled_as_columns_say(how, expected):
    column = Column(metric="x", title="x", unit="", better="lower", pooled=how)
    assert pool(scores(*ROWS), column) == pytest.approx(expected)
    assert math.isnan(pool(scores(("a", math.nan, 1.0)), column))
    assert math.isnan(pool([], column))
    assert math.isnan(pool(scores(("a", 1.0, 0.0)), column)) == (how == "weighted")


def test_counts_are_compared_with_the_truths():
    column = Column(metric="x", title="x", unit="", better="lower")
    cells = pooled(scores(*ROWS) + scores(*ROWS[:2], method="truth"), [column])
    assert [(cell.method, cell.measured, cell.possible) for cell in cells] == [
        ("m", 3, 2),
        ("truth", 2, 2),
    ]
    assert [cell.whole for cell in pooled(scores(*ROWS[:1]) + scores(*ROWS, method="truth"),
                                          [column])] == [False, True]  # fmt: skip


# ---- the gate ------------------------------------------------------------------------------


def gate(result, baseline, tolerance=0.02):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "base.json"
        path.write_text(json.dumps(baseline))
        return [str(each) for each in regressions([result], [read_baseline(path)], tolerance)]


@pytest.fixture
def gated(made_up, tmp_path):
    result = run(made_up, tmp_path / "out", Counting())
    return result, json.loads((tmp_path / "out" / "made-up-table.json").read_text())


def changed(baseline, row, metric, **values):
    other = json.loads(json.dumps(baseline))
    for each in other["pooled"]:
        if (each["method"], each["metric"]) == (row, metric):
            each.update(values)
    return other


def test_nothing_is_worse_than_itself(gated):
    assert gate(*gated) == gate(*gated, 0.0) == []


def test_a_number_that_got_worse_is_named(gated):
    result, baseline = gated
    (line,) = gate(result, changed(baseline, "moved", "points", value=0.48))
    assert line == "made-up-table: moved, Made-up, points: 0.48 -> 0.5 (+4.2%)"
    assert gate(result, changed(baseline, "moved", "points", value=0.48), 0.05) == []
    assert gate(result, changed(baseline, "moved", "points", value=0.6)) == []
    assert gate(result, changed(baseline, "moved", "swapped_points", value=-1.0)) == []


def test_a_larger_number_is_better_where_it_is(gated):
    result, baseline = gated
    higher = tuple(
        replace(c, better="higher") if c.metric == "points" else c for c in result.protocol.columns
    )
    result = replace(result, protocol=replace(result.protocol, columns=higher))
    (line,) = gate(result, changed(baseline, "moved", "points", value=0.6))
    assert "0.6 -> 0.5 (-16.7%)" in line
    assert gate(result, changed(baseline, "moved", "points", value=0.4)) == []


def test_the_truth_may_not_get_worse_and_comparisons_may(gated):
    result, baseline = gated
    assert gate(result, changed(baseline, "flat scene", "points", value=0.001)) == []
    assert len(gate(result, changed(baseline, "truth", "points", value=-0.1))) == 1
    # Of changes that no table shows nothing is said.
    assert gate(result, changed(baseline, "truth", "points", value=-5e-5)) == []


def test_what_is_measured_no_more_regresses(gated):
    result, baseline = gated
    (line,) = gate(result, changed(baseline, "moved", "points", measured=5))
    assert line.endswith("was 0.5 and is not measured any more")
    gone = changed(baseline, "moved", "points", method="gone")
    assert any(
        line.startswith("made-up-table: gone, Made-up, points") for line in gate(result, gone)
    )


def test_other_tasks_and_protocols_are_not_compared(gated):
    result, baseline = gated
    other = json.loads(json.dumps(baseline))
    other["sets"][0]["tasks_sha256"] = "0"
    with pytest.raises(ConfigError, match="Made-up had other tasks than now"):
        gate(result, other)
    with pytest.raises(ConfigError, match=r"base\.json is of another, which is not run"):
        gate(result, baseline | {"protocol": "another"})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 9, "protocol": "p"}', '{"clips": 1}']
)
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "base.json").write_text(text)
    with pytest.raises(InputError, match=r"is no result of .* of an earlier run"):
        read_baseline(tmp_path / "base.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_baseline(tmp_path / "none.json")


def test_tolerances():
    assert tolerance_of("2%") == tolerance_of("0.02") == 0.02 and tolerance_of("0") == 0
    for wrong in ("-1%", "much", "nan", "%", "inf"):
        with pytest.raises(ConfigError, match="give a share such as 2%"):
            tolerance_of(wrong)


# ---- results and tables --------------------------------------------------------------------


def test_results_hold_all_that_numbers_depend_on(made_up, tmp_path):
    run(made_up, tmp_path / "out", Counting(weights="a" * 64, options="x=1"))
    told = json.loads((tmp_path / "out" / "made-up-table.json").read_text())
    assert told["alignment"] == "none" and told["choices"] == ["nothing is open"]
    assert set(told["environment"]) >= {"package", "commit", "torch", "processor", "threads"}
    (moved,) = [each for each in told["methods"] if each["name"] == "moved"]
    assert moved["made"][0]["weights_sha256"] == "a" * 64 and moved["made"][0]["options"] == "x=1"
    assert moved["answered"] == moved["tasks"] == 6 and moved["seconds_per_task"] > 0
    rows = [each for each in told["tasks"] if each["method"] == "moved"]
    assert [(row["sequence"], row["task"]) for row in rows] == [
        (name, task) for name in NAMES[:2] for task in ("pair-0", "pair-2", "whole")
    ]
    assert rows[0]["values"]["points"] == pytest.approx(0.5, abs=1e-5)
    assert rows[0]["weights"]["points"] == 4 * 6 * 8 * 3
    assert {each["default"] for each in told["columns"]} == {True, False}
    assert told["paper"][0] == {
        "method": "Theirs", "set_title": "Made-up", "metric": "points", "value": 0.25
    }  # fmt: skip
