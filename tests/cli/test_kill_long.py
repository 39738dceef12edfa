"""SIGKILL of a clip in windows, at random moments: every resume ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_kill import command, in_child

from dynapoint import cli
from dynapoint.inference.long.work_folder import unfinished_folder
from fake_model import picture_array
from test_open import weights_of

pytestmark = [
    pytest.mark.kill,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX"),
]
MOMENTS, COUNT = 5, 16


@pytest.fixture(autouse=True, scope="module")
def one_process():
    """Children are forked from this process, in which a pool of processes does not work again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYNAPOINT_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    """A clip of small frames, a tiny network, and how they are asked; all modules are loaded."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "frames").mkdir()
    for number, picture in enumerate(picture_array(COUNT, 36, 64)):
        Image.fromarray(picture).save(folder / "frames" / f"{number:03d}.png")
    weights = weights_of("nano", folder)
    given = ["reconstruct", str(folder / "frames"), "--weights", str(weights), "--device", "cpu"]
    given += ["--frames", "all", "--window", "6", "--overlap", "2", "--no-refine"]
    assert cli.main([*given, "-o", str(folder / "warm.4d")]) == 0
    return given


def bytes_of(scene: Path) -> dict[str, bytes]:
    """All arrays of a scene, those of its windows too."""
    return {str(path.relative_to(scene)): path.read_bytes() for path in scene.rglob("*.npy")}


def test_every_resume_ends_with_the_same_bytes(words, tmp_path):
    whole = command(*words, "-o", tmp_path / "whole.4d")
    code, duration_s = in_child(whole)
    assert code == 0
    wanted = bytes_of(tmp_path / "whole.4d")
    assert len(wanted) > 20
    rng = np.random.default_rng(18)
    killed = resumed = 0
    for turn, share in enumerate((np.arange(MOMENTS) + rng.uniform(size=MOMENTS)) / MOMENTS):
        output = tmp_path / f"{turn}.4d"
        run = command(*words, "-o", output)
        code, _ = in_child(run, kill_after_s=float(share * duration_s))
        if code == -signal.SIGKILL:
            killed += 1
            resumed += (unfinished_folder(output) / "windows" / "00000").is_dir()
        if not output.exists():
            assert in_child(run)[0] == 0
        assert bytes_of(output) == wanted, f"killed after {share:.2f} of the run"
    assert killed >= MOMENTS // 2 and resumed, "most runs end before they are killed"


def test_killed_while_the_work_folder_is_removed(words, tmp_path):
    """The scene is whole, and what is left of its windows is not taken for unfinished work."""
    output = tmp_path / "a.4d"

    def run() -> int:
        def remove(path: Path, **_: object) -> None:
            if (path / "windows").is_dir():
                for name in ("map_from_image.npy", "intrinsics.npy"):
                    next(path.glob(f"windows/*/{name}")).unlink()
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(shutil, "rmtree", remove)  # noqa: B010 - a child process, which ends by it.
        return command(*words, "-o", output)()

    assert in_child(run)[0] == -signal.SIGKILL
    assert output.is_dir() and not unfinished_folder(output).exists()
    wanted = bytes_of(output)
    assert in_child(command(*words, "-o", output, "--overwrite"))[0] == 0
    assert bytes_of(output) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["a.4d"]


@pytest.mark.parametrize(
    ("ended_by", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_processes_end_with_the_one_they_work_for(words, tmp_path, ended_by, code):
    output = tmp_path / "a.4d"
    given = [sys.executable, "-m", "dynapoint", *words, "-o", str(output)]
    with subprocess.Popen(
        given,
        env={**os.environ, "DYNAPOINT_THREADS": "2"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and all that it begins.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as run:
        first = unfinished_folder(output) / "windows" / "00000"
        until = time.monotonic() + 120
        while not first.is_dir() and time.monotonic() < until:
            time.sleep(0.05)
        below = _below(run.pid)
        assert below, "no process predicts windows"
        run.send_signal(ended_by)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == code
    if ended_by != signal.SIGKILL:
        last = said.strip().splitlines()[-1]
        assert last.endswith(
            "interrupted; what is finished is kept, and the same command goes on from there"
        )
    until = time.monotonic() + 30
    while any(map(_alive, below)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(_alive, below)), "processes outlive the one they work for"
    assert first.is_dir()


def _below(process: int) -> list[int]:
    """All processes that a process began, and those that they began."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [each for word in found for each in (int(word), *_below(int(word)))]


def _alive(process: int) -> bool:
    """Whether a process runs; one that has ended and is not asked after does not."""
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
