"""How near the predicted and the true surfaces lie, after an alignment."""

import numpy as np

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.relative import median_distance
from dynapoint.evaluation.measures.surface import Alignment, aligned_cloud, surface_errors
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, true_maps

THRESHOLDS = (0.01, 0.05)
"""Shares of the truth's median distance from the camera of the first frame."""

_ALIGNMENTS: tuple[tuple[Alignment, str, str], ...] = (
    ("similarity", "", ""),
    ("median", "_median_scale", ", median scale"),
)


def _columns() -> tuple[Column, ...]:
    columns = []
    for _, ending, words in _ALIGNMENTS:
        for name, title in (("accuracy", "acc"), ("completeness", "comp")):
            for middle, more in (("", ""), ("_median", " med")):
                columns.append(
                    Column(
                        metric=f"{name}{middle}{ending}",
                        title=title + more + words,
                        unit="median distance",
                        better="lower",
                        default=not ending,
                    )
                )
        columns += [
            Column(
                metric=f"f_{limit:g}{ending}",
                title=f"F {100 * limit:g} %{words}",
                unit="share",
                better="higher",
                default=not ending,
            )
            for limit in THRESHOLDS
        ]
    return tuple(columns)


SURFACE_COLUMNS = _columns()


def score_surface(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """Accuracy, completeness and F-scores of the own-time maps, all frames in one cloud.

    Compared are the pixels that have a true point. Predicted points are aligned by those pixels: by
    a similarity (the default), or by the ratio of median distances. Lengths are divided by the
    truth's median distance from the camera of the first frame.
    """
    own_time = [index for index, (source, time) in enumerate(task.maps) if source == time]
    truth = true_maps(task, sequence)[own_time]
    compared = np.isfinite(truth).all(axis=-1)
    if answer.points is None or not compared.any():
        return tuple(
            Measured(metric=column.metric, value=float("nan")) for column in SURFACE_COLUMNS
        )
    said = answered_maps(task, sequence, answer.points)[own_time][compared]
    unit = median_distance(truth, compared)
    true = truth[compared]
    measured = []
    for alignment, ending, _ in _ALIGNMENTS:
        cloud = aligned_cloud(true, said, alignment=alignment)
        errors = surface_errors(true / unit, cloud / unit, thresholds=THRESHOLDS)
        values = [
            ("accuracy", errors.accuracy),
            ("accuracy_median", errors.accuracy_median),
            ("completeness", errors.completeness),
            ("completeness_median", errors.completeness_median),
        ]
        values += [
            (f"f_{limit:g}", share)
            for limit, share in zip(THRESHOLDS, errors.f_scores, strict=True)
        ]
        measured += [Measured(metric=name + ending, value=value) for name, value in values]
    return tuple(measured)
