"""Point maps in the camera of the first frame, after one scale: reconstruction (WorldTrack)."""

import numpy as np

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.world_error import world_errors
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, true_maps
from dynapoint.evaluation.scorers.whole_truth import nothing, true_depth

NEAREST_M, FARTHEST_M = 0.1, 5.0
POINT_KEYS = ("recon_apd", "recon_epe")


def score_world_points(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """APD and EPE of all maps together, over pixels with a depth of .1 to 5 m in their frame."""
    if answer.points is None or not task.maps:
        return nothing(*POINT_KEYS)
    depth = true_depth(task, sequence)[[source for source, _ in task.maps]]
    depth = depth.reshape(len(depth), -1)
    with np.errstate(invalid="ignore"):
        compared = (depth > NEAREST_M) & (depth < FARTHEST_M)
    truth = np.where(compared[..., None], true_maps(task, sequence), np.nan)
    errors = world_errors(truth, answered_maps(task, sequence, answer.points))
    values = (errors.apd, errors.epe)
    return tuple(
        Measured(metric=key, value=value) for key, value in zip(POINT_KEYS, values, strict=True)
    )


POINT_COLUMNS = (
    Column(metric="recon_apd", title="APD", unit="per cent", better="higher", decimals=2),
    Column(metric="recon_epe", title="EPE", unit="metres", better="lower", decimals=4),
)
