"""Comparing a result with an earlier one: what got worse."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynapoint.errors import ConfigError, InputError
from dynapoint.evaluation.harness.result import RESULT_FORMAT, Result
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


def read_baseline(path: Path) -> dict[str, Any]:
    """An earlier result.

    Raises:
        InputError: There is none, or it is none that can be compared.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != RESULT_FORMAT or not isinstance(told["protocol"], str):
            raise ValueError(f"it is in format {told['format']}")
        for each in told["pooled"]:
            _ = each["method"], each["set"], each["metric"], each["value"], each["measured"]
        _ = {each["title"]: each["tasks_sha256"] for each in told["sets"]}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is no result of `dynapoint evaluate --protocol` ({error}); give the "
            "PROTOCOL.json of an earlier run"
        ) from error
    found: dict[str, Any] = told
    return found


def regressions(
    results: Sequence[Result], baselines: Sequence[tuple[Path, dict[str, Any]]], tolerance: float
) -> list[Regression]:
    """What is worse than in baselines, in the columns that count.

    A number regresses where it is worse by more than the tolerated share of what it was, where it
    comes from fewer tasks, or where it is not measured any more. Rows and sets that a baseline does
    not have are not compared.

    Raises:
        ConfigError: A baseline is of a protocol that was not run, or of other tasks.
    """
    by_key = {result.protocol.key: result for result in results}
    found: list[Regression] = []
    for path, baseline in baselines:
        key = baseline["protocol"]
        if key not in by_key:
            raise ConfigError(f"{path} is of {key}, which was not run; run it, or leave it out")
        result = by_key[key]
        _check_tasks(result, baseline, path)
        # Comparisons may get worse with what they are derived from; the truth may not.
        passed_over = result.trivial - {TruthMethod.info.name}
        columns = {column.metric: column for column in result.protocol.columns if column.default}
        for each in baseline["pooled"]:
            column = columns.get(each["metric"])
            if column is None or each["value"] is None or each["method"] in passed_over:
                continue
            cell = result.cell(each["method"], each["set"], each["metric"])
            now = math.nan if cell is None or cell.measured < each["measured"] else cell.value
            worse = now - each["value"] if column.better == "lower" else each["value"] - now
            unseen = _UNSEEN * 10.0**-column.decimals
            # Written so that NaN, which compares false with everything, regresses.
            if not worse <= tolerance * abs(each["value"]) + unseen:
                found.append(
                    Regression(
                        protocol=key,
                        method=each["method"],
                        set_title=each["set"],
                        metric=each["metric"],
                        before=each["value"],
                        now=now,
                    )
                )
    return found


def _check_tasks(result: Result, baseline: dict[str, Any], path: Path) -> None:
    now = {each.title: each.tasks_sha256 for each in result.sets}
    for each in baseline["sets"]:
        before = each["tasks_sha256"]
        if before and now.get(each["title"]) not in ("", None, before):
            raise ConfigError(
                f"{path}: {each['title']} had other tasks than now; give the same data, or make "
                "the baseline anew"
            )
