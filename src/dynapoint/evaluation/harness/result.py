"""What a run of a protocol gave, as JSON to keep and to compare with."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from dynapoint.evaluation.environment import Environment, environment
from dynapoint.evaluation.harness.plan import Plan, PlannedSet
from dynapoint.evaluation.harness.rows import Row
from dynapoint.evaluation.harness.scoring import Cell, Scored, TaskScore, pooled
from dynapoint.evaluation.protocols.protocol import Protocol
from dynapoint.whole_file import whole_file

RESULT_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class SetFacts:
    """A set of a result.

    Attributes:
        title: As the tables call it.
        sequences: How many were scored.
        tasks: How many tasks.
        tasks_sha256: Of the tasks' digests in their order; two results of the same tasks can be
            compared.
        missing: What was missing of the set; "" where all was here.
    """

    title: str
    dataset: str
    split: str
    sequences: int
    tasks: int
    tasks_sha256: str
    missing: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A protocol's numbers.

    Attributes:
        protocol: What was asked.
        environment: Where they were made.
        sets: Those of the protocol, missing ones too.
        rows: Names in the order of the tables.
        trivial: Those that stand there for comparison.
        cells: One for each row, set and column that was scored.
        scored: Of each task.
    """

    protocol: Protocol
    environment: Environment
    sets: tuple[SetFacts, ...]
    rows: tuple[str, ...]
    trivial: frozenset[str]
    cells: tuple[Cell, ...]
    scored: Scored

    def cell(self, row: str, set_title: str, metric: str) -> Cell | None:
        """A pooled number; None where the set is missing."""
        place = row, set_title, metric
        for cell in self.cells:
            if (cell.method, cell.set_title, cell.metric) == place:
                return cell
        return None


def result_of(plan: Plan, rows: Sequence[Row], scored: Scored) -> Result:
    """Pool the scores of a protocol."""
    return Result(
        protocol=plan.protocol,
        environment=environment(),
        sets=tuple(facts_of(each) for each in plan.sets),
        rows=tuple(row.name for row in rows),
        trivial=frozenset(row.name for row in rows if row.trivial),
        cells=tuple(pooled(scored.tasks, plan.protocol.columns)),
        scored=scored,
    )


def to_plain(result: Result) -> dict[str, Any]:
    """All of a result as JSON has it; numbers that were not measured are null."""
    protocol = result.protocol
    return {
        "format": RESULT_FORMAT,
        "protocol": protocol.key,
        "source": protocol.source,
        "title": protocol.title,
        "alignment": protocol.alignment,
        "choices": list(protocol.choices),
        "environment": asdict(result.environment),
        "columns": [asdict(column) for column in protocol.columns],
        "sets": [asdict(each) for each in result.sets],
        "methods": [_method(result, row) for row in result.rows],
        "pooled": [
            {
                "method": cell.method,
                "set": cell.set_title,
                "metric": cell.metric,
                "value": _number(cell.value),
                "measured": cell.measured,
                "possible": cell.possible,
            }
            for cell in result.cells
        ],
        "paper": [asdict(each) for each in protocol.paper],
        "tasks": [_task(each) for each in result.scored.tasks],
    }


def write_result(result: Result, path: Path) -> None:
    """Write `to_plain` as a JSON file, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(to_plain(result), indent=1, allow_nan=False, ensure_ascii=False)
    with whole_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def facts_of(planned: PlannedSet) -> SetFacts:
    """What a result says of a set; known before anything is predicted."""
    digests = [task.digest for each in planned.sequences for task in each.tasks]
    return SetFacts(
        title=planned.which.title,
        dataset=planned.which.dataset,
        split=planned.which.split,
        sequences=len(planned.sequences),
        tasks=planned.task_count,
        tasks_sha256=sha256("\n".join(digests).encode()).hexdigest() if digests else "",
        missing=planned.missing,
    )


def _method(result: Result, row: str) -> dict[str, Any]:
    """What is known of a row."""
    of_row = [each for each in result.scored.tasks if each.method == row]
    timed = [each.seconds for each in of_row if each.seconds > 0]
    return {
        "name": row,
        "trivial": row in result.trivial,
        "answered": sum(each.answered for each in of_row),
        "tasks": len(of_row),
        "seconds_per_task": _number(math.fsum(timed) / len(timed)) if timed else None,
        "peak_mib": max((each.peak_mib for each in of_row), default=0.0) or None,
        "made": [
            {
                "method": made.method,
                "weights_sha256": made.weights,
                "options": made.options,
                "package": made.package,
                "commit": made.commit,
                "machine": made.machine,
            }
            for made in result.scored.made.get(row, [])
        ],
    }


def _task(scores: TaskScore) -> dict[str, Any]:
    weights = {each.metric: each.weight for each in scores.values if each.weight != 1.0}
    return {
        "method": scores.method,
        "set": scores.set_title,
        "sequence": scores.sequence,
        "task": scores.task,
        "answered": scores.answered,
        "values": {each.metric: _number(each.value) for each in scores.values},
        **({"weights": weights} if weights else {}),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
