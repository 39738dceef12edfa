"""DPM's 3D errors of scene flow and object flow (arXiv 2503.16318, table 4)."""

from dataclasses import fields

import numpy as np

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.flow import FlowErrors, FlowUnit, flow_errors
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, by_source_and_time, true_maps

_TITLES = {
    "scene_forward": "SF-F",
    "scene_backward": "SF-B",
    "object_forward": "OF-F",
    "object_backward": "OF-B",
}
_UNITS: tuple[tuple[FlowUnit, str], ...] = (("median", ""), ("truth", "_truth_unit"))

FLOW_COLUMNS = tuple(
    Column(
        metric=f"epe_{name}{ending}",
        title=title + (", true unit" if ending else ""),
        unit="unit of the truth" if ending else "median distance",
        better="lower",
        default=not ending,
    )
    for _, ending in _UNITS
    for name, title in _TITLES.items()
)


def score_flow(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """Errors of the four flows, in median distances and in the unit of the truth.

    An answer without maps of the second call has no scene flow.
    """
    if answer.points is None:
        return tuple(Measured(metric=column.metric, value=float("nan")) for column in FLOW_COLUMNS)
    truth = np.stack(
        [by_source_and_time(task, true_maps(task, sequence, camera=call)) for call in (0, 1)]
    )
    calls = [answer.points]
    if answer.swapped_points is not None:
        calls.append(answer.swapped_points)
    said = np.stack(
        [by_source_and_time(task, answered_maps(task, sequence, points)) for points in calls]
    )
    measured = []
    for unit, ending in _UNITS:
        errors = flow_errors(truth, said, unit=unit)
        measured += [
            Measured(metric=f"epe_{field.name}{ending}", value=getattr(errors, field.name))
            for field in fields(FlowErrors)
        ]
    return tuple(measured)
