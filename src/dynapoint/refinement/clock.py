"""Wall-clock seconds of the stages of a refinement, shown as a bar if one is wanted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Clock:
    """Times named stages, some of which may come twice.

    Attributes:
        progress: Whether to show a bar on standard error.
        seconds: What each stage took.
    """

    progress: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    _bar: Any = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        if self.progress and self._bar is None:
            from tqdm import tqdm  # noqa: PLC0415 - only needed here.

            self._bar = tqdm(unit="stage", leave=False)
        if self._bar is not None:
            self._bar.set_description(f"refine: {name}")
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        if self._bar is not None:
            self._bar.update()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
