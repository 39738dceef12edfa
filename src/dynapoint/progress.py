"""What takes long says so: by one bar on a terminal, by lines in a file, or to a function.

Who wants it shown opens `shown`. What works inside says what it does by `begin` (a stage, until the
next one), `part` (a block) and `steps` (a loop), however deep it lies, and knows of no bars. Where
nothing is shown, and in other threads, these do nothing.

A bar is drawn anew twice a second by a thread of its own, so that it moves within long stages and
on busy machines too. In a file a stage is a line when it begins, and lines keep a distance that
grows with the time the work has taken; the first one comes after three seconds, so that what is
quick, and what fails early, says nothing.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")

RECONSTRUCTING = ("read", "load model", "network", "refine")
SAVING = ("tracks", "contact sheet", "self-check", "write")
"""The stages from a source to an answer, refined or not, and from there to a folder."""

_TICK_S = 0.5
# Lines of new stages and of the same one again are so far apart: a share of the time since the
# work began, between a least and a most.
_NEW_SHARE, _NEW_LEAST_S = 1 / 20, 3.0
_SAME_SHARE, _SAME_LEAST_S = 1 / 6, 10.0
_MOST_S = 60.0
# A bar's words and file names in them are cut to these, so that some of the bar is seen.
_WORDS, _LABEL = 58, 36
# Of terminals that do not say it.
_USUAL_SIZE = {"ncols": 80, "nrows": 24}


@dataclass(kw_only=True, eq=False)
class Scope:
    """Some work that goes on: what it does now, and how far it is.

    Attributes:
        name: What it is; empty where its stages say enough.
        total: How many steps or stages it takes; None where nobody knows.
        plan: The names of its stages, where they are known before.
        done: Steps that are over, parts of one included.
        stage: What it does now.
        words: More to say, e.g. a loss.
        seconds: What each stage took.
    """

    name: str = ""
    total: float | None = None
    plan: Sequence[str] = ()
    done: float = 0.0
    stage: str = ""
    words: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = 0.0

    def begin(self, stage: str) -> None:
        """A stage begins, and the one before it, if any, is over."""
        self.end()
        self.stage, self._since = stage, time.perf_counter()
        if stage in self.plan:
            self.done = float(self.plan.index(stage))

    def end(self) -> None:
        """The stage that goes on is over."""
        if self.stage:
            spent = time.perf_counter() - self._since
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + spent
            self.stage = ""


@runtime_checkable
class Display(Protocol):
    """Shows some work; asked to twice a second and whenever the work changes."""

    def show(self, work: "Work") -> None:
        """The work as it is now."""

    def aside(self) -> Any:
        """A block in which other lines may be printed."""

    def close(self) -> None:
        """The work is over."""


class Work:
    """All that goes on within one `shown`: scopes in scopes, and where they are shown."""

    def __init__(self, root: Scope, display: Display, *, ticks: bool = True) -> None:
        self.scopes: tuple[Scope, ...] = (root,)
        self.began_s = time.monotonic()
        self.display = display
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
        if ticks:
            self._ticker.start()

    def close(self) -> None:
        """Show it no longer."""
        self._over.set()
        if self._ticker.is_alive():
            self._ticker.join()
        with self._lock:
            self.scopes[0].end()
            self.display.close()

    def changed(self) -> None:
        """Something began or ended."""
        with self._lock:
            self.display.show(self)

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[Scope]:
        """Work within the innermost scope."""
        self.scopes = (*self.scopes, scope)
        try:
            self.changed()
            yield scope
        finally:
            scope.end()
            self.scopes = tuple(each for each in self.scopes if each is not scope)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began_s

    def done(self) -> float:
        """How much is done, in the steps or stages of the outermost scope."""
        inner, done = 0.0, 0.0
        for scope in reversed(self.scopes):
            done = scope.done + inner
            inner = min(done / scope.total, 1.0) if scope.total else 0.0
        return done

    def heading(self) -> str:
        """What goes on, without counts."""
        return self._words(counted=False)

    def text(self) -> str:
        """What goes on, with counts."""
        return self._words(counted=True)

    def _words(self, *, counted: bool) -> str:
        root, *others = self.scopes
        loop = counted and root.total and not root.plan
        name = f"{root.name} {_count(root)}" if loop else root.name
        said = [root.stage]
        for scope in others:
            named = f"{scope.name} {_count(scope)}" if counted and scope.total else scope.name
            said += [named, scope.stage]
        # Words such as a loss change at every step.
        said += [scope.words for scope in self.scopes if counted]
        whole = ", ".join(each for each in said if each)
        return f"{name}: {whole}" if name and whole else name or whole

    def _tick(self) -> None:
        while not self._over.wait(_TICK_S):
            self.changed()


def _count(scope: Scope) -> str:
    """Which step goes on, from 1."""
    assert scope.total is not None
    return f"{min(int(scope.done) + 1, int(scope.total))} of {int(scope.total)}"


class _Bar:
    """One bar of tqdm's on a terminal, below which bars of others find their place."""

    def __init__(self, root: Scope) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - only terminals need it.

        self._class = tqdm
        alike = root.total is not None and not root.plan
        shown = ["{desc}", *(["|{bar}|"] if root.total else []), "{elapsed}"]
        self._bar = tqdm(
            total=root.total,
            initial=root.done,
            leave=False,
            # Drawn when there are words.
            delay=1e-9,
            **({"dynamic_ncols": True} if _knows_size() else _USUAL_SIZE),
            # Steps of a loop are alike, so that what is left can be foretold.
            bar_format=" ".join(shown) + ("<{remaining}" if alike else ""),
        )

    def show(self, work: Work) -> None:
        # Never backwards, though a stage may have several loops.
        self._bar.n = max(self._bar.n, work.done())
        self._bar.set_description_str(_shortened(work.text(), _WORDS), refresh=False)
        # Whoever reads standard error may be gone, which is no reason to stop working.
        with suppress(OSError, ValueError):
            self._bar.refresh()

    def aside(self) -> Any:
        return self._class.external_write_mode()

    def close(self) -> None:
        self._bar.close()


def _knows_size() -> bool:
    """Whether the terminal says how large it is."""
    try:
        return min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except (OSError, ValueError):
        return False


class _Lines:
    """Lines on standard error, for files and other programs."""

    def __init__(self) -> None:
        self._said = ""
        # Work that is over at once, or fails at once, says nothing.
        self._last_s = 0.0

    def show(self, work: Work) -> None:
        heading, now = work.heading(), work.elapsed_s
        new = heading != self._said
        share, least = (_NEW_SHARE, _NEW_LEAST_S) if new else (_SAME_SHARE, _SAME_LEAST_S)
        if not heading or now - self._last_s < min(max(share * now, least), _MOST_S):
            return
        spent = f" ({now:.0f} s)" if now >= 1.0 else ""
        self._said, self._last_s = heading, now
        with suppress(OSError, ValueError):
            print(f"{work.text()}{spent}", file=sys.stderr, flush=True)

    def aside(self) -> Any:
        return nullcontext()

    def close(self) -> None:
        pass


class _Told:
    """A function that is told of every stage of the outermost scope as it begins."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._said = ""

    def show(self, work: Work) -> None:
        stage = work.scopes[0].stage
        if stage and stage != self._said:
            self._said = stage
            self._tell(stage)

    def aside(self) -> Any:
        return nullcontext()

    def close(self) -> None:
        pass


_CURRENT: ContextVar[Work | None] = ContextVar("dynapoint_progress", default=None)


@contextmanager
def shown(
    wanted: bool = True,
    *,
    name: str = "",
    plan: Sequence[str] = (),
    total: int | None = None,
    done: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Scope]:
    """Show what goes on in the block on standard error; within another such block, as part of it.

    Args:
        wanted: Whether it is shown.
        name: What it is, e.g. the clip's name.
        plan: The stages that `begin` will name, so that a bar knows how far it is.
        total: Of a loop instead: how many steps there are (`advance`).
        done: Of these, how many are over.
        tell: A function that is called with every stage as it begins, in place of a bar or lines.

    Returns:
        What goes on, which knows afterwards how long each stage took.
    """
    current = _CURRENT.get()
    if current is not None:
        yield current.scopes[-1]
        return
    root = Scope(name=_shortened(name, _LABEL), plan=plan, total=_number(total or len(plan)))
    root.done = float(done)
    if not (wanted or tell) or sys.stderr is None:
        yield root
        return
    display: Display = _Lines()
    if tell is not None:
        display = _Told(tell)
    elif sys.stderr.isatty():
        display = _Bar(root)
    work = Work(root, display, ticks=tell is None)
    _CURRENT.set(work)
    if total:
        work.changed()
    try:
        yield root
    finally:
        _CURRENT.set(None)
        work.close()


def begin(stage: str) -> None:
    """A stage of the innermost work begins, and the one before it, if any, is over."""
    work = _CURRENT.get()
    if work is not None:
        work.scopes[-1].begin(stage)
        work.changed()


@contextmanager
def part(name: str) -> Iterator[None]:
    """A block of the innermost work."""
    work = _CURRENT.get()
    if work is None:
        yield
        return
    with work.inside(Scope(name=name)):
        yield


def steps(
    items: Iterable[Item], name: str, *, total: int | None = None, wanted: bool = False
) -> Iterator[Item]:
    """The items of a loop, which is part of what goes on.

    Args:
        items: What is gone through.
        name: Of one of them, e.g. "time".
        total: How many they are, where they do not know it themselves.
        wanted: Whether the loop is to be shown where nothing is shown so far.
    """
    count = len(items) if total is None and isinstance(items, Sized) else total
    if _CURRENT.get() is None and not wanted:
        yield from items
        return
    with _loop(name, count) as scope:
        for item in items:
            yield item
            advance(scope)


@contextmanager
def _loop(name: str, count: int | None) -> Iterator[Scope]:
    """A loop within what goes on, or by itself."""
    work = _CURRENT.get()
    with (
        shown(name=name, total=count)
        if work is None
        else work.inside(Scope(name=name, total=_number(count)))
    ) as scope:
        yield scope


def advance(scope: Scope, count: int = 1, *, words: str = "") -> None:
    """So many more steps of a loop are over; `words` say more, e.g. a loss."""
    scope.done += count
    scope.words = words


def say(line: str) -> None:
    """Print a line on standard output, beside what is shown."""
    work = _CURRENT.get()
    with nullcontext() if work is None else work.display.aside():
        print(line, flush=True)


def complain(line: str) -> None:
    """Print a line on standard error, beside what is shown."""
    work = _CURRENT.get()
    with nullcontext() if work is None else work.display.aside(), suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _number(count: int | None) -> float | None:
    """As a number of steps; none at all are as good as unknown."""
    return float(count) if count else None


def _shortened(words: str, most: int) -> str:
    """Words that are too long without their middle."""
    if len(words) <= most:
        return words
    kept = most - 3
    return f"{words[: kept - kept // 2]}...{words[len(words) - kept // 2 :]}"
