"""What the number of threads costs beside other busy processes (docs/notes/machines.md).

    python benchmarks/threads.py CLIP [--loads 0 1 3 12] [--frames 24] [--rounds 2]

For each load so many processes spin while `dynapoint reconstruct CLIP` runs: with the threads that
it chooses, with one, and with one for every core. In every round each way runs once, in turn. A
line says the best wall-clock seconds of each way and their ratio to the best of all.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynapoint.threads import VARIABLE, cores

WAYS: dict[str, str | None] = {"chosen": None, "1": "1", "every core": str(cores())}


@contextmanager
def busy(load: int) -> Iterator[None]:
    """So many processes that only spin."""
    spin = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(spin) for _ in range(load)]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def seconds(clip: Path, frames: int, threads: str | None) -> float:
    """Wall-clock seconds of one reconstruction."""
    environment = {k: v for k, v in os.environ.items() if k not in (VARIABLE, "OMP_NUM_THREADS")}
    if threads is not None:
        environment[VARIABLE] = threads
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dynapoint", "reconstruct", str(clip)]
        command += ["-o", f"{folder}/scene.4d", "--frames", str(frames)]
        begun = time.monotonic()
        subprocess.run(command, check=True, env=environment, capture_output=True)
        return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--loads", type=int, nargs="+", default=[0, 1, 3, 12])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    for load in given.loads:
        best = dict.fromkeys(WAYS, float("inf"))
        with busy(load):
            for _ in range(given.rounds):
                for way, threads in WAYS.items():
                    best[way] = min(best[way], seconds(given.clip, given.frames, threads))
        least = min(best.values())
        told = "  ".join(f"{way} {s:.1f} s ({s / least:.2f})" for way, s in best.items())
        print(f"load {load:2d}: {told}", flush=True)


if __name__ == "__main__":
    main()
