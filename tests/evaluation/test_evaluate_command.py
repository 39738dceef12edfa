"""`dynapoint evaluate` from the command line: protocols, the engine's clips, errors of one line."""

import json
import sys
from types import SimpleNamespace

import pytest

from dynapoint import cli
from dynapoint.errors import OutputError
from dynapoint.evaluation import held_out
from dynapoint.evaluation.harness import predicting
from dynapoint.evaluation.methods import known
from dynapoint.evaluation.methods.network import NetworkMethod
from fake_model import FakeModel
from made_up_set import PROTOCOL, made_up

__all__ = ["made_up"]


def run(*words) -> int:
    return cli.main(["evaluate", *map(str, words)])


def said(capsys, *words):
    capsys.readouterr()
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def line(capsys, *words, code=1) -> str:
    """The one line of an evaluation that is refused."""
    capsys.readouterr()
    assert run(*words) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    (last,) = [each for each in printed.err.splitlines() if each.startswith("dynapoint: ")]
    return last


@pytest.fixture
def fake(monkeypatch):
    """The network `nano` is a fake; a list of what was asked of it."""
    asked = []

    class Fake(NetworkMethod):
        def __init__(self, model, *, name, weights):
            super().__init__(FakeModel(), name=name)

        def answer(self, question):
            asked.append(question.task.key)
            return super().answer(question)

    monkeypatch.setattr(known, "NetworkMethod", Fake)
    return asked


def options(made_up, tmp_path):
    return ("--protocol", PROTOCOL.key, "--data", f"made-up={made_up}", "-o", tmp_path / "out")


def test_a_protocol_from_pictures_to_tables(made_up, tmp_path, fake, capsys):
    assert run(*options(made_up, tmp_path)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"## {PROTOCOL.key}\n\n| ")
    for row in (
        "| Theirs (paper) ",
        "| nano ",
        "| nano, nothing moved ",
        "| flat scene ",
        "| truth ",
    ):
        assert row in printed
    assert "Missing: Sintel is not given" in printed and len(fake) == 6
    written = {path.name for path in (tmp_path / "out").iterdir()}
    suffixes = (".json", ".md", ".tex", ".tasks.json")
    assert written == {"predictions", *(f"{PROTOCOL.key}{suffix}" for suffix in suffixes)}
    facts = said(capsys, *options(made_up, tmp_path))
    assert len(fake) == 6, "what is there is not asked again"
    assert len(facts["files"]) == 4 and facts["regressions"] == []
    (result,) = facts["results"]
    assert result == json.loads((tmp_path / "out" / f"{PROTOCOL.key}.json").read_text())
    cells = {(each["method"], each["metric"]): each["value"] for each in result["pooled"]}
    assert cells["truth", "points"] == pytest.approx(0, abs=1e-6)
    assert cells["nano", "points"] > 0.01


def test_the_gate(made_up, tmp_path, fake, capsys):
    words = options(made_up, tmp_path)
    assert run(*words) == 0
    base = tmp_path / "base.json"
    told = json.loads((tmp_path / "out" / f"{PROTOCOL.key}.json").read_text())
    base.write_text(json.dumps(told))
    assert run(*words, "--gate", base) == 0
    assert "nothing is worse than before" in capsys.readouterr().out
    for each in told["pooled"]:
        if (each["method"], each["metric"]) == ("nano", "tracks"):
            each["value"] *= 0.9
    base.write_text(json.dumps(told))
    assert run(*words, "--gate", base) == 1
    printed = capsys.readouterr().out
    assert (
        "worse by more than 2%:" in printed and f"{PROTOCOL.key}: nano, Made-up, tracks" in printed
    )
    assert run(*words, "--gate", base, "--tolerance", "20%") == 0
    capsys.readouterr()
    assert run(*words, "--gate", base, "--json") == 1
    (line_of_json,) = json.loads(capsys.readouterr().out)["regressions"]
    assert line_of_json.startswith(f"{PROTOCOL.key}: nano, Made-up, tracks")


def test_scoring_alone_and_predictions_of_others(made_up, tmp_path, fake, capsys):
    words = options(made_up, tmp_path)
    facts = said(capsys, *words, "--only-score")
    rows = [each["name"] for each in facts["results"][0]["methods"]]
    assert rows == ["flat scene", "true geometry, nothing moved", "truth"] and fake == []
    assert run(*words) == 0
    folder = tmp_path / "out" / "predictions" / "nano"
    facts = said(capsys, *words[:-1], tmp_path / "other", "--predictions", f"mine={folder}")
    rows = [each["name"] for each in facts["results"][0]["methods"]]
    assert rows[:2] == ["mine", "mine, nothing moved"] and "nano" not in rows
    assert len(fake) == 6


def test_protocols_are_listed_with_what_they_need(made_up, tmp_path, capsys):
    assert run("--protocol", "list", "--data", f"made-up={made_up}") == 0
    printed = capsys.readouterr().out
    assert f"{PROTOCOL.key}: how far things are" in printed and "nobody, table 1" in printed
    assert "Made-up (made-up, all): 2 of 2 sequences are here" in printed
    assert "Sintel (sintel, final): not given" in printed
    assert "made-up: a folder with one .clip file" in printed
    (told,) = said(capsys, "--protocol", "list", "--data", f"sintel={tmp_path / 'no'}")["protocols"]
    assert told["protocol"] == PROTOCOL.key and [each["here"] for each in told["sets"]] == [0, 0]
    assert "no such folder" in told["sets"][1]["status"]


def test_what_has_to_be_installed_is_listed(made_up, monkeypatch, capsys):
    from dataclasses import replace

    from dynapoint.evaluation.harness import listing

    module = sys.modules["dynapoint.datasets.made_up_sintel"]
    module.CARD = replace(module.CARD, extra="datasets")
    assert run("--protocol", "list") == 0
    printed = capsys.readouterr().out
    assert "sintel: dynapoint[datasets] and training/final/SEQUENCE" in printed
    assert "not given; install" not in printed
    monkeypatch.setattr(listing, "find_spec", lambda name: None)
    assert run("--protocol", "list") == 0
    assert "Sintel (sintel, final): not given; install dynapoint[datasets]" in (
        capsys.readouterr().out
    )


def test_stale_predictions_are_redone_on_demand(made_up, tmp_path, fake, capsys):
    words = options(made_up, tmp_path)
    assert run(*words) == 0 and len(fake) == 6
    (made_up / "8.clip").rename(made_up / "7.clip")
    assert "was made of other pictures" in line(capsys, *words)
    assert run(*words, "--again") == 0 and len(fake) == 9
    assert run(*words) == 0 and len(fake) == 9


def test_what_cannot_be_done_is_said_in_a_line(made_up, tmp_path, fake, capsys):
    words, out = options(made_up, tmp_path), ("-o", tmp_path / "out")
    key = ("--protocol", PROTOCOL.key)
    assert "no protocol 'made-up-tabel'; did you mean made-up-table?" in line(
        capsys, "--protocol", "made-up-tabel", *words[2:]
    )
    assert "there is no data set 'moon'; there are made-up, sintel" in line(
        capsys, *key, "--data", "moon=x", *out
    )
    assert f"no data for {PROTOCOL.key}: Made-up is not given" in line(capsys, *key, *out)
    assert "no such folder; wanted a folder with one .clip" in line(
        capsys, *key, "--data", f"made-up={tmp_path / 'none'}", *out
    )
    assert "no method 'nonsense'; there are nano" in line(capsys, *words, "--model", "nonsense")
    assert "cannot be read" in line(capsys, *words, "--gate", tmp_path / "none.json")
    assert "give a share such as 2%" in line(capsys, *words, "--tolerance", "lots")
    assert "--predictions is 'x'; give NAME=PATH" in line(capsys, *words, "--predictions", "x")
    assert fake == []


def test_what_cannot_be_compared_or_scored_is_said_before_it_is_predicted(
    made_up, tmp_path, fake, capsys
):
    words, out = options(made_up, tmp_path), tmp_path / "out"
    assert run(*words, "--model", "truth") == 0
    told = json.loads((out / f"{PROTOCOL.key}.json").read_text())
    base = tmp_path / "base.json"
    base.write_text(json.dumps(told | {"protocol": "another"}))
    assert "is of another, which is not run" in line(capsys, *words, "--gate", base)
    told["sets"][0]["tasks_sha256"] = "0"
    base.write_text(json.dumps(told))
    assert "had other tasks than now" in line(capsys, *words, "--gate", base)
    empty = tmp_path / "theirs" / "set" / "sequence"
    empty.mkdir(parents=True)
    (empty / "pair-0.00000000.npz").touch()
    refused = line(capsys, *words, "--model", "nano", "--predictions", f"x={tmp_path / 'theirs'}")
    assert "none of its 1 predictions is of a task that is asked" in refused
    assert f"{out / PROTOCOL.key}.tasks.json has the files wanted" in refused
    assert fake == []


def test_rows_have_names_of_their_own(made_up, tmp_path, fake, capsys):
    words = options(made_up, tmp_path)
    assert run(*words) == 0
    theirs = tmp_path / "out" / "predictions" / "nano"
    for name in ("truth", "flat scene", "mine, nothing moved"):
        more = ("--predictions", f"mine={theirs}", f"{name}={theirs}")
        assert f"two rows would be called {name};" in line(capsys, *words, *more)
    assert "give one line" in line(capsys, *words, "--predictions", f"a\nb={theirs}")


def test_a_method_that_was_never_asked_is_not_scored(made_up, tmp_path, fake, capsys):
    words = (*options(made_up, tmp_path), "--only-score")
    wanted = f"{tmp_path / 'out' / 'predictions' / 'truth'}: no such folder; wanted the predictions"
    assert wanted in line(capsys, *words, "--model", "truth")
    assert not (tmp_path / "out").exists()


def test_sets_that_no_protocol_asks_for_are_named(made_up, tmp_path, fake, capsys):
    words = ("--protocol", "all", "-o", tmp_path / "out")
    assert "no data; give --data SET=PATH" in line(capsys, *words)
    (tmp_path / "empty").mkdir()
    assert "no protocol asks for what is here of made-up; give" in line(
        capsys, *words, "--data", f"made-up={tmp_path / 'empty'}"
    )


def test_wrong_usage(made_up, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "needs CLIPS, the word synthetic, or --protocol KEY" in line(capsys, code=2)
    assert "need -o/--output OUT" in line(capsys, "--protocol", PROTOCOL.key, code=2)
    assert "need -o/--output OUT" in line(capsys, "synthetic", code=2)
    both = ("--protocol", PROTOCOL.key, "-o", "out", "--again", "--only-score")
    assert "--only-score predicts nothing; give one" in line(capsys, *both, code=2)
    assert "--data does not go with CLIPS" in line(capsys, "clips", "--data", "a=b", code=2)
    assert "--protocol does not go with the word synthetic" in line(
        capsys, "synthetic", "-o", "out", "--protocol", PROTOCOL.key, code=2
    )
    assert list(tmp_path.glob("out*")) == []


def test_a_full_disk_and_an_interruption_keep_what_is_finished(
    made_up, tmp_path, fake, capsys, monkeypatch
):
    save = predicting.save_prediction

    def stops_with(error, after):
        left = [after]

        def saves(path, answer, made):
            if not left[0]:
                raise error
            left[0] -= 1
            save(path, answer, made)

        monkeypatch.setattr(predicting, "save_prediction", saves)

    words = options(made_up, tmp_path)
    stops_with(OutputError("out cannot be written (No space left on device); make room"), 2)
    assert "No space left on device" in line(capsys, *words)
    stops_with(KeyboardInterrupt(), 1)
    assert run(*words) == 130
    monkeypatch.setattr(predicting, "save_prediction", save)
    assert len(list((tmp_path / "out").rglob("*.npz"))) == 3 and len(fake) == 3 + 2
    assert run(*words) == 0 and len(fake) == 5 + 3
    assert "Traceback" not in capsys.readouterr().err


def test_the_engines_clips_are_made_and_scored(made_up, tmp_path, fake, capsys, monkeypatch):
    """The word stands for a protocol of its name on clips that are made in the output."""
    from dataclasses import replace

    from dynapoint.datasets import registry as datasets

    monkeypatch.setattr(held_out, "_make", lambda subset, index, path: path.mkdir())
    made_up_synthetic = replace(
        PROTOCOL, key="synthetic", sets=(replace(PROTOCOL.sets[0], dataset="clips"),)
    )
    module = SimpleNamespace(PROTOCOLS=(PROTOCOL, made_up_synthetic))
    monkeypatch.setitem(sys.modules, "dynapoint.evaluation.protocols.made_up", module)
    monkeypatch.setitem(datasets.READERS, "clips", "made_up_clips")
    opened = []

    def open_folder(root, split):
        opened.append((root, split))
        return sys.modules["dynapoint.datasets.made_up"].CARD.open_folder(made_up, split)

    card = replace(
        sys.modules["dynapoint.datasets.made_up"].CARD, key="clips", open_folder=open_folder
    )
    monkeypatch.setitem(sys.modules, "dynapoint.datasets.made_up_clips", SimpleNamespace(CARD=card))
    assert run("synthetic", "-o", tmp_path / "out") == 0
    assert opened == [(tmp_path / "out" / "clips", "all")]
    assert "## synthetic" in capsys.readouterr().out
    assert len(fake) == 6
