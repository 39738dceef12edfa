"""Comparing a result with an earlier one: what got worse."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynapoint.errors import ConfigError, InputError
from dynapoint.evaluation.harness.result import RESULT_FORMAT, Result, SetFacts
from dynapoint.evaluation.methods.truth import TruthMethod

# Less than this share of a table's last digit is no change.
_UNSEEN = 0.1


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A number that is worse than it was, beyond what is tolerated.

    Attributes:
        before: In the baseline.
        now: NaN where it is not measured any more.
    """

    protocol: str
    method: str
    set_title: str
    metric: str
    before: float
    now: float

    def __str__(self) -> str:
        """One line."""
        place = f"{self.protocol}: {self.method}, {self.set_title}, {self.metric}"
        if math.isnan(self.now):
            return f"{place}: was {self.before:.6g} and is not measured any more"
        change = f" ({self.now / self.before - 1:+.1%})" if self.before else ""
        return f"{place}: {self.before:.6g} -> {self.now:.6g}{change}"


def tolerance_of(word: str) -> float:
    """A share from a word such as "2%" or "0.02".

    Raises:
        ConfigError: It is none.
    """
    try:
        share = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise ConfigError(f"--tolerance is {word!r}; give a share such as 2% or 0.02")
    return share


@dataclass(frozen=True, kw_only=True)
class Number:
    """A pooled number of a baseline; `value` is NaN where nothing was measured."""

    method: str
    set_title: str
    metric: str
    value: float
    measured: int


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An earlier result, as far as it is compared.

    Attributes:
        path: Its file.
        protocol: The key.
        tasks: SHA-256 of the tasks of each set, by its title; "" where it was not here.
        numbers: All that is in its tables.
    """

    path: Path
    protocol: str
    tasks: Mapping[str, str]
    numbers: tuple[Number, ...]


def read_baseline(path: Path) -> Baseline:
    """An earlier result.

    Raises:
        InputError: There is none, or it is none that can be compared.
    """
    try:
        return _baseline(json.loads(path.read_text(encoding="utf-8")), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is no result of `dynapoint evaluate --protocol` ({error}); give the "
            "PROTOCOL.json of an earlier run"
        ) from error


def regressions(
    results: Sequence[Result], baselines: Sequence[Baseline], tolerance: float
) -> list[Regression]:
    """What is worse than in baselines, in the columns that count.

    A number regresses where it is worse by more than the tolerated share of what it was, where it
    comes from fewer tasks, or where it is not measured any more. Rows and sets that a baseline does
    not have are not compared.

    Raises:
        ConfigError: A baseline is of a protocol that was not run, or of other tasks.
    """
    by_key = {result.protocol.key: result for result in results}
    check_comparable({key: result.sets for key, result in by_key.items()}, baselines)
    return [
        regression
        for baseline in baselines
        for number in baseline.numbers
        if (regression := _regression(by_key[baseline.protocol], number, tolerance)) is not None
    ]


def check_comparable(sets: Mapping[str, Sequence[SetFacts]], baselines: Sequence[Baseline]) -> None:
    """Refuse baselines that nothing of a run can be compared with.

    Args:
        sets: Those of the run, by the protocol's key.
        baselines: Earlier results.

    Raises:
        ConfigError: One is of a protocol that is not run, or of other tasks.
    """
    for baseline in baselines:
        if baseline.protocol not in sets:
            raise ConfigError(
                f"{baseline.path} is of {baseline.protocol}, which is not run; run it, or leave "
                "it out"
            )
        now = {each.title: each.tasks_sha256 for each in sets[baseline.protocol]}
        for title, before in baseline.tasks.items():
            if before and now.get(title) not in ("", None, before):
                raise ConfigError(
                    f"{baseline.path}: {title} had other tasks than now; give the same data, or "
                    "make the baseline anew"
                )


def _regression(result: Result, before: Number, tolerance: float) -> Regression | None:
    """What became of a number, where that is worse."""
    columns = {column.metric: column for column in result.protocol.columns if column.default}
    # Comparisons may get worse with what they are derived from; the truth may not.
    passed_over = result.trivial - {TruthMethod.info.name}
    column = columns.get(before.metric)
    if column is None or math.isnan(before.value) or before.method in passed_over:
        return None
    cell = result.cell(before.method, before.set_title, before.metric)
    now = math.nan if cell is None or cell.measured < before.measured else cell.value
    worse = now - before.value if column.better == "lower" else before.value - now
    unseen = _UNSEEN * 10.0**-column.decimals
    # NaN, which compares false with everything, is not passed.
    if worse <= tolerance * abs(before.value) + unseen:
        return None
    return Regression(
        protocol=result.protocol.key,
        method=before.method,
        set_title=before.set_title,
        metric=before.metric,
        before=before.value,
        now=now,
    )


def _baseline(told: Any, path: Path) -> Baseline:
    """What a result says; raises ValueError, KeyError or TypeError where it is none."""
    if told["format"] != RESULT_FORMAT or not isinstance(told["protocol"], str):
        raise ValueError(f"it is in format {told['format']}")
    return Baseline(
        path=path,
        protocol=told["protocol"],
        tasks={str(each["title"]): str(each["tasks_sha256"]) for each in told["sets"]},
        numbers=tuple(
            Number(
                method=str(each["method"]),
                set_title=str(each["set"]),
                metric=str(each["metric"]),
                value=math.nan if each["value"] is None else float(each["value"]),
                measured=int(each["measured"]),
            )
            for each in told["pooled"]
        ),
    )
