"""Work that takes longer than an answer should: done in the background, asked about again."""

import threading
import time
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
# Who waits asks again within this time, even in a window that is not looked at.
_WAITING_S = 15.0
# So many results are kept, those asked for last.
_RESULTS_KEPT = 32


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
    asked_s: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """Runs each piece of work once, one after another, however often it is asked for.

    What nobody waits for any longer when its turn comes is not begun.
    """

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
            job = self._jobs.pop(key, None)
            if job is None:
                job = _Job(words="Waiting for other work")
                arguments = (key, job, words, work)
                threading.Thread(target=self._run, args=arguments, daemon=True).start()
            self._jobs[key] = job
            job.asked_s = time.monotonic()
            done = [known for known, other in self._jobs.items() if other.done.is_set()]
            for old in done[:-_RESULTS_KEPT]:
                del self._jobs[old]
        if not job.done.wait(_PATIENCE_S):
            return Working(share=job.share, words=job.words)
        if job.error is not None:
            self._forget(key, job)
            raise job.error
        return job.result

    def _forget(self, key: Hashable, job: _Job) -> None:
        """Let a piece of work go, unless another has taken its place."""
        with self._lock:
            if self._jobs.get(key) is job:
                del self._jobs[key]

    def _run(self, key: Hashable, job: _Job, words: str, work: Callable[[Report], Any]) -> None:
        def report(share: float, words: str = "") -> None:
            job.share, job.words = share, words or job.words

        try:
            with self._turn:
                with self._lock:
                    if time.monotonic() - job.asked_s > _WAITING_S:
                        del self._jobs[key]
                        return
                job.words = words
                job.result = work(report)
        except BaseException as error:
            job.error = error
        finally:
            job.done.set()
