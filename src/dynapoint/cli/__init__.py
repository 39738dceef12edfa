"""The command line. Every command loads what it needs when it runs, so that `--help` is quick."""

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

import dynapoint
from dynapoint.cli.answers import Flow, Fuse, Match, Objects, Segment, Tracks
from dynapoint.cli.common import FAILED, INTERRUPTED, WRONG_USAGE, UsageError, print_error
from dynapoint.cli.evaluate import Evaluate
from dynapoint.cli.export import Export
from dynapoint.cli.models import Models
from dynapoint.cli.reconstruct import Reconstruct
from dynapoint.cli.scene import Info
from dynapoint.cli.train import Synth, Train
from dynapoint.cli.view import View
from dynapoint.errors import DynapointError

_Command = (
    Annotated[Reconstruct, tyro.conf.subcommand("reconstruct")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Tracks, tyro.conf.subcommand("tracks")]
    | Annotated[Flow, tyro.conf.subcommand("flow")]
    | Annotated[Segment, tyro.conf.subcommand("segment")]
    | Annotated[Match, tyro.conf.subcommand("match")]
    | Annotated[Objects, tyro.conf.subcommand("objects")]
    | Annotated[Fuse, tyro.conf.subcommand("fuse")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Synth, tyro.conf.subcommand("synth")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Models, tyro.conf.subcommand("models")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (0, 1 for an expected error, 2 for wrong usage)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"dynapoint {dynapoint.__version__}")
        return 0
    try:
        command = tyro.cli(
            _Command,  # type: ignore[arg-type]
            prog="dynapoint",
            description="Turn any video into a 4D scene. `dynapoint --version` gives the version.",
            args=given,
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.CascadeSubcommandArgs),
        )
        return command.run()
    except UsageError as error:
        print(f"dynapoint: {error}; see `dynapoint --help`", file=sys.stderr)
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
    except KeyboardInterrupt:
        return INTERRUPTED


def _lacks_memory(error: Exception) -> bool:
    """Whether NumPy, or PyTorch, which says it in words only, ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    from dynapoint.models.compute import is_out_of_memory  # noqa: PLC0415

    return is_out_of_memory(error)
