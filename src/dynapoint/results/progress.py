"""How far longer work is: a bar on a terminal, else a line now and then, on standard error."""

import sys
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

Step = TypeVar("Step")

# Work that is done within so many seconds says nothing; then there is a line as often as that.
QUIET_S, BETWEEN_LINES_S = 1.5, 4.0


def steps(work: Collection[Step], words: str, *, shown: bool) -> Iterator[Step]:
    """The steps of some work, one after another, saying how many are done.

    Args:
        work: The steps.
        words: What they are for.
        shown: Whether to say anything.
    """
    if not shown:
        return iter(work)
    if sys.stderr.isatty():
        from tqdm import tqdm  # noqa: PLC0415 - only needed here.

        return iter(tqdm(work, desc=words, leave=False, delay=QUIET_S))
    return _with_lines(work, words)


def _with_lines(work: Collection[Step], words: str) -> Iterator[Step]:
    """The steps, with lines for a log file."""
    said = time.monotonic() + QUIET_S - BETWEEN_LINES_S
    for done, step in enumerate(work):
        now = time.monotonic()
        if now - said >= BETWEEN_LINES_S:
            print(f"{words}: {done} of {len(work)} done", file=sys.stderr, flush=True)
            said = now
        yield step
