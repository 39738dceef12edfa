"""scripts/ship_weights.py: from a run's folder and from a weights file, the same comes out."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from conftest import FixedStream, shake, toy_truth
from safetensors import safe_open

from dynapoint.models import cards
from dynapoint.models.nano.config import nano_2, tiny
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.nano.weights import load_network, save_network
from dynapoint.training.distributed import Processes
from dynapoint.training.recipes.small import smoke
from dynapoint.training.run import training_record
from dynapoint.training.trainer import Trainer
from dynapoint.whole_file import sha256_of
from folders import ROOT

SCRIPT = ROOT / "scripts" / "ship_weights.py"


@pytest.fixture
def script(monkeypatch):
    """The script, with a network of no size under the name of the shipped one."""
    spec = importlib.util.spec_from_file_location("ship_weights_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.NETWORKS, "nano-2", tiny)
    return module


@pytest.fixture
def run(tmp_path):
    """A run of two steps: its folder, and the file that it would have written."""
    config = dataclasses.replace(smoke(), phases=(smoke().phases[0],))
    trainer = Trainer(config, tmp_path / "run", processes=Processes())
    trainer.streams = {0: FixedStream(toy_truth(2), config.phases[0])}
    for _ in range(2):
        trainer.train_step()
    trainer.save()
    path = tmp_path / "ema.safetensors"
    save_network(trainer.averaged_network(), path, record=training_record(trainer))
    return trainer, path


def shipped(script, what: Path, assets: Path, *more: str):
    words = [str(what), "--name", "nano-2", "--hardware", "h", "--assets", str(assets), *more]
    assert script.main(words) == 0
    path = assets / str(cards.CARDS["nano-2"].weights_file)
    return load_network(path).state_dict(), json.loads(path.with_suffix(".json").read_text()), path


def test_folder_and_file_ship_the_same(script, run, tmp_path):
    trainer, file = run
    from_folder, said, path = shipped(script, tmp_path / "run", tmp_path / "a")
    from_file, said_by_file, other = shipped(script, file, tmp_path / "b")
    assert all(torch.equal(from_file[key], value) for key, value in from_folder.items())
    assert (sha256_of(path), sha256_of(other)) == (said["sha256"], said_by_file["sha256"])
    # safetensors writes the record in no fixed order, so the hashes differ.
    assert said | {"sha256": ""} == said_by_file | {"sha256": ""}
    assert (said["samples"], said["steps"]) == ("4", "2") == (str(trainer.samples), "2")
    assert said["training"]["name"] == "smoke" and said["bytes"] == path.stat().st_size
    with safe_open(other, framework="pt") as written:
        assert written.metadata()["hardware"] == "h"


def test_samples_of_the_weights_it_began_from_are_counted(script, run, tmp_path):
    _, file = run
    _, said, path = shipped(script, file, tmp_path / "a", "--before", "1000")
    assert said["samples"] == "1004"
    with safe_open(path, framework="pt") as written:
        assert written.metadata()["samples"] == "1004"


def test_blend_of_two_files(script, run, tmp_path):
    _, file = run
    other = shake(build_network(tiny()), seed=3)
    second = tmp_path / "second.safetensors"
    # What joins in need not say how it came about: files that ship do not.
    save_network(other, second, record={}, dtype=torch.float32)
    blended, said, _ = shipped(
        script, file, tmp_path / "a", "--blend", str(second), "--share", "0.25"
    )
    own = load_network(file).state_dict()
    for key, value in other.state_dict().items():
        wanted = 0.75 * value + 0.25 * own[key]
        torch.testing.assert_close(blended[key], wanted, rtol=2**-7, atol=1e-6)
    assert said["blend"].startswith("0.25 of this run's")


def test_blends_are_of_one_network(script, run, tmp_path, capsys):
    second = tmp_path / "second.safetensors"
    save_network(build_network(dataclasses.replace(tiny(), image_side=56)), second, record={})
    words = ["--hardware", "h", "--assets", str(tmp_path / "a"), "--blend", str(second)]
    assert script.main([str(run[1]), *words]) == 1
    assert "blend weights of one network" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_what_cannot_be_shipped(script, run, tmp_path, capsys, monkeypatch):
    words = ["--name", "nano-2", "--hardware", "h", "--assets", str(tmp_path / "a")]
    silent = tmp_path / "silent.safetensors"
    save_network(build_network(tiny()), silent, record={"samples": "3"})
    assert script.main([str(silent), *words]) == 1
    assert "does not say how its weights came about (no config, seconds" in capsys.readouterr().err
    assert script.main([str(tmp_path / "none"), *words]) == 1
    assert "no weights file" in capsys.readouterr().err
    monkeypatch.setitem(script.NETWORKS, "nano-2", nano_2)
    assert script.main([str(run[1]), *words]) == 1
    assert "holds weights of the network tiny" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
