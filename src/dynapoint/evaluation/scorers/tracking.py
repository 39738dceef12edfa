"""V-DPM's error of the tracks of all pixels of the first frame (arXiv 2601.09499, table 2)."""

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.normalised import mean_where_known, normalised_map_errors
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, true_maps
from dynapoint.evaluation.scorers.two_view import NORMALISERS

TRACKING_COLUMNS = (
    Column(metric="epe", title="EPE", unit="mean distance", better="lower"),
    Column(
        metric="epe_each",
        title="EPE, a scale for each time",
        unit="mean distance",
        better="lower",
        default=False,
    ),
)


def score_tracking(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """Mean error over all points of all times, under both normalisers.

    The task asks the maps of its first frame at the times of all frames shown. Compared are the
    pixels of each time that have a true point then; the joint scale is the mean distance over all.
    """
    truth = true_maps(task, sequence)
    measured = []
    for normaliser, ending in NORMALISERS:
        value = float("nan")
        if answer.points is not None:
            said = answered_maps(task, sequence, answer.points)
            value = mean_where_known(normalised_map_errors(truth, said, normaliser=normaliser))
        measured.append(Measured(metric=f"epe{ending}", value=value))
    return tuple(measured)
