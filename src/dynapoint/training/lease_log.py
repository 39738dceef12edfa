"""The log of a leased run: JSON lines, each with the seconds since the start."""

import json
import math
from pathlib import Path

from dynapoint.training.lease_plan import TimeBudget

FIRST_LINES = (1, 5, 20)
LINE_EVERY = 100


class LeaseLog:
    """Appends lines to a file and prints them."""

    def __init__(self, path: Path, budget: TimeBudget) -> None:
        self.path, self._budget = path, budget
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **values: object) -> None:
        """One line; numbers that are not finite become null."""
        line = {"t": round(self._budget.spent(), 1)} | {k: _plain(v) for k, v in values.items()}
        text = json.dumps(line)
        print(text, flush=True)
        with self.path.open("a") as file:
            file.write(text + "\n")


class SpeedMeter:
    """Adds up what steps took and lost; means at steps 1, 5 and 20, then at every hundredth."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = self._samples = 0
        self._seconds = 0.0

    def add(self, *, samples: int, seconds: dict[str, float], losses: dict[str, float]) -> None:
        """Count a step; `seconds["step"]` is all of it, the others are parts."""
        self._steps += 1
        self._samples += samples
        self._seconds += seconds["step"]
        parts = {f"{name}_ms": 1e3 * value for name, value in seconds.items()}
        for name, value in (parts | losses).items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def line(self, step: int) -> dict[str, float] | None:
        """Means since the last line, if it is time for one."""
        if step not in FIRST_LINES and step % LINE_EVERY != 0:
            return None
        means = {name: value / max(1, self._steps) for name, value in self._sums.items()}
        rate = self._samples / max(1e-9, self._seconds)
        self.__init__()  # type: ignore[misc]
        return {"per_second": rate} | means


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
