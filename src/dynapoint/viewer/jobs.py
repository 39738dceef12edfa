"""Work that takes longer than an answer should: done in the background, asked about again."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Report(Protocol):
    """Is told which share of a piece of work, in [0, 1], is done, and what is done next."""

    def __call__(self, share: float, words: str = "") -> None:
        """Take note."""


# What is done within this time is answered at once.
_PATIENCE_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Working:
    """Work that is not done yet: the share that is, and what it is."""

    share: float
    words: str


@dataclass(kw_only=True)
class _Job:
    """A piece of work and what became of it."""

    words: str
    share: float = 0.0
    result: Any = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """Runs each piece of work once, one after another, however often it is asked for."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, _Job] = {}
        self._lock = threading.Lock()
        # The network and the memory are one: two fusions side by side would gain nothing.
        self._turn = threading.Lock()

    def ask(self, key: Hashable, words: str, work: Callable[[Report], Any]) -> Any:
        """The result of a piece of work, or `Working` while it is going on.

        What it fails with is raised once, to whoever asks next; asking again tries again.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(words=words)
                threading.Thread(target=self._run, args=(job, work), daemon=True).start()
        if not job.done.wait(_PATIENCE_S):
            return Working(share=job.share, words=job.words)
        if job.error is not None:
            self.forget(key)
            raise job.error
        return job.result

    def forget(self, key: Hashable) -> None:
        """Let a result go."""
        with self._lock:
            self._jobs.pop(key, None)

    def _run(self, job: _Job, work: Callable[[Report], Any]) -> None:
        def report(share: float, words: str = "") -> None:
            job.share, job.words = share, words or job.words

        try:
            with self._turn:
                job.result = work(report)
        except BaseException as error:
            job.error = error
        finally:
            job.done.set()
