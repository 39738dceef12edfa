"""Wall-clock seconds of the stages of a refinement, which are shown as they begin."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dynapoint.progress import part


@dataclass(kw_only=True)
class Clock:
    """Times named stages, some of which may come twice.

    Attributes:
        seconds: What each stage took.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        with part(name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
