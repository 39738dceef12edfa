"""What is said of longer work, and that nothing is where nobody wants it."""

import sys

import pytest

from dynapoint.results import progress
from dynapoint.results.progress import steps


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def through(clock, seconds, *, count=20, shown=True):
    """Go through steps that take so many seconds each."""
    done = []
    for step in steps(list(range(count)), "clouds", shown=shown):
        done.append(step)
        clock[0] += seconds
    assert done == list(range(count))


def test_quick_work_and_unwanted_lines_are_silent(clock, capsys):
    through(clock, 0.05)
    through(clock, 10, shown=False)
    assert capsys.readouterr() == ("", "")


def test_lines_come_every_few_seconds_on_standard_error(clock, capsys):
    through(clock, 1.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"clouds: {done} of 20 done" for done in (2, 6, 10, 14, 18)]


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_S", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(steps([1, 2, 3], "clouds", shown=True)) == [1, 2, 3]
    assert "clouds" in capsys.readouterr().err
