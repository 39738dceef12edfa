"""Memory and time of `dynapoint reconstruct --frames all` against the number of frames, and a plot.

    python benchmarks/long_memory.py CLIP.mp4 [--frames 50 200 800 2000] [--model nano]
        [-o long_memory.json] [--plot docs/pictures/long_memory.png] [--option=--refine=off]

Each run takes the first frames of the clip, in a process of its own with --threads threads.
A few times a second its memory is read from /proc (Linux), all its processes together: anonymous
memory is what it holds and cannot give back, file-backed memory (libraries, weights and maps that
are mapped from disk) is what the system may drop. Runs that the JSON file has already are not run
again; the plot needs matplotlib.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import av

_MIB = 1024.0  # /proc speaks of KiB


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: when it was looked at (s), and what it held then (MiB)."""

    frames: int
    seconds: float
    processor_s: float
    scene_mib: float
    at_s: list[float]
    anonymous_mib: list[float]
    file_backed_mib: list[float]

    @property
    def peak_mib(self) -> float:
        """The most that was resident at one time."""
        both = zip(self.anonymous_mib, self.file_backed_mib, strict=True)
        return max(map(sum, both), default=0.0)


def memory_of(pid: int) -> tuple[float, float]:
    """Anonymous and file-backed memory of a process and its children; raises OSError if gone."""
    held = {"Rss": 0.0, "Anonymous": 0.0}
    for each in (pid, *children_of(pid)):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, value = line.partition(":")
            if name in held:
                held[name] += float(value.split()[0]) / _MIB
    return held["Anonymous"], held["Rss"] - held["Anonymous"]


def children_of(pid: int) -> list[int]:
    """All processes that it started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children_of(int(child))]
    return found


def run(clip: Path, frames: int, options: argparse.Namespace) -> Run:
    """Reconstruct the first frames of a clip."""
    with av.open(str(clip)) as video:
        rate = float(video.streams.video[0].average_rate)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        return watched(clip, frames, rate, options.keep / f"{clip.stem}_{frames}.4d", options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return watched(clip, frames, rate, Path(folder) / "scene.4d", options)


def watched(clip: Path, frames: int, rate: float, output: Path, options: argparse.Namespace) -> Run:
    """Run it and look at its memory until it ends."""
    words = [
        sys.executable, "-m", "dynapoint", "reconstruct", str(clip), "-o", str(output),
        "--frames", "all", "--end", f"{(frames - 0.5) / rate:.6f}", "--model", options.model,
        *options.option,
    ]  # fmt: skip
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "DYNAPOINT_THREADS")}
    start = time.perf_counter()
    process = subprocess.Popen(words, env={**os.environ, **threads})
    at, anonymous, backed = [], [], []
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        try:
            held = memory_of(process.pid)
        except OSError:
            continue  # it ends just now
        at.append(round(time.perf_counter() - start, 2))
        anonymous.append(round(held[0], 1))
        backed.append(round(held[1], 1))
        time.sleep(options.every)
    if status:
        raise SystemExit(f"{' '.join(words)} failed with status {status}")
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / _MIB**2
    return Run(
        frames=frames,
        seconds=seconds,
        processor_s=usage.ru_utime + usage.ru_stime,
        scene_mib=size,
        at_s=at,
        anonymous_mib=anonymous,
        file_backed_mib=backed,
    )


def table(runs: list[Run]) -> str:
    """Markdown."""
    lines = [
        "| frames | s | s of one core | s a frame | peak MiB | anonymous | scene MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in runs:
        lines.append(
            f"| {each.frames} | {each.seconds:.0f} | {each.processor_s:.0f} "
            f"| {each.seconds / each.frames:.2f} | {each.peak_mib:.0f} "
            f"| {max(each.anonymous_mib, default=0):.0f} | {each.scene_mib:.0f} |"
        )
    return "\n".join(lines)


def draw(runs: list[Run], path: Path) -> None:
    """Memory over the share of each run, and peak and time against the number of frames."""
    import matplotlib  # noqa: PLC0415 - only a plot needs it.

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (over, peaks, times) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for each in runs:
        share = [100 * at / each.seconds for at in each.at_s]
        total = [sum(both) for both in zip(each.anonymous_mib, each.file_backed_mib, strict=True)]
        line = over.plot(share, total, label=f"{each.frames} frames", linewidth=1.2)[0]
        over.plot(share, each.anonymous_mib, ":", color=line.get_color(), linewidth=1.2)
    over.set(
        xlabel="% of the run", ylabel="MiB", title="resident (dotted: anonymous)", ylim=(0, None)
    )
    over.legend()
    frames = [each.frames for each in runs]
    peaks.plot(frames, [each.peak_mib for each in runs], "o-", label="resident")
    anonymous = [max(each.anonymous_mib, default=0) for each in runs]
    peaks.plot(frames, anonymous, "o:", label="anonymous")
    peaks.set(xlabel="frames", ylabel="MiB", title="peak memory", ylim=(0, None), xlim=(0, None))
    peaks.legend()
    times.plot(frames, [each.seconds / 60 for each in runs], "o-")
    times.set(xlabel="frames", ylabel="minutes", title="time", ylim=(0, None), xlim=(0, None))
    for axes in (over, peaks, times):
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 200, 800, 2000])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=float, default=0.25, help="seconds between two looks")
    parser.add_argument("--folder", type=Path, help="where scenes are written for a while")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the scenes")
    parser.add_argument("--option", action="append", default=[], help="more for the command line")
    parser.add_argument("-o", "--output", type=Path, default=Path("long_memory.json"))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    kept = json.loads(options.output.read_text()) if options.output.exists() else []
    runs = {each["frames"]: Run(**each) for each in kept}
    for frames in options.frames:
        if frames not in runs:
            runs[frames] = run(options.clip, frames, options)
            ordered = [runs[count] for count in sorted(runs)]
            options.output.write_text(json.dumps([asdict(each) for each in ordered]) + "\n")
    ordered = [runs[count] for count in sorted(runs)]
    print(table(ordered))
    if options.plot:
        draw(ordered, options.plot)


if __name__ == "__main__":
    main()
