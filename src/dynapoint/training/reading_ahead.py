"""What the next step needs is read while the network works on this one."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

Read = TypeVar("Read")


class ReadingAhead(Generic[Read]):
    """Asked for one step after another, has the next one read by a thread of its own.

    `read` gives what a step needs, by the step's number alone. What it raises for a step is raised
    when that step is asked for.
    """

    def __init__(self, read: Callable[[int], Read]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._next: dict[int, Future[Read]] = {}

    def of(self, step: int) -> Read:
        """What a step needs."""
        now = self._next.pop(step, None) or self._begin(step)
        found = now.result()
        self._next = {step + 1: self._begin(step + 1)}
        return found

    def _begin(self, step: int) -> "Future[Read]":
        # Lines about damaged files stand beside what is shown, which the context knows.
        return self._thread.submit(copy_context().run, self._read, step)
