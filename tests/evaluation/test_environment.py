"""Where numbers were made, and what they took."""

import mmap
import shutil
import subprocess
import time

import numpy as np
import pytest

from dynapoint.evaluation import environment
from dynapoint.evaluation.environment import commit, machine, measured
from folders import ROOT


def test_the_environment_is_said_in_full():
    told = environment.environment()
    assert told.package.startswith("dynapoint ") and told.torch and told.numpy == np.__version__
    assert told.python.count(".") == 2 and told.processor and told.threads >= 1
    assert told.processor in machine()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout():
    words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    head = done.stdout.strip()
    # Outside of a checkout there is none.
    assert head.startswith(commit().rstrip("+")) and bool(commit()) == bool(head)


def test_time_and_memory_are_those_of_the_block():
    with measured() as small:
        time.sleep(0.02)
    # Memory of the system: an array could take what earlier tests left to the process.
    with measured() as large, mmap.mmap(-1, 40 * 2**20) as pages:
        # Written to, because memory that nobody touched is not used.
        pages.write(b"1" * len(pages))
    assert 0.02 <= small.seconds < 1
    if small.peak_mib == 0:
        pytest.skip("the system does not say how much memory was used")
    assert 30 < large.peak_mib - small.peak_mib < 200
    with measured() as after:
        pass
    assert after.peak_mib < large.peak_mib - 30


def test_where_memory_cannot_be_measured_it_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_RESET", tmp_path / "no" / "such")
    with measured() as spent:
        pass
    assert spent.peak_mib == 0 and spent.seconds > 0
