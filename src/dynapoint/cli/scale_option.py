"""`--scale-from metric`, which has no value, and the weights file that may stand beside it."""

from pathlib import Path
from typing import Literal

from dynapoint.cli.common import UsageError
from dynapoint.models.cards import METRIC_NETWORK

ScaleOption = tuple[Literal["depth", "trajectory", "distance", "metric"], str]


def in_pairs(words: list[str]) -> list[str]:
    """The words of a command line with the value that `--scale-from metric` is given without.

    The parser wants as many words of an option whatever the first one is. What is added goes last,
    where no clip can be taken for one more of them.
    """
    rest, added = list(words), []
    for spelled in (("--scale-from=metric",), ("--scale-from", "metric")):
        for start in range(len(rest) - len(spelled) + 1):
            if tuple(rest[start : start + len(spelled)]) == spelled:
                del rest[start : start + len(spelled)]
                added = ["--scale-from", "metric", METRIC_NETWORK]
                break
    return rest + added


def is_of_network(told: ScaleOption | None) -> bool:
    """Whether a network tells the scale, of any number of scenes."""
    return told is not None and told[0] == "metric"


def with_file(told: ScaleOption | None, weights: Path) -> ScaleOption:
    """The option with a file of weights for the network.

    Raises:
        UsageError: No network tells the scale.
    """
    if not is_of_network(told):
        raise UsageError("--metric-weights is for --scale-from metric; give both")
    return "metric", str(weights.absolute())
