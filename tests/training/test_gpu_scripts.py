"""Scripts for a lent GPU, on the CPU: checks, the commands of a lease, V-DPM in miniature."""

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dynapoint.models.nano.weights import load_network
from dynapoint.training.recipes import RECIPES
from dynapoint.training.recipes.small import smoke
from folders import ROOT

SCRIPTS = ROOT / "scripts" / "gpu"


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"gpu_{name}", SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check(monkeypatch):
    """The checks; no process is started, which tests of the pool do."""
    module = script("check")
    plain = module.ClipPool
    monkeypatch.setattr(module, "ClipPool", lambda *a, **k: plain(*a, **(k | {"workers": 0})))
    return module


def checked(check, folder: Path, device: str = "cpu") -> tuple[int, str]:
    flags = folder / "flags"
    words = ["--recipe", "smoke", "--device", device, "--pixels", "0.2", "--flags", str(flags)]
    return check.main(words), flags.read_text()


def test_checks_pass_where_all_is_well(check, tmp_path, capsys):
    assert checked(check, tmp_path) == (0, "\n")
    out = capsys.readouterr().out
    assert all(f"{name}: ok" in out for name in ("renderer", "training", "workers"))


def test_another_picture_fails_and_is_led_around(check, monkeypatch, tmp_path, capsys):
    plain = check.render_clips

    def brighter(*arguments, device="cpu", **rest):
        clips = plain(*arguments, device=device, **rest)
        return dataclasses.replace(clips, images=clips.images // 2) if brighter.calls else clips

    def counted(*arguments, **rest):
        brighter.calls += "device" in rest
        return brighter(*arguments, **rest)

    brighter.calls = 0
    monkeypatch.setattr(check, "render_clips", counted)
    code, flags = checked(check, tmp_path)
    assert (code, flags) == (1, "--rendered-by-workers\n")
    assert "renderer: FAILED" in capsys.readouterr().out


def test_training_that_is_not_finite_goes_on_in_float32(check, monkeypatch, tmp_path):
    plain = check.LeasedRun.try_step

    def step(run):
        numbers = plain(run)
        precise = run.trainer.config.precision == "float32"
        return numbers if precise else numbers | {"total": float("nan")}

    monkeypatch.setattr(check.LeasedRun, "try_step", step)
    assert checked(check, tmp_path) == (1, "--precision float32\n")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_checks_pass_on_a_gpu(tmp_path):
    begun = time.monotonic()
    flags = tmp_path / "flags"
    words = ["--recipe", "nano", "--flags", str(flags)]
    done = subprocess.run([sys.executable, SCRIPTS / "check.py", *words], check=False, timeout=120)
    assert done.returncode == 0 and flags.read_text() == "\n"
    assert time.monotonic() - begun < 60


def test_vdpm_speed_in_miniature(tmp_path):
    speed = script("vdpm_speed")
    words = ["--miniature", "--device", "cpu", "--output", str(tmp_path), "--frames", "3"]
    assert speed.main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "vdpm_speed.jsonl").read_text().splitlines()]
    assert lines[0]["network"] == "vdpm-miniature" and lines[0]["frames"] == 3
    assert [line["way"] for line in lines[1:]] == [way.name for way in speed.WAYS]
    for line in lines[1:]:
        assert line["finite"] and line["times_measured"] == 3
        assert line["whole_s"] == pytest.approx(line["encode_s"] + 3 * line["time_s"], rel=1e-3)


def test_vdpm_speed_leaves_out_what_there_is_no_time_for(tmp_path):
    words = ["--miniature", "--device", "cpu", "--output", str(tmp_path), "--seconds", "0"]
    speed = script("vdpm_speed")
    speed.main(words)
    lines = [json.loads(line) for line in (tmp_path / "vdpm_speed.jsonl").read_text().splitlines()]
    # The first way is measured whatever the time; it comes in one piece.
    assert lines[1]["times_measured"] == 4
    assert [line.get("left_out") for line in lines[2:]] == ["no time", "no time"]


WITHOUT_EXTRAS = """
import importlib.abc, sys

FORBIDDEN = {"tyro", "av", "tensorboard", "PIL", "torchvision", "matplotlib", "pytest", "beartype"}

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r} (refused)", name=name)

sys.meta_path.insert(0, Refuse())
"""
LEASE = "--device cpu --batch 4 --pixels 0.15 --workers 2 --held 4 --validation-clips 1"


@pytest.fixture
def lease(tmp_path):
    """Runs a command of a lease in a clean clone, as on a machine without the extras."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    for folder in ("scripts", "src"):
        shutil.copytree(ROOT / folder, clone / folder, dirs_exist_ok=True)
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(WITHOUT_EXTRAS)

    def run(name: str, *words: str, **environment: object) -> Path:
        out = tmp_path / "out" / name
        out.mkdir(parents=True)
        own = {
            "PATH": "/usr/bin:/bin",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(tmp_path / "guard"),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "LEASE_DIR": str(tmp_path / "lease"),
            "OUT": str(out),
            "CHECK_OPTIONS": "--device cpu --pixels 0.15",
            "CHECK_SECONDS": "90",
            "HOME": os.environ.get("HOME", "/"),
        }
        command = ["bash", f"scripts/gpu/{name}.sh", *words]
        own |= {key: str(value) for key, value in environment.items()}
        done = subprocess.run(
            command, cwd=clone, env=own, check=False, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (tmp_path / f"{name}.txt").write_text(done.stdout)
        files = list(out.iterdir())
        assert len(files) <= 8 and all(file.stat().st_size <= 15 * 2**20 for file in files)
        return out

    return run


@pytest.mark.slow
def test_three_commands_of_a_lease_bring_weights_back(lease, tmp_path):
    every = {"LEASE_SECONDS": 150, "LEASE_OPTIONS": f"{LEASE} --reserve 25 --save-every 20"}
    folders = [
        lease("call_a", "smoke", RETURN_AT=90, **every),
        lease("call_b", RETURN_AT=110, **every),
        lease("call_c", WAIT_SECONDS=120, **every),
    ]
    assert script("join_shards").main([*map(str, folders), "--output", str(tmp_path / "w")]) == 0
    lines = [json.loads(text) for text in (folders[2] / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["event"] == "end" and lines[-1]["t"] < 150
    written = next(line for line in lines if line.get("event") == "written")
    network = load_network(tmp_path / "w" / "ema.safetensors")
    assert network.config == smoke().network and written["step"] > 20
    assert "training: ok" in (folders[0] / "run.log").read_text()


@pytest.mark.slow
def test_a_lease_whose_training_fails_falls_back_on_the_plain_trainer(lease, tmp_path):
    every = {"LEASE_SECONDS": 100, "LEASE_OPTIONS": "--device cpu --batch none"}
    plain = "--device cpu --batch 2 --steps 12"
    out = lease("call_a", "smoke", RETURN_AT=80, WATCH_SECONDS=20, PLAIN_OPTIONS=plain, **every)
    assert "the plain trainer takes over" in (tmp_path / "call_a.txt").read_text()
    parts = sorted(out.glob("plain.0*"))
    path = tmp_path / "plain.safetensors"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert load_network(path).config == smoke().network


def test_commands_name_recipes_and_scripts_that_exist():
    assert "nano" in RECIPES
    for name in ("call_a", "call_b", "call_c", "lease"):
        text = (SCRIPTS / f"{name}.sh").read_text()
        subprocess.run(["bash", "-n", SCRIPTS / f"{name}.sh"], check=True)
        for word in text.replace('"', " ").split():
            if word.startswith("scripts/gpu/") and word.endswith(".py"):
                assert (ROOT / word).is_file(), word
