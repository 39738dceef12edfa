"""Options that change a recipe: every one reaches the run, which says what was changed."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, fields, replace
from typing import get_args

import pytest
from PIL import Image

from dynapoint import cli
from dynapoint.errors import ConfigError, InputError
from dynapoint.models.tensor_files import read_safetensors
from dynapoint.training import run
from dynapoint.training.changes import changed, resumed
from dynapoint.training.checkpoints import TrainingState, load_state
from dynapoint.training.knobs import Knobs
from dynapoint.training.options import OPTIONS, check_options
from dynapoint.training.recipes import RECIPES, recipe
from dynapoint.training.train_config import TrainConfig
from test_training_trainer import toy_config

CHANGES = [option for option in OPTIONS if option.changes_recipe]
NOTHING = {option.name: option.default for option in OPTIONS}


def other_value(option):
    """A value that smoke does not have."""
    if option.name == "batch":
        return 3
    now = getattr(recipe("smoke"), option.name)
    if get_args(option.kind):
        return next(value for value in get_args(option.kind) if value != now)
    return {int: lambda: 17, float: lambda: 0.625}[option.kind]()


@pytest.mark.parametrize("option", CHANGES, ids=lambda option: option.name)
def test_each_changes_itself_and_nothing_else(option):
    value = other_value(option)
    made = changed(recipe("smoke"), {option.name: value})
    assert made.changed == {option.name: value}
    if option.name == "batch":
        assert [phase.batch for phase in made.phases] == [3]
        assert replace(made, phases=recipe("smoke").phases, changed={}) == recipe("smoke")
    else:
        assert getattr(made, option.name) == value
        before = getattr(recipe("smoke"), option.name)
        assert replace(made, changed={}, **{option.name: before}) == recipe("smoke")


def test_options_are_all_the_knobs_and_the_batch():
    assert {option.name for option in CHANGES} == {each.name for each in fields(Knobs)} | {"batch"}
    assert issubclass(TrainConfig, Knobs)
    assert all(option.words.endswith(".") for option in OPTIONS)


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_changed_is_the_recipe(name):
    assert changed(recipe(name), {}) == recipe(name)


WRONG = {
    "steps": [0, -1],
    "learning_rate": [0.0, -1e-3, math.nan, math.inf],
    "weight_decay": [-0.1, math.nan],
    "warmup_steps": [-1],
    "decay_steps": [-1],
    "clip_norm": [0.0, math.inf],
    "ema_decay": [1.0, -0.1, 2.0, math.nan],
    "draws_per_clip": [0],
    "groups_held": [0],
    "clip_frames": [0],
    "photometric": [-1.0],
    "centre_crop": [0.0, 1.01, math.nan],
    "checkpoint_seconds": [0.0],
    "validate_seconds": [-5.0],
    "validation_clips": [-1],
    "seed": [-1],
    "batch": [0, -3],
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_values_are_one_line_before_anything_is_loaded(name, capsys, tmp_path):
    called = f"--{name.replace('_', '-')}"
    for value in WRONG[name]:
        with pytest.raises(ConfigError, match=f"{called} is .*; give "):
            check_options(NOTHING | {name: value})
        words = ["train", "smoke", "-o", str(tmp_path / "out"), called, str(value)]
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and said.startswith(f"dynapoint: {called} is ")
        if name != "batch":
            with pytest.raises(ConfigError, match="give "):
                replace(recipe("smoke"), **{name: value})
    assert not (tmp_path / "out").exists()


def test_options_are_read_and_refused_without_torch():
    code = (
        "import sys\n"
        "from dynapoint.cli import main\n"
        "assert main(['train', 'nano', '-o', 'out', '--batch', '0']) == 2\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_recipe_cannot_be_trained_with():
    with pytest.raises(ConfigError, match="cosine over all steps, so that --warmup-steps"):
        changed(recipe("vdpm"), {"warmup_steps": 3})
    with pytest.raises(ConfigError, match="--clip-frames is 4 but nano draws samples of 6"):
        changed(recipe("nano"), {"clip_frames": 4})
    with pytest.raises(ConfigError, match="a batch of 999 samples"):
        changed(recipe("nano"), {"batch": 999})


def test_a_run_says_what_was_changed_and_goes_on_so(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "find_recipe", lambda name: toy_config(validation_clips=0))
    first = {"steps": 1, "learning_rate": 3e-4, "batch": 1}
    weights = run.train("smoke", tmp_path / "run", changes=first)
    record = read_safetensors(weights)[1]
    assert json.loads(record["changed"]) == first
    said = json.loads(record["config"])
    assert said["learning_rate"] == 3e-4 and said["phases"][0]["batch"] == 1
    # What was said at the beginning holds, but for the number of steps and what is said anew.
    again = run.train("smoke", tmp_path / "run", changes={"batch": 2, "steps": 2}, resume=True)
    record = read_safetensors(again)[1]
    assert json.loads(record["changed"]) == {"learning_rate": 3e-4, "batch": 2, "steps": 2}
    assert record["steps"] == "2"
    state = load_state(tmp_path / "run")
    whole = resumed(toy_config(), {}, state)
    assert whole.steps == toy_config().steps
    assert whole.changed == {"learning_rate": 3e-4, "batch": 2}
    # Runs from before there were changes and streams go on as their recipe says.
    old = {
        name: value
        for name, value in json.loads(state.config_json).items()
        if name not in ("changed", "streams")
    }
    assert resumed(toy_config(), {}, replace(state, config_json=json.dumps(old))) == toy_config()


def test_a_run_with_photographs_says_so_and_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "find_recipe", lambda name: toy_config(validation_clips=0))
    folder = tmp_path / "shots"
    folder.mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        run.train("smoke", tmp_path / "run", changes={"steps": 1}, textures=folder)
    assert not (tmp_path / "run").exists()
    for number in range(2):
        Image.new("RGB", (20, 30), (200 * number, 90, 40)).save(folder / f"{number}.png")
    weights = run.train("smoke", tmp_path / "run", changes={"steps": 1}, textures=folder)
    run.train("smoke", tmp_path / "plain", changes={"steps": 1})
    again = run.train("smoke", tmp_path / "run", changes={"steps": 2}, resume=True)
    for path in (weights, again):
        record = read_safetensors(path)[1]
        assert "photographs (shots)" in record["data"]
        # Where on this machine they lay is not part of it.
        assert json.loads(record["config"])["textures"] == "shots"
    assert load_state(tmp_path / "run").step == 2
    assert (
        "photographs" not in read_safetensors(tmp_path / "plain" / "weights.safetensors")[1]["data"]
    )


def test_a_run_keeps_its_streams():
    begun = replace(toy_config(), streams=4, changed={"streams": 4})
    state = TrainingState(
        step=1,
        samples=8,
        seconds=0.0,
        config_json=json.dumps(asdict(begun)),
        network={},
        ema={},
        optimisers=[],
    )
    assert resumed(toy_config(), {}, state).streams == 4
    assert resumed(toy_config(), {"streams": 4}, state).streams == 4
    with pytest.raises(ConfigError, match="the run has 4 streams of samples, --streams says 2"):
        resumed(toy_config(), {"streams": 2}, state)
    # Those that nobody asked for are one for each process of the beginning.
    unasked = replace(state, config_json=json.dumps(asdict(replace(begun, changed={}))))
    assert resumed(toy_config(), {}, unasked).streams == 4
