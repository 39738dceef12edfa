"""Where and with what numbers were made, and how much memory and time they took."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dynapoint

_GIT_S = 10
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What numbers depend on beside data, weights and options.

    Attributes:
        package: Name and version.
        commit: Of the package's checkout, with "+" where files were changed; "" outside of one.
        python: Version.
        torch: Version.
        numpy: Version.
        system: Operating system and architecture.
        processor: Its name.
        device: Of networks: "cpu", or the GPU's name.
        threads: That networks may use on the processor.
    """

    package: str
    commit: str
    python: str
    torch: str
    numpy: str
    system: str
    processor: str
    device: str
    threads: int


def environment() -> Environment:
    """That of this process."""
    return Environment(
        package=f"dynapoint {dynapoint.__version__}",
        commit=commit(),
        python=platform.python_version(),
        torch=_version("torch"),
        numpy=_version("numpy"),
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        device=_device(),
        threads=_threads(),
    )


def machine() -> str:
    """The processor and the device that networks use, in a few words."""
    device = _device()
    return _processor() if device == "cpu" else f"{_processor()}, {device}"


@cache
def commit() -> str:
    """The commit of the checkout that the package lies in, "+" if changed; "" outside of one."""
    folder = Path(dynapoint.__file__).resolve().parent
    # A package that was installed into a folder within some other checkout is none of it.
    if not (folder.parents[1] / ".git").exists():
        return ""
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", str(folder))
    return f"{head}+" if head and changed else head


@dataclass
class Spent:
    """What a block took; known when it is over.

    Attributes:
        seconds: Of wall time.
        peak_mib: Of the GPU if there is one, else of the whole process; 0 where it is not known.
    """

    seconds: float = 0.0
    peak_mib: float = 0.0


@contextmanager
def measured() -> Iterator[Spent]:
    """Measure what a block takes."""
    spent = Spent()
    cuda = _cuda()
    known = True
    if cuda is not None:
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
    else:
        known = _forget_peak()
    began = time.perf_counter()
    yield spent
    if cuda is not None:
        cuda.synchronize()
    spent.seconds = time.perf_counter() - began
    if cuda is not None:
        spent.peak_mib = cuda.max_memory_allocated() / 2**20
    elif known:
        spent.peak_mib = _peak_mib()


def _cuda() -> Any:
    """PyTorch's `cuda` where networks can use a GPU; torch is not loaded for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _forget_peak() -> bool:
    """Begin the process's peak of memory anew; whether the system lets it."""
    try:
        _RESET.write_text(_RESET_PEAK)
    except OSError:
        return False
    return _STATUS.is_file()


def _peak_mib() -> float:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    return 0.0


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _device() -> str:
    cuda = _cuda()
    return "cpu" if cuda is None else str(cuda.get_device_name())


def _threads() -> int:
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else os.cpu_count() or 1


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _git(folder: Path, *words: str) -> str:
    """What git says of a folder; "" where it cannot."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
