"""How far long clips drift, and which stage of joining mends it, on windows predicted once.

    python benchmarks/long_there_and_back.py CLIP.mp4 WORK_FOLDER [--window 24 --overlap 8]
        [--shares 4] [--brief] [--truth CLIP_FOLDER] [-o numbers.json]

CLIP is a real clip played forwards and then backwards, so that frame i and frame 2 n - 1 - i are
one picture and must have one camera:

    ffmpeg -i IN.mp4 -filter_complex "[0:v]split[a][b];[b]reverse[r];[a][r]concat=n=2:v=1[v]"
        -map "[v]" -crf 12 OUT.mp4

Windows are predicted into WORK_FOLDER unless they lie there, and those that wide windows overrule
are kept as they were before. Then each stage adds to those before it. With --truth the clip is one
that `dynapoint.synthetic.long_files.write_long_clip` wrote, and is compared with its cameras.

Loop closures find the same pictures again here, and wide windows that reach round the turning point
hold a frame and its twin: both make it easier than a camera that walks a loop.
"""

import argparse
import json
import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from long_scores import median_depth, row_of, table

import dynapoint
from dynapoint.data.frame_stream import open_stream
from dynapoint.data.selection import FrameSelection
from dynapoint.evaluation.trajectory import aligned_path
from dynapoint.geometry.arrays import rotation_angle_rad
from dynapoint.inference.long.deciding import LongSource, sizes_of
from dynapoint.inference.long.joining import Joiner, place, with_cameras
from dynapoint.inference.long.long_scene import _closures, _frames, _goes_anywhere
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.run import LongRun
from dynapoint.inference.long.shared_lens import find_focal
from dynapoint.inference.long.window_files import FinishedWindow, read_window, window_folder
from dynapoint.inference.long.work_folder import WorkFolder
from dynapoint.models.catalog import load_model
from dynapoint.models.protocol import info_of
from dynapoint.synthetic.long_clip import LongClip
from dynapoint.synthetic.long_files import read_long_clip
from dynapoint.windows import wide
from dynapoint.windows.contradictions import log_unit_of, overruled_windows
from dynapoint.windows.graph import solve_graph
from dynapoint.windows.plan import owners
from dynapoint.windows.spans import WindowSizes
from dynapoint.windows.wide import wide_windows


class Kept:
    """The windows of a clip, before and after some were predicted again, and what joins them."""

    def __init__(self, clip: Path, work: Path, sizes: WindowSizes, *, end_s: float | None) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.sizes, self._work = sizes, WorkFolder(path=work)
        self._work.make()
        model = load_model("nano", device="cpu")
        self._predictor = WindowPredictor(model=model, info=info_of(model, "nano"), refine=True)
        selection = FrameSelection(stride=1, end_s=end_s)
        self._source = LongSource(lambda: open_stream(clip, selection))
        self.seconds: dict[str, float] = {}
        with self._clocked("lens"):
            focal_px = self._focal(work / "focal.txt")
        with self._clocked("windows"), self._source.open() as stream:
            run = self.run = LongRun(self._predictor, self._work, sizes, focal_px=focal_px)
            plain = list(run.windows(stream))
            self.frames = _frames(run, stream, self._work)
        with self._clocked("wide windows"):
            spans = wide_windows(run.segments, [each.window for each in plain], sizes)
            wanted = [window for window in spans if _goes_anywhere(window, plain)]
            self.wide = run.predict_stored(wanted, self.frames)
        self.before, self.overruled = self._again(plain)
        self.after = [read_window(work / window_folder(index)) for index in range(len(plain))]
        self.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def _focal(self, path: Path) -> float:
        if not path.exists():
            count = self._source.frame_count
            assert count is not None
            found = find_focal(self._source.open, count, self._predictor, self.sizes.window)
            path.write_text(f"{found!r}\n")
        return float(path.read_text())

    def _again(self, plain: list[FinishedWindow]) -> tuple[list[FinishedWindow], list[int]]:
        """The windows as they were at first, and which of them others overruled."""
        kept = self._work.path / "before"
        asked = not kept.exists()
        if asked:
            shutil.copytree(self._work.path / "windows", kept, copy_function=os.link)
        before = [read_window(kept / f"{index:05d}") for index in range(len(plain))]
        sound = [each for each in self.wide if each.findings is not None and each.findings.poses]
        overruled = overruled_windows(
            before, sound, lambda index, by: log_unit_of(before[index].maps, sound[by].maps)
        )
        with self._clocked("windows again"):
            if asked and overruled:
                self.run.predict_again(overruled, self.frames)
        return before, [each.window for each in overruled]

    def _clocked(self, stage: str) -> "_Clock":
        return _Clock(self.seconds, stage)

    def stages(self, *, brief: bool = False) -> Iterator[tuple[str, np.ndarray]]:
        """What each stage makes of the cameras; brief: the first, and all but loop closures."""
        joiner = joined(self.before, [])
        yield "registration of neighbours", self._graph(joiner)
        if brief:
            yield "all but loop closures", self._adjusted(joined(self.after, self.wide))
            return
        yield "+ adjustment", self._adjusted(joiner)
        if self.wide:
            joiner = joined(self.before, self.wide)
            yield "registration + wide windows in the graph", self._graph(joiner)
            yield "+ adjustment", self._adjusted(joiner)
        if self.overruled:
            joiner = joined(self.after, self.wide)
            yield (
                f"+ {len(self.overruled)} of {len(self.after)} windows predicted again",
                self._adjusted(joiner),
            )
        for label, added in (("no wide windows, but", []), ("+", self.wide)):
            if not added and label == "+":
                continue
            joiner = joined(self.after if added else self.before, added)
            joiner.closures = _closures(self.run, joiner, self.frames)
            taken = sum(each.refused is None for each in joiner.closures)
            tried = len(joiner.closures)
            yield f"{label} {taken} loop closures ({tried} tried)", self._adjusted(joiner)

    def _graph(self, joiner: Joiner) -> np.ndarray:
        windows = [each.window for each in joiner.windows]
        solved = solve_graph(len(windows), [seam.edge for seam in joiner.seams])
        owner = owners(windows, self.frames.count)
        placed = solved.world_from_window
        return with_cameras(joiner.windows, placed, owner, self.run.segments).world_from_camera

    def _adjusted(self, joiner: Joiner) -> np.ndarray:
        placements, joining = place(joiner, self.run.segments, self.frames.count, self.sizes)
        self.joining = joining
        return placements.world_from_camera


class _Clock:
    """Adds the processor time of a block to what a stage took."""

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage = seconds, stage

    def __enter__(self) -> None:
        self._start = _processor_s()

    def __exit__(self, *_: object) -> None:
        took = _processor_s() - self._start
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + took


def _processor_s() -> float:
    return sum(os.times()[:4])


def joined(plain: list[FinishedWindow], extra: list[FinishedWindow]) -> Joiner:
    """Windows that are registered with each other."""
    joiner = Joiner()
    for window in plain:
        joiner.add(window)
    for window in extra:
        joiner.add_extra(window)
    return joiner


def twins(cameras: np.ndarray, depth: float) -> dict[str, float]:
    """How far the cameras of equal pictures are apart."""
    back = cameras[::-1]
    half = len(cameras) // 2
    places = cameras[:half, :3, 3]
    extent = float(np.linalg.norm(places[:, None] - places[None], axis=-1).max())
    apart = np.linalg.norm(cameras[:half, :3, 3] - back[:half, :3, 3], axis=-1)
    turned = np.degrees(rotation_angle_rad(cameras[:half, :3, :3], back[:half, :3, :3]))
    step = np.linalg.norm(np.diff(cameras[:, :3, 3], axis=0), axis=-1)
    return {
        "end, % of extent": 100 * float(apart[0]) / extent,
        "mean, % of extent": 100 * float(apart.mean()) / extent,
        "end °": float(turned[0]),
        "mean °": float(turned.mean()),
        "mean, % of depth": 100 * float(apart.mean()) / depth,
        "largest step, % of extent": 100 * float(step.max()) / extent,
        "extent, % of depth": 100 * extent / depth,
    }


def depth_of(windows: list[FinishedWindow]) -> float:
    """The median depth of the first window, whose unit is the segment's."""
    maps = windows[0].maps
    local = [
        (np.asarray(points) - camera[:3, 3]) @ camera[:3, 2]
        for points, camera in zip(maps.points, maps.world_from_camera, strict=True)
    ]
    return float(np.median(np.stack(local)[np.asarray(maps.confidence) > 0]))


def window_table(kept: Kept, clip: LongClip, depth: float) -> str:
    """Each window by itself against the truth, and how it was joined to the one before."""
    titles = ("window", "frames", "refined", "turn °", "way %", "scale of unit", "seam °", "doubt")
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    seams = {seam.second: seam.found for seam in joined(kept.after, []).seams}
    for index, window in enumerate([*kept.after, *kept.wide]):
        frames = list(window.frames)
        truth = clip.world_from_camera[frames]
        moved, scale = aligned_path(truth, window.world_from_camera)
        relative = [np.linalg.inv(poses[:1]) @ poses for poses in (truth, moved)]
        turn = np.degrees(rotation_angle_rad(*(each[:, :3, :3] for each in relative))).max()
        way = np.linalg.norm(moved[:, :3, 3] - truth[:, :3, 3], axis=-1).max() / depth
        seam = seams.get(index)
        found = window.findings
        lines.append(
            f"| {index}{' wide' if window.window.wide else ''}"
            f"{' again' if index in kept.overruled else ''} | {frames[0]} to {frames[-1]} | "
            f"{'yes' if found is not None and found.poses else 'no'} | {turn:.2f} | "
            f"{100 * way:.1f} | {scale:.3f} | "
            + (f"{seam.residual_deg:.2f} | {seam.doubt or ''} |" if seam else "| |")
        )
    return "\n".join(lines)


def against_truth(kept: Kept, clip: LongClip, *, brief: bool) -> dict:
    """Every stage against the true cameras."""
    count = kept.frames.count
    truth = clip.world_from_camera[:count]
    depth = float(np.median([median_depth(clip, frame) for frame in range(0, count, 20)]))
    print(window_table(kept, clip, depth), flush=True)
    rows = [
        row_of(label, truth, cameras, depth, 0.0) for label, cameras in kept.stages(brief=brief)
    ]
    print("\n" + table([replace(row, seconds=float("nan")) for row in rows]), flush=True)
    return {"rows": [vars(row) for row in rows]}


def there_and_back(kept: Kept, *, brief: bool) -> dict:
    """Every stage by the cameras of equal pictures."""
    depth, rows = depth_of(kept.before), []
    for label, cameras in kept.stages(brief=brief):
        numbers = twins(cameras, depth)
        if not rows:
            print("| | " + " | ".join(numbers) + " |\n" + "|---" * (len(numbers) + 1) + "|")
        print(f"| {label} | " + " | ".join(f"{v:.2f}" for v in numbers.values()) + " |", flush=True)
        rows.append({"label": label, **numbers})
    return {"rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--window", type=int)
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--shares", type=int, help="frames of a wide window in an ordinary one's")
    parser.add_argument("--end", type=float, help="seconds of the clip")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--brief", action="store_true", help="only the first stage and the last")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.shares:
        wide._SHARES = options.shares
    sizes = sizes_of("nano", options.window, options.overlap)
    kept = Kept(options.clip, options.work, sizes, end_s=options.end)
    said = {"version": dynapoint.__version__, "sizes": vars(sizes), "seconds": kept.seconds}
    said |= {"peak_mib": kept.peak_mib, "frames": kept.frames.count}
    said |= {"overruled": kept.overruled}
    print(json.dumps(said), flush=True)
    clip = None if options.truth is None else read_long_clip(options.truth)
    said |= (
        there_and_back(kept, brief=options.brief)
        if clip is None
        else against_truth(kept, clip, brief=options.brief)
    )
    said["joining"] = kept.joining.to_plain()
    print(json.dumps(said["joining"]))
    if options.output:
        options.output.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
