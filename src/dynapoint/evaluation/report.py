"""Scores as a table to read and a JSON file to keep, both made from one list of metrics."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynapoint.errors import OutputError
from dynapoint.evaluation.scores import PAIR_STARTS, ClipScores, Metric, Scores, list_metrics
from dynapoint.whole_file import whole_file

JSON_FORMAT = 1
NOTHING_MEASURED = "-"


def to_json(rows: Mapping[str, Scores]) -> str:
    """`to_plain` as text."""
    return json.dumps(to_plain(rows), indent=1, allow_nan=False)


def to_plain(rows: Mapping[str, Scores]) -> dict[str, Any]:
    """Every metric of every row, pooled and per clip, as JSON has it; None where not measured."""
    described: dict[str, dict[str, str]] = {}
    values: dict[str, Any] = {}
    for name, scores in rows.items():
        for metric in list_metrics(scores.pooled):
            described[metric.key] = {"unit": metric.unit, "better": metric.direction}
        values[name] = {
            "pooled": _values(scores.pooled),
            "clips": {clip.name: _values(clip) for clip in scores.clips},
            "counts": {
                "clips": len(scores.clips),
                **{
                    f"m{margin}": {**asdict(found.pairs), **asdict(found.matches)}
                    for margin, found in scores.pooled.margins.items()
                },
            },
        }
    return {"format": JSON_FORMAT, "metrics": described, "rows": values}


def to_tables(rows: Mapping[str, Scores]) -> str:
    """`to_table` at each margin, the larger ones first."""
    return "\n\n".join(to_table(rows, margin=margin) for margin in reversed(PAIR_STARTS))


def to_table(rows: Mapping[str, Scores], *, margin: int = 8) -> str:
    """Aligned text: one line per row, own EPE to recall and confidence at one margin.

    The papers' EPEs stand there for every margin. A dash means that there was nothing to measure.
    """
    lines: list[list[str]] = []
    for name, scores in rows.items():
        shown = _columns(list_metrics(scores.pooled), margin=margin)
        if not lines:
            lines.append([f"margin {margin}", *(metric.title for metric in shown)])
        lines.append([name, *(_format(metric) for metric in shown)])
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )


def check_writable(output: Path) -> None:
    """Refuse a JSON path that cannot be written, before minutes are spent on scores.

    Raises:
        OutputError: it is a folder, or its folder is missing or cannot be written to.
    """
    folder = output.absolute().parent
    if output.is_dir():
        raise OutputError(f"{output}: is a folder; wanted the name of a JSON file.")
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; make it, or name a file elsewhere.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: not writable; name a file elsewhere.")


def write_json(rows: Mapping[str, Scores], output: Path) -> None:
    """Write `to_json` of the rows so that a reader sees the old file or the new, never a part.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    check_writable(output)
    text = to_json(rows) + "\n"
    with whole_file(output) as partial:
        partial.write_text(text, encoding="utf-8")


def _columns(metrics: list[Metric], *, margin: int) -> list[Metric]:
    """The metrics of one margin and of all frames, the EPEs of both margins side by side."""
    epes = [metric for metric in metrics if metric.key.startswith("epe_m")]
    own = [metric for metric in metrics if metric.key.endswith(f"_m{margin}")]
    geometry = [metric for metric in own if not metric.key.startswith(("epe_", "confidence_"))]
    confidence = [metric for metric in own if metric.key.startswith("confidence_")]
    long = [metric for metric in metrics if not metric.key.rpartition("_m")[2].isdigit()]
    return [*geometry, *epes, *long, *confidence]


def _format(metric: Metric) -> str:
    return NOTHING_MEASURED if math.isnan(metric.value) else f"{metric.value:.{metric.decimals}f}"


def _values(scores: ClipScores) -> dict[str, float | None]:
    return {
        metric.key: metric.value if math.isfinite(metric.value) else None
        for metric in list_metrics(scores)
    }
