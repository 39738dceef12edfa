"""What losses divide by, over all samples of a step rather than those of one pass.

A mean over the valid pixels of a batch is not the mean of its parts' means where these differ in
their numbers of pixels. So where several processes or passes share a step, each divides its sum by
the mean of all their counts: the mean of the parts' losses is then the loss of the whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynapoint.training.distributed import Processes


@runtime_checkable
class Counts(Protocol):
    """What a count is replaced by."""

    def mean(self, count: Int[Tensor, ""]) -> Tensor:
        """What a sum is divided by, given how many there are in this pass; more than 0."""
        ...


_NOW: ContextVar[Counts | None] = ContextVar("counts", default=None)


def divisor(count: Int[Tensor, ""]) -> Tensor:
    """What to divide a sum of so many values by: their number, or the mean of what share a step.

    Every process of a step must ask for the same counts in the same order.
    """
    now = _NOW.get()
    return count.clamp_min(1) if now is None else now.mean(count)


@contextmanager
def counted_by(counts: Counts | None) -> Iterator[None]:
    """Losses inside are divided by what `counts` says; None is by their own numbers."""
    token = _NOW.set(counts)
    try:
        yield
    finally:
        _NOW.reset(token)


class AcrossProcesses:
    """The mean over processes that have one pass each, asked of them at once."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def mean(self, count: Int[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean of all processes' counts."""
        return _mean(self._processes.sum(count.double()), self._processes.count)


class Noted:
    """Counts of passes whose results are thrown away: only how many there are is noted."""

    def __init__(self) -> None:
        self._passes: list[list[Tensor]] = []

    def begin(self) -> None:
        """Another pass begins."""
        self._passes.append([])

    def mean(self, count: Int[Tensor, ""]) -> Int[Tensor, ""]:
        """The count itself, which is noted."""
        self._passes[-1].append(count)
        return count.clamp_min(1)

    def total(self, processes: Processes) -> Float[Tensor, " count"]:
        """The sums of each count over the passes of all processes, in their order."""
        passes = torch.stack([torch.stack(each) for each in self._passes])
        return processes.sum(passes.double().sum(dim=0))


class Known:
    """The means over `passes` passes whose sums are known, in the order of a pass."""

    def __init__(self, totals: Float[Tensor, " count"], *, passes: int) -> None:
        self._left = iter(totals)
        self._passes = passes

    def mean(self, count: Int[Tensor, ""]) -> Float[Tensor, ""]:
        """The next of the means."""
        return _mean(next(self._left), self._passes)


def _mean(total: Tensor, parts: int) -> Tensor:
    return total.clamp_min(1) / parts
