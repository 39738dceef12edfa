"""Seconds and peak memory of `dynapoint reconstruct`, model loading included.

    python benchmarks/reconstruct.py VIDEO [--frames 10] [--repeats 3]

Prints the median wall time of the whole command, its peak resident memory, and what it printed.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    seconds = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                *(sys.executable, "-m", "dynapoint", "reconstruct", str(options.video)),
                *("-o", str(Path(folder) / "scene.4d"), "--frames", str(options.frames)),
            ]
            start = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(done.stdout.strip())
    print(f"whole command   {statistics.median(seconds):.1f} s (median of {options.repeats})")
    print(f"peak memory     {peak:.0f} MiB")


if __name__ == "__main__":
    main()
