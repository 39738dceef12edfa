"""How many threads compute: what the machine has free, and what the work can use.

Threads of OpenMP meet at the end of every loop. Beside other busy processes one of them waits for
its turn while the others spin, so that two threads on two busy cores take longer than one.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dynapoint.errors import ConfigError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

VARIABLE = "DYNAPOINT_THREADS"
"""Environment variable with a number of threads, for all that computes."""

_STAT, _CPUS = Path("/proc/stat"), Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# A shorter look at the machine says little: its clock ticks a hundred times a second.
_SHORTEST_LOOK_S = 0.1
# What happened longer ago says little about now.
_LONGEST_LOOK_S = 20.0
# A core is free if others use less of it than this.
_IDLE = 0.35
# PyTorch's OpenMP reads it when it is loaded: threads that wait sleep instead of spinning.
_WAITING = ("OMP_WAIT_POLICY", "PASSIVE")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a machine and this process had used at a moment, in seconds of cores.

    Attributes:
        moment_s: When, by a clock that only goes forward.
        busy_s: All processes that nobody asked to be nice; None where the system does not say.
        own_s: This process.
    """

    moment_s: float
    busy_s: float | None
    own_s: float


def look() -> Look:
    """The machine now."""
    own = os.times()
    return Look(moment_s=time.monotonic(), busy_s=_busy_s(), own_s=own.user + own.system)


class Machine:
    """What other processes leave free, seen between one question and the next."""

    def __init__(self) -> None:
        self._since = look()
        self._free: int | None = None

    def free_cores(self) -> int:
        """Physical cores that nobody else uses, at least one; takes a tenth of a second at most."""
        now = look()
        passed = now.moment_s - self._since.moment_s
        if self._free is not None and passed < _SHORTEST_LOOK_S:
            return self._free
        if passed > _LONGEST_LOOK_S:
            self._since, passed = now, 0.0
        if passed < _SHORTEST_LOOK_S:
            time.sleep(_SHORTEST_LOOK_S - passed)
            now = look()
        others = used_by_others(self._since, now)
        self._since = now
        self._free = max(1, int(cores() - others + _IDLE))
        return self._free


@cache
def cores() -> int:
    """Physical cores that this process may use; two threads of a core compute no more than one."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:
        return os.cpu_count() or 1
    groups = set()
    for number in allowed:
        siblings = _CPUS / f"cpu{number}" / "topology" / "thread_siblings_list"
        groups.add(_text(siblings) or str(number))
    return max(1, int(min(len(groups), _quota())))


def used_by_others(since: Look, now: Look) -> float:
    """How many cores other processes kept busy between two looks."""
    if since.busy_s is None or now.busy_s is None:
        return 0.0
    passed = now.moment_s - since.moment_s
    own = now.own_s - since.own_s
    return max(0.0, (now.busy_s - since.busy_s - own) / passed) if passed > 0 else 0.0


def told_threads() -> int | None:
    """The number in `DYNAPOINT_THREADS`.

    Raises:
        ConfigError: It is no positive whole number.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{VARIABLE} is {text!r}; give a whole number of threads from 1 up")
    return int(text)


def chosen_threads(*, small: bool) -> int | None:
    """How many threads are to compute; None leaves that as the user has set it.

    The environment's number goes first. A user who has set OpenMP's number has chosen. A small
    network gets one: more of them bring a twentieth on an idle machine (docs/notes/machines.md).

    Args:
        small: Whether a small network computes.

    Raises:
        ConfigError: `DYNAPOINT_THREADS` is no positive whole number.
    """
    told = told_threads()
    if told is not None:
        return told
    if os.environ.get("OMP_NUM_THREADS"):
        return None
    return 1 if small else _machine.free_cores()


def chosen_processes() -> int:
    """How many processes of a thread each are to compute: as threads are chosen.

    Raises:
        ConfigError: `DYNAPOINT_THREADS` is no positive whole number.
    """
    told = told_threads()
    if told is not None:
        return told
    openmp = os.environ.get("OMP_NUM_THREADS", "")
    return int(openmp) if openmp.isdecimal() and int(openmp) else _machine.free_cores()


@contextmanager
def computing(threads: int | None) -> Iterator[None]:
    """Let PyTorch and NumPy's linear algebra compute with so many threads; None changes nothing."""
    if threads is None:
        yield
        return
    import torch  # noqa: PLC0415 - slow to import.

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _libraries().limit(limits=threads, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def settle(threads: int | None) -> None:
    """As `computing`, for the rest of the process: for commands, not for use as a library."""
    if threads is not None:
        import torch  # noqa: PLC0415 - slow to import.

        torch.set_num_threads(threads)
        _libraries().limit(limits=threads, user_api="blas")


@cache
def _libraries() -> "ThreadpoolController":
    """The libraries with threads of their own that are loaded by now."""
    from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - looks at all libraries.

    return ThreadpoolController()


def before_torch(*, choose: bool) -> None:
    """For commands: what OpenMP reads from the environment once, when PyTorch is imported.

    Args:
        choose: Whether the number of threads is chosen now, from what the machine has free.

    Raises:
        ConfigError: `DYNAPOINT_THREADS` is no positive whole number.
    """
    name, value = _WAITING
    os.environ.setdefault(name, value)
    if choose and "torch" not in sys.modules:
        threads = chosen_threads(small=False)
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)


def _busy_s() -> float | None:
    """Seconds of cores that were used by what is not nice, since the machine was started."""
    words = _text(_STAT).split(maxsplit=9)
    if len(words) < 9 or words[0] != "cpu":
        return None
    user, _nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, words[1:9])
    return (user + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _quota() -> float:
    """Cores that a container's quota allows."""
    words = _text(_QUOTA).split()
    if len(words) != 2 or not all(word.isdecimal() for word in words) or words[1] == "0":
        return float("inf")
    return max(1.0, int(words[0]) / int(words[1]))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


_machine = Machine()
