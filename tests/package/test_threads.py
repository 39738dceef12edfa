"""How many threads compute."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from dynapoint import threads
from dynapoint.errors import ConfigError
from dynapoint.threads import Look, Machine, chosen_threads, computing, used_by_others


@pytest.fixture(autouse=True)
def nobody_has_chosen(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv(threads.VARIABLE, raising=False)


def test_what_others_use_is_what_is_used_less_our_own():
    rng = np.random.default_rng(0)
    for _ in range(20):
        passed, others, own = rng.uniform(0.1, 10, 3)
        before = Look(moment_s=5.0, busy_s=100.0, own_s=3.0)
        after = Look(moment_s=5.0 + passed, busy_s=100.0 + others * passed + own, own_s=3.0 + own)
        assert used_by_others(before, after) == pytest.approx(others)
    nobody_knows = Look(moment_s=9.0, busy_s=None, own_s=0.0)
    assert used_by_others(nobody_knows, nobody_knows) == 0.0


@pytest.mark.parametrize(
    ("physical", "others", "wanted"), [(2, 0.1, 2), (2, 0.9, 1), (2, 12.0, 1), (16, 3.2, 13)]
)
def test_free_cores_are_those_that_others_leave(monkeypatch, physical, others, wanted):
    seen = iter([(0.0, 0.0), (1.0, others), (1.01, 99.0), (2.0, others)])

    def look():
        moment, busy = next(seen)
        return Look(moment_s=moment, busy_s=busy, own_s=0.0)

    monkeypatch.setattr(threads, "look", look)
    monkeypatch.setattr(threads, "cores", lambda: physical)
    machine = Machine()
    assert machine.free_cores() == wanted
    # Asked again at once, it does not look: a hundredth of a second tells nothing.
    assert machine.free_cores() == wanted


def test_nice_processes_leave_their_core_free(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    monkeypatch.setattr(threads, "_STAT", stat)
    tick = os.sysconf("SC_CLK_TCK")
    stat.write_text(
        f"cpu  {3 * tick} {500 * tick} {2 * tick} 900 7 {tick} 0 {tick} 0 0\ncpu0 1 2\n"
    )
    assert threads.look().busy_s == pytest.approx(7.0)
    stat.write_text("something else")
    assert threads.look().busy_s is None


def test_threads_of_one_core_and_a_containers_quota_count(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for number in range(8):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    assert threads.cores.__wrapped__() == 4
    for text, wanted in (("250000 100000", 2), ("max 100000", 4), ("20000 100000", 1), ("x", 4)):
        (tmp_path / "cpu.max").write_text(text)
        assert threads.cores.__wrapped__() == wanted


def test_small_networks_get_one_thread_and_the_user_goes_first(monkeypatch):
    assert chosen_threads(small=True) == 1
    assert 1 <= chosen_threads(small=False) <= threads.cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert chosen_threads(small=True) is None
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert chosen_threads(small=True) == 3
    for text in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv(threads.VARIABLE, text)
        with pytest.raises(ConfigError, match="DYNAPOINT_THREADS is"):
            chosen_threads(small=True)


def test_what_was_set_before_is_set_again():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), computing(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before
    with computing(None):
        assert torch.get_num_threads() == before


def test_a_busy_neighbour_is_seen():
    if threads.look().busy_s is None:
        pytest.skip("this system does not say how busy it is")
    busy = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(busy) as neighbour:
        try:
            before = threads.look()
            time.sleep(0.5)
            used = used_by_others(before, threads.look())
        finally:
            neighbour.kill()
    assert used > 0.2
