"""SIGKILL at random moments: a scene or an export is there whole or not at all, nothing is lost.

Commands run in children of this process, which has loaded all that they import, so that they are
killed at work and not while Python starts.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dynapoint
from dynapoint import cli
from dynapoint.inference.scenes import finished
from test_open import weights_of
from video_files import write_video

pytestmark = [
    pytest.mark.kill,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX"),
]
MOMENTS = 20
NEVER = float("inf")


def in_child(work: Callable[[], int], *, kill_after_s: float = NEVER) -> tuple[int, float]:
    """Do something in a process of its own; returns its exit code (−9 if killed) and seconds."""
    sys.stdout.flush()
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            code = work()
        except BaseException:
            code = 99
        finally:
            os._exit(code)
    if kill_after_s != NEVER:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - start


def command(*arguments: object) -> Callable[[], int]:
    def run() -> int:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        return cli.main([str(argument) for argument in arguments])

    return run


def moments(seed: int, duration_s: float) -> list[float]:
    """Seeded delays over all that a command takes, one in each twentieth."""
    rng = np.random.default_rng(seed)
    return ((np.arange(MOMENTS) + rng.uniform(size=MOMENTS)) / MOMENTS * duration_s).tolist()


def check_scenes(out: Path, names: list[str]) -> set[str]:
    """Assert that scenes are whole or absent and the rest hidden; returns which are there."""
    there = set()
    for path in out.iterdir() if out.exists() else ():
        if path.name.startswith("."):
            assert any(path.name.startswith(f".{name}.") for name in names), path
            continue
        assert path.name in names, path
        assert finished(path), f"{path} is not whole"
        rec = dynapoint.open(path)
        assert np.isfinite(rec.own_time_points).all() and np.isfinite(rec.tracks().points).all()
        assert rec.images.shape[0] == 4
        there.add(path.name)
    return there


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[list[Path], Path]:
    """Two short videos, and the weights of a tiny network."""
    folder = tmp_path_factory.mktemp("clips")
    videos = [write_video(folder / f"{name}.mp4", frames=4) for name in "ab"]
    return videos, weights_of("nano", folder)


def test_reconstruct_killed_at_random_moments(tmp_path, clips):
    videos, weights = clips
    options = ["--weights", str(weights), "--device", "cpu"]
    # Once here, so that every child finds all modules loaded.
    warm = ["reconstruct", str(videos[0]), "-o", str(tmp_path / "warm"), *options]
    assert cli.main(warm) == 0
    names = ["a.4d", "b.4d"]
    full = command("reconstruct", *videos, "-o", tmp_path / "timed", *options)
    code, duration_s = in_child(full)
    assert code == 0 and check_scenes(tmp_path / "timed", names) == set(names)
    out = tmp_path / "out"
    killed, made, lost = 0, set(), []
    for turn, delay_s in enumerate(moments(7, duration_s)):
        before = check_scenes(out, names)
        # Half of the runs replace what is there, the others go on where they were killed.
        again = ["--overwrite"] if turn % 2 else []
        code, _ = in_child(
            command("reconstruct", *videos, "-o", out, *options, *again), kill_after_s=delay_s
        )
        killed += code == -signal.SIGKILL
        made |= check_scenes(out, names)
        lost += [name for name in before - check_scenes(out, names)]
    assert killed >= MOMENTS // 2, "most runs end before they are killed: this shows nothing"
    assert made == set(names)
    # Between two renames a scene that is replaced is hidden; the next run puts it back.
    assert len(lost) <= 1
    assert in_child(command("reconstruct", *videos, "-o", out, *options))[0] == 0
    assert check_scenes(out, names) == set(names) and hidden(out) == []


@pytest.mark.parametrize("to", ["ply", "colmap"])
def test_exports_killed_at_random_moments(tmp_path, clips, to):
    videos, weights = clips
    scene = tmp_path / "a.4d"
    words = ["reconstruct", videos[0], "-o", scene, "--weights", weights]
    assert cli.main([str(word) for word in words]) == 0
    options = ["--time", 1] if to == "ply" else []
    run = ["export", scene, "--to", to, *options, "--overwrite", "-o"]
    assert cli.main([str(word) for word in (*run, tmp_path / "warm")]) == 0
    code, duration_s = in_child(command(*run, tmp_path / "timed"))
    assert code == 0
    whole = sizes(tmp_path / "warm") or sizes(tmp_path / "warm.ply")
    out = tmp_path / "out"
    out.mkdir()
    killed = 0
    for turn, delay_s in enumerate(moments(8, duration_s)):
        target = out / f"{turn % 3}"
        code, _ = in_child(command(*run, target), kill_after_s=delay_s)
        killed += code == -signal.SIGKILL
        for path in out.iterdir():
            if not path.name.startswith("."):
                assert sizes(path) == whole, f"{path} is half-written"
        assert check_scenes(tmp_path / "none", []) == set() and finished(scene)
    assert killed >= MOMENTS // 2
    for turn in range(3):
        assert in_child(command(*run, out / f"{turn}"))[0] == 0
    assert hidden(out) == [] and len(list(out.iterdir())) == 3


def sizes(path: Path) -> dict[str, int]:
    """Of the files of an export, the size of each."""
    if path.is_file():
        return {"": path.stat().st_size}
    return {
        str(file.relative_to(path)): file.stat().st_size
        for file in path.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("step", ["taken away", "put in place"])
def test_killed_between_the_two_renames_of_a_replacement(tmp_path, clips, step):
    videos, weights = clips
    out = tmp_path / "a.4d"
    words = ["reconstruct", videos[0], "-o", out, "--weights", weights]
    assert cli.main([str(word) for word in words]) == 0
    manifest = json.loads((out / "manifest.json").read_text())

    def run() -> int:
        real = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if step == "put in place":
                real(self, target)
            os.kill(os.getpid(), signal.SIGKILL)
            return target

        setattr(Path, "rename", rename)  # noqa: B010 - a child process, which ends by it.
        return command(*words, "--overwrite")()

    assert in_child(run)[0] == -signal.SIGKILL
    assert out.exists() == (step == "put in place") and hidden(tmp_path)
    # Without --overwrite what is there is refused, and so is what has been put back.
    assert in_child(command(*words))[0] == 1
    assert hidden(tmp_path) == [] and finished(out)
    assert json.loads((out / "manifest.json").read_text())["files"] == manifest["files"]


def test_a_kill_while_what_is_replaced_is_removed_leaves_the_new(tmp_path, clips):
    videos, weights = clips
    out = tmp_path / "a.4d"
    words = ["reconstruct", videos[0], "-o", out, "--weights", weights]
    assert cli.main([str(word) for word in words]) == 0

    def run() -> int:
        def remove(path: Path, **_: object) -> None:
            next(path.glob("*.npy")).unlink()
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(shutil, "rmtree", remove)  # noqa: B010 - as above.
        return command(*words, "--overwrite")()

    assert in_child(run)[0] == -signal.SIGKILL
    assert finished(out) and hidden(tmp_path)
    # The rest of the old scene is not put back, even where the new one is gone.
    out.rename(tmp_path / "elsewhere")
    assert in_child(command(*words))[0] == 0
    assert hidden(tmp_path) == [] and finished(out)
