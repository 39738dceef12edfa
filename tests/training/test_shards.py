"""Files in parts: they join to what they were, and no mixture of two versions passes for one."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dynapoint.errors import ModelError, OutputError
from dynapoint.training import shards
from dynapoint.training.shards import LARGEST_SHARD, count_shards, join_shards, write_shards
from folders import ROOT

SCRIPT = ROOT / "scripts" / "gpu" / "join_shards.py"


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    assert LARGEST_SHARD == 15 * 1024 * 1024
    monkeypatch.setattr(shards, "LARGEST_SHARD", 1000)


class Run:
    """A run that saves random files of the same names again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rng, self.number = folder, np.random.default_rng(0), 0
        self.saved: list[dict[str, bytes]] = []
        folder.mkdir()

    def save(self, **sizes: int) -> None:
        files = {}
        for name, size in sizes.items():
            files[name] = self.rng.bytes(size)
            (self.folder / f"{name}.safetensors").write_bytes(files[name])
            line = {"t": float(self.number), "event": "saved", "name": name}
            line |= {"sha256": hashlib.sha256(files[name]).hexdigest(), "step": self.number}
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line | {"samples": 8 * self.number}) + "\n")
        paths = [self.folder / f"{name}.safetensors" for name in sizes]
        write_shards(paths, self.folder / "saves", number=self.number)
        self.saved.append(files)
        self.number += 1

    def copy(self, folder: Path) -> Path:
        """What a command sends back."""
        shutil.copytree(self.folder / "saves" / "newest", folder)
        shutil.copy(self.folder / "log.jsonl", folder)
        return folder


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 2500, 3000])
def test_parts_join_to_the_file(tmp_path, size):
    run = Run(tmp_path / "run")
    run.save(ema=size, raw=size + 1)
    back = run.copy(tmp_path / "back")
    parts = sorted(back.glob("ema.*"))
    assert len(parts) == count_shards(size) == -(-size // 1000)
    assert all(part.stat().st_size <= 1000 for part in parts)
    joined = join_shards([back], tmp_path / "out")
    assert [each.path.name for each in joined] == ["ema.safetensors", "raw.safetensors"]
    for each in joined:
        assert each.path.read_bytes() == run.saved[0][each.path.stem]
        assert hashlib.sha256(each.path.read_bytes()).hexdigest() == each.sha256


def test_newest_points_to_a_whole_save_and_the_one_before_stays(tmp_path):
    run = Run(tmp_path / "run")
    saves = tmp_path / "run" / "saves"
    for size in (3500, 2500, 1500):
        run.save(ema=size)
        newest = (saves / "newest").resolve()
        # No part of a larger version before is left over.
        assert len(list(newest.iterdir())) == count_shards(size)
    assert sorted(path.name for path in saves.iterdir()) == ["newest", "save-0001", "save-0002"]


def test_the_newest_consistent_version_is_taken(tmp_path):
    run = Run(tmp_path / "run")
    folders = []
    for number in range(3):
        run.save(ema=2500, raw=1500)
        folders.append(run.copy(tmp_path / f"back{number}"))
    # The last copy of `ema` holds parts of two versions, that of `raw` lacks one.
    shutil.copy(folders[1] / "ema.01", folders[2] / "ema.01")
    (folders[2] / "raw.01").unlink()
    for order in (folders, folders[::-1]):
        ema, raw = join_shards(order, tmp_path / "out")
        assert (ema.said["step"], raw.said["step"]) == (1, 1)
        assert ema.path.read_bytes() == run.saved[1]["ema"]
        assert raw.path.read_bytes() == run.saved[1]["raw"]


def test_a_log_that_ends_in_the_middle_of_a_line(tmp_path):
    run = Run(tmp_path / "run")
    run.save(ema=10)
    back = run.copy(tmp_path / "back")
    with (back / "log.jsonl").open("a") as log:
        log.write('{"t": 5.0, "event": "sav')
    assert join_shards([back], tmp_path / "out")[0].said["step"] == 0


def test_nothing_consistent_is_refused(tmp_path):
    run = Run(tmp_path / "run")
    run.save(ema=2500)
    back = run.copy(tmp_path / "back")
    (back / "ema.01").write_bytes(b"other")
    with pytest.raises(ModelError, match="shards of ema are of no version"):
        join_shards([back], tmp_path / "out")
    with pytest.raises(ModelError, match="no shards in"):
        join_shards([tmp_path], tmp_path / "out")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write shards"):
        write_shards([tmp_path / "file"], tmp_path / "file", number=0)


def test_script(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("gpu_join_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    run = Run(tmp_path / "run")
    run.save(ema=1500)
    back = run.copy(tmp_path / "back")
    assert script.main([str(back), "--output", str(tmp_path / "out")]) == 0
    assert "ema.safetensors: step 0, 0 samples" in capsys.readouterr().out
    assert script.main([str(tmp_path / "no"), "--output", str(tmp_path / "out")]) == 1
    assert "error: no shards in" in capsys.readouterr().err
