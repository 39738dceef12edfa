"""Motion apart from geometry, as docs/scoring.md defines it, for the four maps of two views."""

import numpy as np

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.metrics import MatchCounts, PairScores, match_recall, score_pairs
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.point_maps import answered_maps, by_source_and_time, true_maps

MOTION_COLUMNS = (
    Column(metric="own_time_epe", title="own EPE", unit="mean distance", better="lower"),
    Column(
        metric="motion_ratio",
        title="ratio",
        unit="of the motion",
        better="lower",
        pooled="weighted",
    ),
    Column(metric="leak", title="leak", unit="mean distance", better="lower", pooled="weighted"),
    Column(
        metric="match_recall",
        title="recall all",
        unit="share",
        better="higher",
        pooled="weighted",
    ),
    Column(
        metric="match_recall_moving",
        title="recall moving",
        unit="share",
        better="higher",
        pooled="weighted",
    ),
    Column(metric="epe", title="EPE", unit="mean distance", better="lower"),
)


def score_motion(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """Own-time EPE, motion ratio, leak, match recall and the EPE of all four maps.

    Weights make means over tasks the pools of docs/scoring.md: ratios of sums, and of counts.
    Sequences that do not say which points are seen have no match recall.
    """
    pairs, matches = PairScores(), MatchCounts()
    if answer.points is not None:
        truth, said = (
            by_source_and_time(task, maps).swapaxes(0, 1)
            for maps in (
                true_maps(task, sequence),
                answered_maps(task, sequence, answer.points),
            )
        )
        pairs = score_pairs(truth[None, :, :, None], said[None, :, :, None])
        if sequence.holds.visible and sequence.holds.lens:
            matches = _matches(task, sequence, truth=truth, said=said)
    return (
        Measured(metric="own_time_epe", value=pairs.own_time_epe),
        Measured(
            metric="motion_ratio", value=pairs.motion_ratio, weight=float(pairs.motion_length)
        ),
        Measured(metric="leak", value=pairs.leak, weight=float(pairs.leak_directions)),
        Measured(metric="match_recall", value=matches.recall, weight=float(matches.visible)),
        Measured(
            metric="match_recall_moving",
            value=matches.recall_moving,
            weight=float(matches.visible_moving),
        ),
        Measured(metric="epe", value=pairs.four_map_epe),
    )


def _matches(
    task: Task, sequence: TruthSequence, *, truth: np.ndarray, said: np.ndarray
) -> MatchCounts:
    """How often the nearest point of the other frame is the right one; arrays `[time, frame]`."""
    grid = slice(task.stride // 2, None, task.stride)
    frames = task.frames[:2]
    visible = np.stack(
        [
            [sequence.visible(frame, time)[grid, grid].reshape(-1) for frame in frames]
            for time in frames
        ]
    )
    poses = np.stack([sequence.world_from_camera(frame) for frame in frames])
    return match_recall(
        truth_points=truth,
        predicted_points=said,
        visible=visible,
        grid_xy=task.grid_xy(sequence.image_hw).reshape(-1, 2),
        intrinsics=np.stack([sequence.intrinsics(frame) for frame in frames]),
        world_from_camera=np.linalg.inv(poses[0]) @ poses,
    )
