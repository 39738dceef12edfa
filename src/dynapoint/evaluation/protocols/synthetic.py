"""The engine's held-out split in named subsets: motion, depth and cameras, a row for each subset.

`dynapoint evaluate synthetic` makes the clips (`evaluation.held_out`) and runs this.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.held_out import CLIP_STRIDE, clip_names
from dynapoint.evaluation.protocols.protocol import Column, Measured, Protocol, ProtocolSet
from dynapoint.evaluation.protocols.sampling import PairsFrom
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.cameras import MORE_COLUMNS, PATH_COLUMNS, score_cameras
from dynapoint.evaluation.scorers.depth import DepthScorer, depth_columns
from dynapoint.evaluation.scorers.motion import MOTION_COLUMNS, score_motion

_MARGIN = 8
_STARTS = {"long": (0, 20, 40)}
_USUAL_STARTS = (0, 1)
_DEPTH = DepthScorer(fits=("scale_l2", "median"))
_CAMERAS_SHOWN = ("ate", "rotation", "focal")


@dataclass(frozen=True, kw_only=True)
class PairsAndWhole:
    """Pairs for motion, and all frames for depth and cameras.

    Attributes:
        starts: First frames of the pairs.
    """

    starts: tuple[int, ...]

    def __call__(self, sequence: TruthSequence) -> Iterable[Task]:
        """The pairs, then the whole clip."""
        yield from PairsFrom(starts=self.starts, margin=_MARGIN, stride=CLIP_STRIDE)(sequence)
        yield Task(
            dataset=sequence.dataset,
            sequence=sequence.name,
            name="whole",
            frames=tuple(range(sequence.frame_count)),
            depth=True,
            cameras=True,
            stride=CLIP_STRIDE,
        )


def score_synthetic(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """Motion of pairs; depth and cameras of whole clips."""
    if task.maps:
        return score_motion(task, sequence, answer)
    return _DEPTH(task, sequence, answer) + score_cameras(task, sequence, answer)


def _columns() -> tuple[Column, ...]:
    """Of cameras, what matters on such clips counts; the rest stands beside."""
    cameras = tuple(
        replace(column, default=column.metric in _CAMERAS_SHOWN)
        for column in (*PATH_COLUMNS, *MORE_COLUMNS)
    )
    depth = depth_columns("scale_l2", "tasks", ("scale_l2", "median"))
    return (*MOTION_COLUMNS, *depth, *cameras)


PROTOCOLS = (
    Protocol(
        key="synthetic",
        source="docs/evaluation.md",
        title=f"motion of pairs {_MARGIN} frames apart, depth and cameras of whole clips, by what "
        "the held-out clips of the engine show",
        sets=tuple(
            ProtocolSet(
                dataset="clips",
                split="all",
                title=subset,
                sequences=names,
                sampling=PairsAndWhole(starts=_STARTS.get(subset, _USUAL_STARTS)),
            )
            for subset, names in clip_names().items()
        ),
        score=score_synthetic,
        columns=_columns(),
        alignment="motion: as docs/scoring.md; depth: scale of least squares, one for a clip; "
        "cameras: similarity of the positions",
        choices=("Seeds from 1000000000 on, which no recipe trains on; each subset has its own.",),
    ),
)
