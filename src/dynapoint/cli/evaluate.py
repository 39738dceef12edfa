"""`dynapoint evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dynapoint.cli.common import Flag, optional, print_json, said_of_files


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score networks on clips with exact ground truth, beside the trivial answers."""

    clips: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CLIPS")]
    """Folder of clips as `dynapoint synth` writes them."""
    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("nano",)
    """Names of networks."""
    weights: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Weights files to use instead of the models' own, one for each."""
    output: Annotated[Path | None, optional("JSON", "-o")] = None
    """JSON file for all numbers."""
    json: Flag = False
    """Print all numbers in one JSON object instead of the tables."""

    def run(self) -> int:
        """Print the tables of scores."""
        from dynapoint.evaluation.report import to_plain, to_tables  # noqa: PLC0415
        from dynapoint.evaluation.score import evaluate_paths  # noqa: PLC0415

        rows = evaluate_paths(
            self.clips, self.model, self.output, weights=self.weights, progress=True
        )
        if self.json:
            written = said_of_files(*([self.output] if self.output else []))
            print_json({"clips": str(self.clips), **written, **to_plain(rows)})
        else:
            print(to_tables(rows))
        return 0
