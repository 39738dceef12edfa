"""Several scorers of one table."""

from dataclasses import dataclass

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.protocols.protocol import Measured, Scorer
from dynapoint.evaluation.protocols.task import Answer, Task


@dataclass(frozen=True)
class Combined:
    """What all of them measure; their keys do not overlap."""

    scorers: tuple[Scorer, ...]

    def __call__(self, task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
        """Score one task by each."""
        return tuple(
            measured for scorer in self.scorers for measured in scorer(task, sequence, answer)
        )
