"""Masks of what moves, frame by frame (DAVIS)."""

import numpy as np

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.mask_overlap import boundary_match, region_overlap
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.whole_truth import grid_of, need_shape, nothing

MASK_KEYS = ("jf_mean", "j_mean", "f_mean")


def score_masks(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """J and F, means over the frames shown, and the mean of both."""
    if answer.moving is None or not sequence.holds.moving:
        return nothing(*MASK_KEYS)
    grid = grid_of(task)
    truth = np.stack([sequence.moving(frame)[grid] for frame in task.frames])
    need_shape(task, "masks", answer.moving, truth)
    pairs = list(zip(truth, answer.moving, strict=True))
    region = 100 * float(np.mean([region_overlap(true, said) for true, said in pairs]))
    edge = 100 * float(np.mean([boundary_match(true, said) for true, said in pairs]))
    values = ((region + edge) / 2, region, edge)
    return tuple(
        Measured(metric=key, value=value) for key, value in zip(MASK_KEYS, values, strict=True)
    )


MASK_COLUMNS = (
    Column(metric="jf_mean", title="J&F", unit="per cent", better="higher", decimals=1),
    Column(metric="j_mean", title="J", unit="per cent", better="higher", decimals=1),
    Column(metric="f_mean", title="F", unit="per cent", better="higher", decimals=1),
)
