"""The command line. Every command loads what it needs when it runs, so that `--help` is quick."""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import reduce
from io import StringIO
from operator import or_
from typing import Annotated, Any

import tyro

import dynapoint
from dynapoint import threads
from dynapoint.cli.answers import Flow, Fuse, Match, Objects, Segment, Tracks
from dynapoint.cli.common import (
    FAILED,
    INTERRUPTED,
    TERMINATED,
    WRONG_USAGE,
    Terminated,
    UsageError,
    ends_cleanly,
    print_error,
)
from dynapoint.cli.evaluate import Evaluate
from dynapoint.cli.export import Export
from dynapoint.cli.mistakes import find_mistake
from dynapoint.cli.models import Models
from dynapoint.cli.reconstruct import Reconstruct, in_pairs
from dynapoint.cli.scene import Info
from dynapoint.cli.train import Synth, Train
from dynapoint.cli.view import View
from dynapoint.errors import DynapointError

COMMANDS: dict[str, type] = {
    "reconstruct": Reconstruct,
    "info": Info,
    "tracks": Tracks,
    "flow": Flow,
    "segment": Segment,
    "match": Match,
    "objects": Objects,
    "fuse": Fuse,
    "view": View,
    "export": Export,
    "evaluate": Evaluate,
    "synth": Synth,
    "train": Train,
    "models": Models,
}
"""The commands by name."""

_DESCRIPTION = "Turn any video into a 4D scene. `dynapoint --version` gives the version."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (0, 1 for an expected error, 2 for wrong usage).

    Interrupted it is 130, asked to end 143.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Paths may hold what a terminal cannot show; that is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        with ends_cleanly():
            return _run(given)
    except UsageError as error:
        named = [given[0]] if given and given[0] in COMMANDS else []
        print(
            f"dynapoint: {error}; see `{' '.join(['dynapoint', *named, '--help'])}`",
            file=sys.stderr,
        )
        return WRONG_USAGE
    except DynapointError as error:
        print_error(error)
        return FAILED
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        print_error(
            DynapointError(
                "memory does not suffice; use fewer frames (--frames), fewer points (--max-points, "
                "--every) or a machine with more"
            )
        )
        return FAILED
    except KeyboardInterrupt as stop:
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except BrokenPipeError:
        # Who reads has seen enough, as `head` has; Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(given: list[str]) -> int:
    """Run a command or print the version; returns the exit code."""
    code = 0
    if given == ["--version"]:
        print(f"dynapoint {dynapoint.__version__}")
    else:
        command = _parsed(in_pairs(given))
        threads.before_torch(choose=not isinstance(command, Reconstruct))
        code = int(command.run())
    sys.stdout.flush()
    return code


def _parsed(given: list[str]) -> Any:
    """The command that the words stand for; raises UsageError where they stand for none."""
    said = StringIO()
    try:
        # The parser's boxes are for programmers; what is wrong is said in a line of ours.
        with redirect_stderr(said):
            return tyro.cli(
                _choice(in_full=given[:1] != [] and given[0] in COMMANDS),
                prog="dynapoint",
                description=_DESCRIPTION,
                args=given,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.CascadeSubcommandArgs),
            )
    except SystemExit as stop:
        if stop.code != WRONG_USAGE:
            raise
        raise UsageError(find_mistake(given, COMMANDS, said.getvalue())) from None


def _choice(*, in_full: bool) -> Any:
    """The commands as one type; their first lines alone where all are listed."""
    commands = [
        Annotated[
            command,
            tyro.conf.subcommand(
                name, description=None if in_full else str(command.__doc__).splitlines()[0]
            ),
        ]
        for name, command in COMMANDS.items()
    ]
    return reduce(or_, commands)


def _lacks_memory(error: Exception) -> bool:
    """Whether NumPy, or PyTorch, which says it in words only, ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    from dynapoint.models.layers.compute import is_out_of_memory  # noqa: PLC0415

    return is_out_of_memory(error)
