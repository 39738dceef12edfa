"""`dynapoint evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dynapoint.cli.common import FAILED, Flag, UsageError, optional, print_json, said_of_files
from dynapoint.datasets.places import data_places, named_paths

if TYPE_CHECKING:
    from dynapoint.evaluation.harness.gate import Baseline
    from dynapoint.evaluation.harness.result import Result
    from dynapoint.evaluation.protocols.protocol import Protocol

SYNTHETIC, LIST, ALL, USUAL = "synthetic", "list", "all", "nano"


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score networks: by the papers' protocols, on the engine's held-out clips, or on own clips.

    `--protocol list` shows the protocols and what each needs. Trivial answers and the truth stand
    beside every number.
    """

    clips: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="CLIPS", help_behavior_hint="")
    ] = None
    """Folder of clips as `dynapoint synth` writes them, or the word synthetic for held-out ones
    that are made in OUT."""
    protocol: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY...")] = ()
    """Tables to fill; all for those whose data are given; list to see them."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SET=PATH...")] = ()
    """Folders of data sets."""
    model: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME...", help_behavior_hint="(default: nano)")
    ] = ()
    """Names of networks and baselines."""
    weights: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Weights files to use instead of the models' own, one for each."""
    predictions: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FOLDER...")] = ()
    """Predictions that other methods made (docs/evaluation.md)."""
    output: Annotated[Path | None, optional("OUT", "-o")] = None
    """Folder for predictions, results and tables; of CLIPS, a JSON file for all numbers."""
    gate: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="JSON...")] = ()
    """Earlier results; exit with 1 if a number is worse."""
    tolerance: str = "2%"
    """By how much a number may be worse."""
    again: Flag = False
    """Predict anew what is stale or damaged."""
    only_score: Flag = False
    """Predict nothing: score the predictions that are there."""
    json: Flag = False
    """Print all numbers in one JSON object instead of the tables."""

    def run(self) -> int:
        """Print the tables of scores."""
        if LIST in self.protocol:
            return self._list()
        if self.clips is not None and str(self.clips) != SYNTHETIC:
            return self._score_clips(self.clips)
        if self.protocol or self.clips is not None:
            return self._run_protocols()
        raise UsageError("evaluate needs CLIPS, the word synthetic, or --protocol KEY")

    def _list(self) -> int:
        from dynapoint.evaluation.harness.listing import listing, listing_plain  # noqa: PLC0415
        from dynapoint.evaluation.protocols.registry import all_protocols  # noqa: PLC0415

        protocols, data = list(all_protocols().values()), data_places(self.data)
        if self.json:
            print_json({"protocols": listing_plain(protocols, data)})
        else:
            print(listing(protocols, data))
        return 0

    def _score_clips(self, clips: Path) -> int:
        """Own clips by the metrics of docs/scoring.md."""
        from dynapoint.evaluation.report import to_plain, to_tables  # noqa: PLC0415
        from dynapoint.evaluation.score import evaluate_paths  # noqa: PLC0415

        for name in ("protocol", "data", "predictions", "gate", "again", "only_score"):
            if getattr(self, name):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} does not go with CLIPS; give --protocol instead")
        rows = evaluate_paths(
            clips, self.model or (USUAL,), self.output, weights=self.weights, progress=True
        )
        if self.json:
            written = said_of_files(*([self.output] if self.output else []))
            print_json({"clips": str(clips), **written, **to_plain(rows)})
        else:
            print(to_tables(rows))
        return 0

    def _run_protocols(self) -> int:
        """Protocols on data sets, or the engine's clips."""
        from dynapoint.evaluation.harness.gate import read_baseline, tolerance_of  # noqa: PLC0415
        from dynapoint.evaluation.harness.predicting import need_predictions  # noqa: PLC0415
        from dynapoint.evaluation.harness.run import evaluate_protocols  # noqa: PLC0415
        from dynapoint.evaluation.methods.known import methods_of  # noqa: PLC0415

        if self.output is None:
            raise UsageError("--protocol and synthetic need -o/--output OUT, a folder")
        if self.again and self.only_score:
            raise UsageError("--again predicts anew and --only-score predicts nothing; give one")
        tolerance = tolerance_of(self.tolerance)
        baselines = [read_baseline(path) for path in self.gate]
        given = named_paths(self.predictions, "--predictions", "NAME")
        data, protocols = data_places(self.data), self._protocols()
        models = self.model or (() if given else (USUAL,))
        methods = methods_of(models, self.weights)
        if self.only_score and self.model:
            for method in methods:
                need_predictions(self.output, method.info.name)
        if self.clips is not None:
            from dynapoint.evaluation.held_out import make_held_out  # noqa: PLC0415

            data["clips"] = make_held_out(self.output, progress=True)
        results = evaluate_protocols(
            protocols,
            data,
            methods,
            self.output,
            predictions=given,
            baselines=baselines,
            again=self.again,
            only_score=self.only_score,
            pass_over=ALL in self.protocol,
            progress=True,
        )
        return self._say(results, baselines, tolerance)

    def _protocols(self) -> "list[Protocol]":
        from dynapoint.evaluation.protocols.registry import (  # noqa: PLC0415
            all_protocols,
            protocol_of,
        )

        if ALL in self.protocol:
            return list(all_protocols().values())
        if self.clips is not None:
            for name in ("protocol", "data"):
                if getattr(self, name):
                    raise UsageError(f"--{name} does not go with the word synthetic")
            return [protocol_of(SYNTHETIC)]
        # Each once, in the order given.
        return [protocol_of(key) for key in dict.fromkeys(self.protocol)]

    def _say(
        self,
        results: "Sequence[Result]",
        baselines: "Sequence[Baseline]",
        tolerance: float,
    ) -> int:
        """Print tables or JSON and what got worse; returns the exit code."""
        from dynapoint.evaluation.harness.gate import regressions  # noqa: PLC0415
        from dynapoint.evaluation.harness.result import to_plain  # noqa: PLC0415
        from dynapoint.evaluation.harness.run import files_of, tables  # noqa: PLC0415

        assert self.output is not None
        worse = regressions(results, baselines, tolerance)
        if self.json:
            written = said_of_files(
                *(file for each in results for file in files_of(each, self.output))
            )
            print_json(
                {
                    "output": str(self.output),
                    **written,
                    "results": [to_plain(each) for each in results],
                    "regressions": [str(each) for each in worse],
                }
            )
        else:
            print(tables(results))
            if self.gate:
                words = [f"worse by more than {self.tolerance}:", *map(str, worse)]
                print("\n" + ("\n".join(words) if worse else "nothing is worse than before"))
        return FAILED if worse else 0
