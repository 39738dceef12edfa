"""What takes long says so: bars on terminals, lines in files, functions that are told."""

import io
import itertools
import os
import pty
import re
import sys
import threading
import time

import pytest

from dynapoint import progress
from dynapoint.progress import Scope, Work, advance, begin, part, say, shown, steps


def at_once(monkeypatch):
    """Let every line come as soon as there is something to say."""
    monkeypatch.setattr(progress, "_NEW_LEAST_S", 0.0)
    monkeypatch.setattr(progress, "_NEW_SHARE", 0.0)


def test_nothing_is_said_unless_somebody_wants_it(capsys):
    begin("a stage")
    with part("a part"), shown(False) as work:
        begin("another")
        assert list(steps([1, 2, 3], "step")) == [1, 2, 3]
    assert work.stage == "" and capsys.readouterr() == ("", "")


def test_in_a_file_stages_are_lines_on_standard_error(capsys, monkeypatch):
    at_once(monkeypatch)
    with shown(name="clip 3 of 7: dog.mp4", plan=("read", "network")) as work:
        begin("read")
        say("beside it")
        begin("network")
        with part("flow"):
            pass
    out, err = capsys.readouterr()
    assert out == "beside it\n"
    said = ["read", "network", "network, flow"]
    assert err.splitlines() == [f"clip 3 of 7: dog.mp4: {stage}" for stage in said]
    assert list(work.seconds) == ["read", "network"] and all(s >= 0 for s in work.seconds.values())


class At(Work):
    """Work at a time."""

    def __init__(self, now, heading):
        self.now, self.scopes = now, (Scope(name=heading),)

    @property
    def elapsed_s(self):
        return float(self.now)


def lines_at(capsys, headings):
    """When lines of what goes on at times (seconds) are printed, asked for twice a second."""
    lines, said = progress._Lines(), []
    last = max(headings) + 400
    for tick in range(2 * last):
        now = tick / 2
        heading = headings[max(since for since in headings if since <= now)]
        lines.show(At(now, heading))
        if capsys.readouterr().err:
            said.append((now, heading))
    return said


def test_lines_keep_a_distance_and_never_stop_coming(capsys):
    said = lines_at(capsys, {0: "a", 1: "b", 2: "c", 60: "d"})
    times = [now for now, _ in said]
    apart = [after - before for before, after in itertools.pairwise(times)]
    # a and b were over before a line was due; c comes as soon as one is.
    assert said[0] == (3.0, "c")
    assert min(apart) >= 3 and max(apart) <= 60.5
    assert (60.0, "d") in said or any(60 <= now <= 70 and h == "d" for now, h in said)
    # Every stage that lasts is said within seconds of its beginning.
    assert next(now for now, heading in said if heading == "d") - 60 <= 3.5
    assert len([now for now in times if now < 60]) <= 8


def test_other_threads_say_nothing(capsys, monkeypatch):
    at_once(monkeypatch)
    with shown(name="main"):
        thread = threading.Thread(target=lambda: begin("of another"))
        thread.start()
        thread.join()
        begin("own")
    assert capsys.readouterr().err == "main: own\n"


def test_how_far_it_is_counts_stages_loops_and_loops_in_loops():
    with shown(plan=("a", "b", "c", "d")) as root:
        work = progress._CURRENT.get()
        begin("c")
        assert work.done() == 2
        seen = []
        for k in steps(range(4), "outer"):
            for _ in steps(range(2), "inner"):
                seen.append((k, work.done()))
        assert [done for _, done in seen] == [2 + i / 8 for i in range(8)]
        assert work.text().startswith("c")
        assert work.done() == 2 and work.scopes == (root,)


def test_a_loop_that_is_left_is_over():
    with shown(name="x"):
        work = progress._CURRENT.get()
        loop = steps(range(5), "step")
        assert next(loop) == 0 and len(work.scopes) == 2
        assert work.text() == "x: step 1 of 5"
        loop.close()
        assert len(work.scopes) == 1
        with pytest.raises(KeyError), part("a part that fails"):
            raise KeyError
        assert len(work.scopes) == 1
    assert progress._CURRENT.get() is None


def test_a_loop_by_itself_is_shown_if_wanted(capsys, monkeypatch):
    at_once(monkeypatch)
    assert list(steps(iter("ab"), "letter", total=2, wanted=True)) == ["a", "b"]
    assert capsys.readouterr().err == "letter 1 of 2\n"
    assert progress._CURRENT.get() is None


def test_a_function_is_told_of_stages_and_may_stop_the_work():
    told = []

    def tell(stage):
        told.append(stage)
        if stage == "c":
            raise InterruptedError

    with pytest.raises(InterruptedError), shown(tell=tell):
        begin("a")
        for _ in steps(range(2), "step"):
            begin("within")
        begin("b")
        with shown(name="as part of it"):
            begin("c")
    assert told == ["a", "b", "c"]
    assert progress._CURRENT.get() is None


class Terminal:
    """A terminal as standard error: what is written to it, and when."""

    def __init__(self):
        self.ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w")
        self.written = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while True:
            try:
                piece = os.read(self.ours, 4096)
            except OSError:
                return
            self.written.append((time.monotonic(), piece.decode()))

    def text(self):
        self.stream.flush()
        time.sleep(0.1)
        return "".join(piece for _, piece in self.written)


def test_a_bar_moves_within_a_stage_and_stands_aside_for_lines(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    with shown(name="dog.mp4", plan=("network", "write")):
        begin("network")
        before = len(terminal.text())
        time.sleep(2.3)  # nobody says anything
        said = terminal.text()[before:]
        say("a line")
    assert capsys.readouterr().out == "a line\n"
    assert {"00:01", "00:02"} <= set(re.findall(r"\d\d:\d\d", said))
    assert said.count("dog.mp4: network") >= 3
    # One line of the terminal, taken away at the end.
    assert "\n" not in terminal.text() and terminal.text().rstrip(" ").endswith("\r")


def test_a_bar_never_goes_backwards(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    with shown(total=4, name="train: step", done=1) as work:
        bar = progress._CURRENT.get().display._bar
        assert bar.n == 1
        for _ in range(2):
            for _ in steps(range(2), "validation"):
                progress._CURRENT.get().changed()
        assert 1 < bar.n < 2
        advance(work, 2, words="loss 0.5")
        progress._CURRENT.get().changed()
        assert bar.n == 3 and "train: step 4 of 4: loss 0.5" in terminal.text()


def test_a_reader_who_is_gone_stops_nothing(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    with shown(name="x"):
        begin("a")
    monkeypatch.setattr(sys, "stderr", None)
    with shown(name="x"):
        begin("a")


def test_long_names_keep_their_ends():
    assert progress._shortened("a" * 30 + "b" * 30, 21) == "a" * 9 + "..." + "b" * 9
    assert progress._shortened("short", 5) == "short"
