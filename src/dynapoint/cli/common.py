"""What the commands share: option types, exit codes, and how errors are printed."""

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tyro

from dynapoint.errors import DynapointError

FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
"""Exit codes; 0 is success. The last two are those of shells for processes ended by signals."""

OutputOption = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]


def optional(metavar: str, *aliases: str) -> Any:
    """For options that are None unless given, which no help needs to say."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="", aliases=aliases)


class UsageError(Exception):
    """Options that parse but make no sense; exit code 2, like those that do not parse."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM), and cleans up as if it was interrupted."""


@contextmanager
def ends_cleanly() -> Iterator[None]:
    """A block in which SIGTERM raises `Terminated`; outside of the main thread nothing changes."""

    def end(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_error(error: DynapointError, scene: str | None = None) -> None:
    """One line on standard error, whatever the message is; of many scenes it names its own."""
    line = " ".join(str(error).splitlines())
    said = f"{scene}: {line}" if scene and scene not in line else line
    print(f"dynapoint: {said}", file=sys.stderr, flush=True)


def print_json(said: dict[str, Any], *, one_line: bool = False) -> None:
    """One object on standard output; NaN and infinity, which JSON has not, are errors of ours."""
    print(json.dumps(said, indent=None if one_line else 2, allow_nan=False), flush=True)


def said_of_files(*files: Path) -> dict[str, Any]:
    """What JSON says of what was written: the files, those in folders too, and their bytes."""
    listed = [file for path in files for file in files_in(path)]
    return {"files": listed, "bytes": sum(Path(file).stat().st_size for file in listed)}


def files_in(path: Path) -> list[str]:
    """A file, or all files in a folder, in order."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sorted(str(file) for file in files)
