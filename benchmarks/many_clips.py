"""Many clips with Ray against the same cores without it: clips a second, CPU, memory, stages.

    python benchmarks/many_clips.py [--clips 40] [--cores 2] [--frames 6] [--rounds 1]
                                    [--source VIDEO]
    python benchmarks/many_clips.py --forecast [--clips 5] [--frames 24] [--gpus 64]

Videos of the data engine are reconstructed, each of another scene (or, with --source, one video
many times over). Without Ray, so many processes of their own share the clips out; with it, as many
workers. What counts is from the moment when all of them have finished their first clip; that
the network is loaded, and Ray started, comes before. Beside the clock stands the CPU time of all
processes, Ray's own included, for busy machines.

The forecast measures each stage in CPU time of one thread, which is what it takes on an idle core,
and reckons from that what 10,000 clips take on many GPUs. How fast a GPU runs the network is no
measurement but counted arithmetic (`models.vggt.cost`) at an assumed rate.
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
from types import SimpleNamespace
from typing import Any

import av
import cv2
import pyarrow.parquet as pq
from engine_videos import write_engine_videos

import dynapoint
from dynapoint import progress
from dynapoint.models.vggt import cost

DEMO = Path(dynapoint.__file__).parent / "assets" / "demo.mp4"
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--source", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=1, help="of both ways in turns")
    parser.add_argument("--no-refine", action="store_true")
    parser.add_argument("--only", choices=["without", "with"], default=None)
    parser.add_argument("--forecast", action="store_true")
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--gpu-rate", type=float, default=4e14, help="operations a second")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    # Neither is to wait for the other's files.
    with tempfile.TemporaryDirectory() as folder:
        if options.forecast:
            print(json.dumps(forecast(options, Path(folder) / "out"), indent=2))
            return
        sources = [options.source] * options.clips
        if options.source is None:
            sources = write_engine_videos(Path(folder) / "videos", options.clips)
        for mode in ("without", "with") * options.rounds:
            if options.only in (None, mode):
                made = measured(options, mode, sources, Path(folder) / mode)
                print(json.dumps({"ray": mode, **made}), flush=True)


def measured(
    options: argparse.Namespace, mode: str, sources: list[Path], folder: Path
) -> dict[str, Any]:
    """What all clips took in one of the two ways."""
    folder.mkdir()
    clips = [f"{source.resolve()},{number:05d}" for number, source in enumerate(sources)]
    shares = (
        [clips] if mode == "with" else [clips[k :: options.cores] for k in range(options.cores)]
    )
    lists = []
    for number, share in enumerate(shares):
        lists.append(folder / f"{number}.csv")
        lists[-1].write_text("\n".join(["source,output", *share]))
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


def forecast(options: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Stages of a clip on a core, and 10,000 clips on many GPUs."""
    # Stages are timed by this clock.
    progress.time = SimpleNamespace(perf_counter=time.process_time, monotonic=time.monotonic)
    source = str(enlarged(options.source or DEMO, output.parent / "large.mp4"))
    clips = [dynapoint.Clip(source=source, output=str(n)) for n in range(options.clips)]
    results = list(
        dynapoint.reconstruct_many(clips, output=output, frames=options.frames, lean=True)
    )
    # The first one loads the network, and what is imported only then.
    stages = {
        name: statistics.median(each.stages[name] for each in results[1:])
        for name in results[0].stages
    }
    scene = Path(results[-1].path)
    size = sum(file.stat().st_size for file in scene.rglob("*") if file.is_file())
    frames = results[-1].open().frames
    on_gpu_s = cost.cost_of(frames.count, frames.image_hw).operations / options.gpu_rate
    # While a clip is read the one before it is computed; what follows the network holds its turn.
    # Tracks are the network's, and counted there.
    beside = sum(stages[name] for name in ("contact sheet", "self-check", "write"))
    rows = {}
    for share in (1, 2, 4):
        each_s = max(stages["read"], on_gpu_s + beside)
        rate = options.gpus * min(share / each_s, 1 / on_gpu_s)
        rows[f"{share} workers a GPU"] = {
            "hours of 10,000 clips": 10_000 / rate / 3600,
            "GPU busy": rate * on_gpu_s / options.gpus,
            "cores of each GPU busy": rate * (stages["read"] + beside) / options.gpus,
            "MB written a second": rate * size / 1e6,
        }
    core_s = sum(seconds for name, seconds in stages.items() if name != "load model")
    return {
        "frames": frames.count,
        "image_hw": frames.image_hw,
        "cpu_s_of_stages": stages,
        "scene_mb": size / 1e6,
        "nano: core hours of 10,000 clips": 10_000 * core_s / 3600,
        "vdpm on a GPU, reckoned s": on_gpu_s,
        "vdpm": rows,
    }


def enlarged(source: Path, target: Path, *, frames: int = 300) -> Path:
    """A video of ten seconds in 1280 x 720 that shows another one there and back again."""
    with av.open(str(source)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    there_and_back = [*shown, *shown[-2:0:-1]]
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(frames):
            picture = cv2.resize(there_and_back[number % len(there_and_back)], (1280, 720))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return target


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
