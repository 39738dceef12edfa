"""`dynapoint evaluate`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score networks on clips with exact truth, beside the trivial answers."""

    clips: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CLIPS")]
    """Folder of clips as `dynapoint synth` writes them."""
    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("nano",)
    """Names of networks."""
    weights: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Weights files to use instead of the models' own, one for each."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="JSON")] = None
    """JSON file for all numbers."""

    def run(self) -> int:
        """Print the table of scores."""
        from dynapoint.evaluation.score import evaluate_paths  # noqa: PLC0415

        table = evaluate_paths(
            self.clips,
            self.model,
            self.output,
            weights=self.weights,
            progress=sys.stderr.isatty(),
        )
        print(table)
        return 0
