"""V-DPM's error of the four maps of two views (arXiv 2601.09499, table 1)."""

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.normalised import (
    Normaliser,
    mean_where_known,
    normalised_map_errors,
)
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, true_maps

MAPS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(source, time) in the order of the table's columns."""

NORMALISERS: tuple[tuple[Normaliser, str], ...] = (("joint", ""), ("each", "_each"))
"""How lengths are made comparable, and what its metrics end with."""


def two_view_columns(
    printed: tuple[tuple[int, int], ...] = MAPS, *, decimals: int = 3
) -> tuple[Column, ...]:
    """A column for each map, under one scale for all maps and under one for each map.

    Those of the maps that a table prints, under one scale for all, are the ones that count.
    """
    return tuple(
        Column(
            metric=map_metric(source, time) + ending,
            title=f"P{source}(t{time})" + (", own scale" if ending else ""),
            unit="mean distance",
            better="lower",
            decimals=decimals,
            default=not ending and (source, time) in printed,
        )
        for _, ending in NORMALISERS
        for source, time in MAPS
    )


def map_metric(source: int, time: int) -> str:
    """The key of one map's error under the joint scale."""
    return f"epe_p{source}t{time}"


def score_two_view(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """Mean error of every map that the task asks, under both normalisers.

    Compared are the pixels of each map that have a true point in it; the joint scale is the mean
    distance over those of all maps.
    """
    truth = true_maps(task, sequence)
    measured = []
    for normaliser, ending in NORMALISERS:
        values = [float("nan")] * len(task.maps)
        if answer.points is not None:
            said = answered_maps(task, sequence, answer.points)
            errors = normalised_map_errors(truth, said, normaliser=normaliser)
            values = [mean_where_known(of_map) for of_map in errors]
        measured += [
            Measured(metric=map_metric(source, time) + ending, value=value)
            for (source, time), value in zip(task.maps, values, strict=True)
        ]
    return tuple(measured)
