"""scripts/gpu/train.py on a machine that has torch but none of the package's extras."""

import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from dynapoint import cli
from dynapoint.models.nano.weights import load_network
from dynapoint.training import run as run_module
from dynapoint.training.options import OPTIONS
from folders import ROOT

SCRIPT = ROOT / "scripts" / "gpu" / "train.py"
ALLOWED = ("torch", "numpy", "safetensors", "einops", "jaxtyping", "tqdm")

# Stands in for a machine without the extras: the script's folder comes first on the path, so this
# runs before anything of the script. The installed package must not be found either.
WITHOUT_EXTRAS = """
import importlib.abc, runpy, sys

FORBIDDEN = {"tyro", "av", "tensorboard", "PIL", "scipy", "torchvision", "matplotlib"}

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r} (refused)", name=name)

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    import dynapoint
    print("package", dynapoint.__file__)
"""


def run(*words: object, folder: Path) -> subprocess.CompletedProcess:
    guard = folder / "guard.py"
    guard.write_text(WITHOUT_EXTRAS)
    return subprocess.run(
        [sys.executable, guard, SCRIPT, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""},
        timeout=300,
        check=False,
    )


def test_smoke_run_without_extras(tmp_path):
    output = tmp_path / "out"
    done = run("smoke", "--output", output, "--batch", 2, "--steps", 10, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(output / "weights.safetensors") in done.stdout
    assert f"package {SCRIPT.parents[2] / 'src' / 'dynapoint' / '__init__.py'}" in done.stdout
    assert load_network(output / "weights.safetensors").config.name == "tiny"
    line = json.loads((output / "log.jsonl").read_text().splitlines()[0])
    assert (line["step"], line["samples"]) == (10, 20)


@pytest.fixture(scope="module")
def script():
    """The script as a module; its mistakes need no process of their own."""
    spec = importlib.util.spec_from_file_location("gpu_train_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_changed_of_the_recipe(script):
    words = ["smoke", "--output", "out", "--batch", "3", "--learning-rate", "3e-4"]
    arguments = script.parse_arguments(words)
    assert arguments["changes"] == {"batch": 3, "learning_rate": 3e-4}
    assert script.parse_arguments(words[:3])["changes"] == {}


def test_all_arguments_reach_the_run(script, monkeypatch):
    calls = []

    def spy(**arguments):
        calls.append(arguments)
        return arguments["output"] / "weights.safetensors"

    monkeypatch.setattr(script, "train", spy)
    words = "nano -o o --start-from w --bench b --real c d --max-seconds 9 --device cpu --seed 7"
    words += " --data clips=e davis=f --textures t --shard"
    assert script.main(words.split()) == 0
    expected = {
        "recipe": "nano",
        "output": Path("o"),
        "resume": False,
        "start_from": Path("w"),
        "data": {"clips": Path("e"), "davis": Path("f")},
        "textures": Path("t"),
        "bench": Path("b"),
        "real": (Path("c"), Path("d")),
        "device": "cpu",
        "max_seconds": 9.0,
        "shard": True,
        "changes": {"seed": 7},
    }
    assert calls == [expected]
    inspect.signature(run_module.train).bind(**expected)


def test_its_options_are_those_of_the_command(script, monkeypatch):
    """The same words mean the same to both, for every option that there is."""
    asked = []
    monkeypatch.setattr(run_module, "train", lambda **given: asked.append(given) or Path("w"))
    monkeypatch.setattr(cli.train, "said_of_files", lambda *_: {})
    monkeypatch.setattr(cli.train, "check_places", lambda **_: None)
    values = {int: "7", float: "0.25", Path: "some", str: "word", tuple[Path, ...]: "some"}
    values[tuple[str, ...]] = "clips=some"
    for option in OPTIONS:
        if option.positional or option.name in ("output", "resume"):
            continue
        words = ["smoke", "-o", "out", script.names_of(option)[-1]]
        if option.kind is not bool:
            words.append(values.get(option.kind) or get_args(option.kind)[-1])
        assert cli.main(["train", *words]) == 0
        assert asked.pop() == script.parse_arguments(words), option.name
    assert cli.main(["train", "smoke", "-o", "out", "--resume"]) == 0
    assert asked.pop() == script.parse_arguments(["smoke", "-o", "out", "--resume"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nanno"], "error: unknown recipe 'nanno'; did you mean nano?"),
        (["vdpm"], "error: vdpm fine-tunes; give the weights to start from"),
        (["smoke", "--resume"], "error: no checkpoint"),
        (["smoke", "--start-from", "none"], "error: no weights file at none"),
        (["smoke", "--batch", "257"], "error: a batch of 257 samples"),
    ],
)
def test_mistakes_end_in_one_line(script, tmp_path, capsys, words, message):
    assert script.main([*words, "--output", str(tmp_path), "--device", "cpu"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1] and "Traceback" not in "".join(lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smoke"], "required: -o/--output"),
        (["--output", "out"], "required: RECIPE"),
        (["smoke", "-o", "out", "--resume", "--start-from", "w"], "give one of them"),
        (["smoke", "-o", "out", "--batch", "0"], "--batch is 0; give 1 or more"),
        (["smoke", "-o", "out", "--max-seconds", "-1"], "give a positive number"),
        (["smoke", "-o", "out", "--learning-rate", "nan"], "give a positive number"),
    ],
)
def test_wrong_usage_exits_2(script, capsys, words, message):
    with pytest.raises(SystemExit) as exit_:
        script.parse_arguments(words)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
