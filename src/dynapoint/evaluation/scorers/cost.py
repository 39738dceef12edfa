"""What an answer took: memory and time."""

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task


def score_cost(task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
    """The largest memory while predicting, in MiB, and seconds; NaN where not measured."""
    values = {"peak_mib": answer.peak_mib, "seconds": answer.seconds}
    return tuple(
        Measured(metric=key, value=value if value > 0 else float("nan"))
        for key, value in values.items()
    )


COST_COLUMNS = (
    Column(metric="peak_mib", title="memory", unit="MiB", better="lower", decimals=0),
    Column(metric="seconds", title="time", unit="seconds", better="lower", decimals=2),
)
