"""Logs of a run: JSON lines always, TensorBoard where it is installed."""

import json
import time
from pathlib import Path
from typing import Any

from dynapoint.evaluation.metrics import PairScores
from dynapoint.training.trainer import StepReport

EVERY_STEPS = 10


class RunLog:
    """Appends means of steps and validation scores to `log.jsonl` and to TensorBoard."""

    def __init__(self, folder: Path, *, active: bool = True) -> None:
        self.path = folder / "log.jsonl"
        self.active = active
        self._recent: list[StepReport] = []
        self._board: Any = None
        if active:
            try:
                from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

                self._board = SummaryWriter(str(folder / "tensorboard"))
            except ImportError:
                # TensorBoard is an extra; the JSON lines hold the same numbers.
                self._board = None

    def step(self, report: StepReport) -> None:
        """Collect a step; every tenth writes the mean of the last ten."""
        self._recent.append(report)
        if len(self._recent) < EVERY_STEPS or not self.active:
            return
        recent, self._recent = self._recent, []
        count = len(recent)
        values = {key: sum(r.losses[key] for r in recent) / count for key in recent[0].losses}
        values |= {
            "gradient_norm": sum(r.gradient_norm for r in recent) / count,
            "learning_rate": recent[-1].learning_rate,
            "data_share": sum(r.data_seconds for r in recent) / sum(r.step_seconds for r in recent),
            "samples_per_second": (recent[-1].samples - recent[0].samples)
            / max(1e-9, sum(r.step_seconds for r in recent[1:])),
            "skipped": float(sum(r.skipped for r in recent)),
        }
        self._write("train", report.step, report.samples, values)

    def validation(self, step: int, samples: int, name: str, scores: PairScores) -> None:
        """Write the scores of one validation set."""
        values = {
            "own_time_epe": scores.own_time_epe,
            "four_map_epe": scores.four_map_epe,
            "motion_ratio": scores.motion_ratio,
            "leak": scores.leak,
            "own_time_spearman": scores.own_time_spearman,
            "decoded_spearman": scores.decoded_spearman,
        }
        self._write(name, step, samples, values)

    def scores(self, step: int, samples: int, name: str, values: dict[str, float]) -> None:
        """Write other numbers under a name; those that are NaN are left out."""
        known = {key: value for key, value in values.items() if value == value}  # noqa: PLR0124
        self._write(name, step, samples, known)

    def _write(self, kind: str, step: int, samples: int, values: dict[str, float]) -> None:
        line = {"kind": kind, "step": step, "samples": samples, "time": round(time.time(), 1)}
        rounded = {key: float(f"{value:.5g}") for key, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(line | rounded) + "\n")
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(f"{kind}/{key}", value, samples)
            self._board.flush()
