"""Tracks in the camera of the first frame, after one scale (WorldTrack)."""

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.world_error import moving_tracks, world_errors
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.whole_truth import need_shape, nothing, true_tracks

TRACK_KEYS = ("track_apd", "track_epe", "moving_apd", "moving_epe")


def score_world_tracks(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """APD and EPE of all tracks at all frames, hidden or not; and of those that move.

    Tracks that move get a scale of their own, as in St4RTrack's code.
    """
    if answer.tracks is None or not task.track_xy:
        return nothing(*TRACK_KEYS)
    truth, _ = true_tracks(task, sequence)
    need_shape(task, "tracks", answer.tracks, truth)
    moves = moving_tracks(truth)
    every = world_errors(truth, answer.tracks)
    moving = world_errors(truth[:, moves], answer.tracks[:, moves])
    values = (every.apd, every.epe, moving.apd, moving.epe)
    return tuple(
        Measured(metric=key, value=value) for key, value in zip(TRACK_KEYS, values, strict=True)
    )


TRACK_COLUMNS = (
    Column(metric="track_apd", title="APD", unit="per cent", better="higher", decimals=2),
    Column(metric="track_epe", title="EPE", unit="metres", better="lower", decimals=4),
    Column(
        metric="moving_apd",
        title="APD, moving",
        unit="per cent",
        better="higher",
        decimals=2,
        default=False,
    ),
    Column(
        metric="moving_epe",
        title="EPE, moving",
        unit="metres",
        better="lower",
        decimals=4,
        default=False,
    ),
)
