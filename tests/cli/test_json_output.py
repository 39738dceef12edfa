"""`--json`: one object on standard output and nothing else, the same numbers as the lines say."""

import json
from pathlib import Path

import numpy as np
import pytest

import dynapoint
from dynapoint import cli
from dynapoint.errors import SceneError
from dynapoint.models import catalog
from dynapoint.models.cards import CARDS
from dynapoint.models.catalog import load_model
from dynapoint.models.nano.weights import load_network
from dynapoint.results.checks import check, check_lines, read_check
from dynapoint.results.on_disk import store
from dynapoint.training import run
from fake_model import FakeModel, picture_array
from test_open import weights_of
from test_training_trainer import toy_config
from video_files import write_video


@pytest.fixture
def small(monkeypatch) -> None:
    """A stand-in for the network."""
    monkeypatch.setattr(catalog, "load_model", lambda *_, **__: FakeModel(32))


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A scene that can be asked more."""
    folder = tmp_path_factory.mktemp("json")
    model = load_model("nano", weights=weights_of("nano", folder))
    dynapoint.reconstruct(picture_array(3, 40, 64), model).save(folder / "scene.4d")
    return folder / "scene.4d"


def said(capsys, *arguments: object, code: int = 0) -> dict:
    """What is on standard output, which must be JSON of one line of text or more."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments), "--json"]) == code
    printed = capsys.readouterr()
    assert printed.err == "" or code
    return json.loads(printed.out)


def test_reconstruct(tmp_path, small, capsys):
    videos = [write_video(tmp_path / f"{name}.mp4", frames=30) for name in "ab"]
    (tmp_path / "c.mp4").write_bytes(b"no video" * 99)
    out = tmp_path / "out"
    words = ("reconstruct", *videos, tmp_path / "c.mp4", "-o", out, "--json-full")
    facts = said(capsys, *words, code=1)
    assert [scene["input"] for scene in facts["scenes"]] == ["a.mp4", "b.mp4"]
    assert [failed["input"] for failed in facts["failed"]] == ["c.mp4"]
    first = facts["scenes"][0]
    assert first["scene"] == str(out / "a.4d") and first["frames"] == 24
    assert sorted(map(Path, first["files"])) == sorted(
        path for path in (out / "a.4d").rglob("*") if path.is_file()
    )
    assert "24 of 30 frames used" in first["note"]
    spent = dict(first["seconds"])
    assert spent.pop("in all") == pytest.approx(sum(spent.values())) and len(spent) == 7
    again = said(capsys, "reconstruct", *videos, "-o", out)
    assert [scene["skipped"] for scene in again["scenes"]] == [True, True]


def test_one_scene_fits_a_screen(tmp_path, small, capsys):
    video = write_video(tmp_path / "a.mp4", frames=24)
    facts = said(capsys, "reconstruct", video, "-o", tmp_path / "out")
    assert len(json.dumps(facts, indent=2).splitlines()) <= 30
    (scene,) = facts["scenes"]
    on_disk = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert scene["files"] == len(on_disk)
    assert scene["bytes"] == sum(path.stat().st_size for path in on_disk)
    assert Path(scene["contact_sheet"]).is_file() and set(scene["self_check"]) == {"grade", "lines"}


def test_a_line_for_each_scene_as_it_is_there(tmp_path, small, capsys):
    videos = [write_video(tmp_path / f"{name}.mp4", frames=3) for name in "ab"]
    (tmp_path / "c.mp4").write_bytes(b"no video" * 99)
    out = str(tmp_path / "out")
    words = ["reconstruct", str(videos[0]), str(tmp_path / "c.mp4"), str(videos[1]), "-o", out]
    assert cli.main([*words, "--json-lines"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["input"] for line in lines] == ["a.mp4", "c.mp4", "b.mp4"]
    assert "error" in lines[1] and lines[0]["skipped"] is False and lines[0]["frames"] == 3
    assert cli.main([*words, "--json-lines"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("skipped") for line in lines] == [True, True, None]
    assert cli.main([*words, "--json-lines", "--json"]) == 2


def test_the_end_says_where_files_are_how_far_to_trust_and_what_nano_is(tmp_path, small, capsys):
    video = write_video(tmp_path / "a.mp4", frames=6)
    assert cli.main(["reconstruct", str(video), "-o", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    rec = dynapoint.reconstruct(video, FakeModel(32))
    expected = check_lines(check(rec))
    assert expected[0].startswith("trust 0.") and expected[0] in lines[1]
    assert f"{tmp_path / 'out' / 'contact_sheet.png'}" in lines[-3]
    assert f"`dynapoint view {tmp_path / 'out'}`" in lines[-2]
    assert "not to measure" in lines[-1] and "models get vdpm" in lines[-1]
    assert "get da3-small (0.1 GB, Apache-2.0): about " in lines[-1]
    stored = read_check(tmp_path / "out")
    assert stored["lines"] == expected and stored["signals"]["still_drift"] == 0
    assert "self_check.json" in store.read_arrays(tmp_path / "out").manifest.files
    assert cli.main(["info", str(tmp_path / "out")]) == 0
    assert f"self-check: {expected[0]}" in capsys.readouterr().out.splitlines()
    assert said(capsys, "info", tmp_path / "out")["self_check"] == stored
    (tmp_path / "out" / "self_check.json").write_text("{")
    with pytest.raises(SceneError, match=r"self_check\.json is damaged"):
        read_check(tmp_path / "out")
    (tmp_path / "out" / "self_check.json").unlink()
    assert cli.main(["info", str(tmp_path / "out")]) == 1
    assert "self_check.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames_have_a_self_check_too(tmp_path, small, count, capsys):
    video = write_video(tmp_path / "a.mp4", frames=count)
    assert cli.main(["reconstruct", str(video), "-o", str(tmp_path / "out")]) == 0
    found = read_check(tmp_path / "out")
    if count > 1:
        assert 0 <= found["grade"] <= 1
        return
    # Nothing can contradict a single picture.
    assert found["grade"] is None and found["lines"][0].startswith("no grade")
    capsys.readouterr()
    assert cli.main(["info", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "no grade" in printed and "trust" not in printed and "one camera" in printed
    assert said(capsys, "info", tmp_path / "out")["self_check"]["grade"] is None


def test_all_other_frames_come_in_one_pass_to_be_checked():
    rec = dynapoint.reconstruct(picture_array(9, 24, 32), FakeModel(32))
    asked = []
    decode = rec.decoder.decode
    rec.decoder.decode = lambda frames, time, **options: (
        asked.append((list(frames), time)) or decode(frames, time, **options)
    )
    check(rec)
    assert asked == [([0], time) for time in (2, 3, 5, 6, 8)] + [([2, 3, 5, 6, 8], 0)]


ANSWERS = {
    "tracks": ["--every", 8],
    "flow": ["--to-time", 2],
    "segment": ["--to-time", 1],
    "match": [],
    "objects": [],
    "fuse": ["--max-points", 300],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(scene, tmp_path, capsys, name):
    facts = said(capsys, name, scene, *ANSWERS[name], "-o", tmp_path / "answer")
    path = tmp_path / "answer.npz"
    assert facts["files"] == [str(path)] and facts["bytes"] == path.stat().st_size
    assert facts["answer"] == name
    with np.load(path) as arrays:
        numbers = {
            "tracks": lambda: {"tracks": arrays["points"].shape[1], "times": 3, "unknown": 0},
            "flow": lambda: {"valid_share": arrays["valid"].mean()},
            "segment": lambda: {"moving_share": (arrays["probability"] > 0.5).mean()},
            "match": lambda: {"matched_share": (arrays["valid"] & arrays["mutual"]).mean()},
            "objects": lambda: {"objects": arrays["instance"].max()},
            "fuse": lambda: {"points": len(arrays["points"]), "frames": 3},
        }[name]()
    for key, number in numbers.items():
        assert facts[key] == pytest.approx(float(number))


def test_exports(scene, tmp_path, capsys):
    one = said(capsys, "export", scene, "--to", "tum", "-o", tmp_path / "way")
    assert one["files"] == [str(tmp_path / "way.txt")]
    assert one["bytes"] == (tmp_path / "way.txt").stat().st_size
    many = said(capsys, "export", scene, "--to", "depth", "-o", tmp_path / "depth")
    assert many["output"] == str(tmp_path / "depth")
    listed = {Path(file).relative_to(tmp_path / "depth").as_posix() for file in many["files"]}
    assert listed >= {"export.json"} and len(listed) >= 4


def test_models(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DYNAPOINT_HOME", str(tmp_path))
    for words in (["models"], ["models", "list"]):
        listed = {model["name"]: model for model in said(capsys, *words)["models"]}
        assert set(listed) == set(CARDS)
    nano, vdpm = listed["nano-2"], listed["vdpm"]
    assert nano["short_names"] == ["nano"] and nano["how_to_get"] is None
    assert nano["bytes"] == Path(nano["file"]).stat().st_size and nano["free"]
    assert vdpm["file"] is None and "models get vdpm" in vdpm["how_to_get"] and not vdpm["free"]
    for words in (["models", "get", "nano"], ["models", "--json", "get", "nano"]):
        got = said(capsys, *words) if "--json" not in words else said_as_is(capsys, *words)
        assert got == {"model": nano, "files": [nano["file"]]}
    assert cli.main(["models", "get", "vdpm", "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and "accept-license" in printed.err


def said_as_is(capsys, *arguments: str) -> dict:
    """`said` where the option is among the arguments."""
    capsys.readouterr()
    assert cli.main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_synth_and_evaluate(tmp_path, small, capsys):
    options = "--clips 2 --seed 1000000000 --height 48 --width 64 --frames 3".split()
    made = said(capsys, "synth", "-o", tmp_path / "clips", *options)
    assert made["clips"] == [str(tmp_path / "clips" / f"clip_00{index}") for index in (0, 1)]
    assert made["seed"] == 1000000000 and made["output"] == str(tmp_path / "clips")
    on_disk = [path for path in (tmp_path / "clips").rglob("*") if path.is_file()]
    assert sorted(map(Path, made["files"])) == sorted(on_disk)
    assert made["bytes"] == sum(path.stat().st_size for path in on_disk)
    scores = said(capsys, "evaluate", tmp_path / "clips", "-o", tmp_path / "scores.json")
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert scores["rows"] == stored["rows"] and scores["metrics"] == stored["metrics"]
    assert scores["files"] == [str(tmp_path / "scores.json")]
    assert scores["clips"] == str(tmp_path / "clips")
    assert {"nano", "truth"} <= set(scores["rows"])
    assert scores["rows"]["truth"]["pooled"]["own_time_epe_m2"] == pytest.approx(0, abs=1e-6)
    again = said(capsys, "evaluate", tmp_path / "clips")
    assert again["files"] == [] and again["metrics"] == scores["metrics"]


def test_train(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "find_recipe", lambda name: toy_config(validation_clips=0))
    facts = said(capsys, "train", "smoke", "-o", tmp_path / "run", "--steps", 1)
    assert facts["recipe"] == "smoke" and facts["changed"] == {"steps": 1}
    assert facts["output"] == str(tmp_path / "run")
    assert facts["weights"] == str(tmp_path / "run" / "weights.safetensors")
    assert facts["weights"] in facts["files"]
    assert load_network(Path(facts["weights"])) is not None
