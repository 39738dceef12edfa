"""Many clips with Ray against the same cores without it: clips a second, CPU, memory, stages.

    python benchmarks/many_clips.py [--clips 40] [--cores 2] [--frames 6] [--source VIDEO]

One video is reconstructed many times over under different names. Without Ray, so many processes of
their own share the clips out; with it, as many workers. What counts is from the moment when all
of them have finished their first clip; that the network is loaded, and Ray started, comes before.
Beside the clock stands the CPU time of all processes, Ray's own included, for busy machines.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import dynapoint

DEMO = Path(dynapoint.__file__).parent / "assets" / "demo.mp4"
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--source", type=Path, default=DEMO)
    parser.add_argument("--no-refine", action="store_true")
    parser.add_argument("--only", choices=["without", "with"], default=None)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    # Neither is to wait for the other's files.
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("without", "with"):
            if options.only in (None, mode):
                print(json.dumps({"ray": mode, **measured(options, mode, Path(folder) / mode)}))


def measured(options: argparse.Namespace, mode: str, folder: Path) -> dict[str, Any]:
    """What all clips took in one of the two ways."""
    folder.mkdir()
    names = [f"{number:05d}" for number in range(options.clips)]
    shares = (
        [names] if mode == "with" else [names[k :: options.cores] for k in range(options.cores)]
    )
    lists = []
    for number, share in enumerate(shares):
        lists.append(folder / f"{number}.csv")
        rows = "".join(f"{options.source.resolve()},{name}\n" for name in share)
        lists[-1].write_text(f"source,output\n{rows}")
    began_s = time.time()
    cluster = ["--cluster", "auto", "--workers", str(options.cores)] if mode == "with" else []
    refine = ["--no-refine"] if options.no_refine else []
    more = ["--frames", str(options.frames), "--lean", "--json", *cluster, *refine]
    command = [sys.executable, "-m", "dynapoint", "reconstruct"]
    running = [
        subprocess.Popen(
            [*command, str(each), "-o", str(folder / f"out_{each.stem}"), *more],
            stdout=subprocess.DEVNULL,
        )
        for each in lists
    ]
    watch = Watch([each.pid for each in running])
    codes = [each.wait() for each in running]
    watch.stop()
    assert not any(codes), codes
    rows = [
        row
        for each in lists
        for row in pq.read_table(folder / f"out_{each.stem}" / "index.parquet").to_pylist()
    ]
    shutil.rmtree(folder)
    return summary(rows, began_s, watch)


def summary(rows: list[dict[str, Any]], began_s: float, watch: "Watch") -> dict[str, Any]:
    """Clips a second once all work, stages, and whether memory grows."""
    firsts: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: row["finished_unix_s"]):
        firsts.setdefault(row["worker"], row["finished_unix_s"])
    since_s = max(firsts.values())
    after = [row["finished_unix_s"] for row in rows if row["finished_unix_s"] > since_s]
    stages: dict[str, list[float]] = {}
    for row in rows:
        for stage, seconds in row["stages"]:
            stages.setdefault(stage, []).append(seconds)
    growth = []
    for worker in firsts:
        own = [row for row in rows if row["worker"] == worker]
        held = [row["memory_bytes"] for row in sorted(own, key=lambda row: row["finished_unix_s"])]
        tenth = max(1, len(held) // 10)
        growth.append(statistics.mean(held[-tenth:]) / statistics.mean(held[:tenth]))
    return {
        "clips": len(rows),
        "began_s": since_s - began_s,
        "clips_a_second": len(after) / (max(after) - since_s),
        "cpu_s_a_clip": (watch.used_s(max(after)) - watch.used_s(since_s)) / len(after),
        "median_stage_s": {name: statistics.median(each) for name, each in stages.items()},
        "memory_last_tenth_to_first": growth,
        "memory_bytes": max(row["memory_bytes"] for row in rows),
    }


class Watch:
    """Adds up the CPU time of processes and of all that they started, once a quarter second."""

    def __init__(self, roots: list[int]) -> None:
        self._roots, self._used = roots, dict[int, float]()
        self._series: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def used_s(self, moment_s: float) -> float:
        """Seconds of cores until a moment of `time.time`."""
        return max((used for when, used in self._series if when <= moment_s), default=0.0)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        known = set(self._roots)
        while not self._over.wait(0.25):
            found: dict[int, tuple[int, float]] = {}
            for entry in Path("/proc").glob("[0-9]*/stat"):
                try:
                    words = entry.read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                used_s = (int(words[11]) + int(words[12])) / _TICKS
                found[int(entry.parent.name)] = (int(words[1]), used_s)
            grown = True
            while grown:
                more = {pid for pid, (parent, _) in found.items() if parent in known} - known
                known |= more
                grown = bool(more)
            self._used |= {pid: found[pid][1] for pid in known if pid in found}
            self._series.append((time.time(), sum(self._used.values())))


if __name__ == "__main__":
    main()
