"""DPM's relative error of the four maps of two views (arXiv 2503.16318, table 3)."""

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.normalised import mean_where_known
from dynapoint.evaluation.measures.relative import relative_map_errors
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, true_maps

DPM_MAPS = ((0, 0), (1, 0), (0, 1), (1, 1))
"""(source, time) in the order of the table's columns."""


def relative_metric(source: int, time: int) -> str:
    """The key of one map's error; DPM counts images and times from 1."""
    return f"rel_p{source + 1}t{time + 1}"


RELATIVE_COLUMNS = tuple(
    Column(
        metric=relative_metric(source, time),
        title=f"P{source + 1}(t{time + 1})",
        unit="of the distance",
        better="lower",
    )
    for source, time in DPM_MAPS
)


def score_relative(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """L_rel of every map that the task asks, under the median scale of the own-time maps."""
    values = [float("nan")] * len(task.maps)
    if answer.points is not None:
        own_time = [index for index, (source, time) in enumerate(task.maps) if source == time]
        errors = relative_map_errors(
            true_maps(task, sequence),
            answered_maps(task, sequence, answer.points),
            scale_maps=own_time,
        )
        values = [mean_where_known(of_map) for of_map in errors]
    return tuple(
        Measured(metric=relative_metric(source, time), value=value)
        for (source, time), value in zip(task.maps, values, strict=True)
    )
