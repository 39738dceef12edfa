"""How exact long clips are: camera paths, loops, and tracks against time, beside the noise's floor.

    python benchmarks/long_video.py oracle [--seed 1] [--frames 400] [--cut 1400] [-o table.json]
    python benchmarks/long_video.py scene CLIP_FOLDER LABEL=SCENE.4d [LABEL=SCENE.4d ...]

`oracle` needs no network: windows say where their pixels truly are, with noise
(`evaluation.true_windows` states it), and what joins windows is measured alone. Its floor is what
remains where each window is placed as it truly lies. `scene` compares results with the clip that
`dynapoint.synthetic.long_files.write_long_clip` wrote: the folder with its recipe.

Lengths are in per cent of the median depth of a part of the clip, between cuts. Loops are pairs
of frames at least a hundred apart that look from within 0.4 m and 15 degrees of each other.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

import dynapoint
from dynapoint.evaluation.trajectory import (
    aligned_path,
    motion_errors,
    path_errors,
    revisits,
    track_errors,
)
from dynapoint.evaluation.true_windows import TrueWindows, WindowNoise
from dynapoint.geometry.arrays import points_in_camera, transform_points
from dynapoint.geometry.similarity import fit_similarity_robustly
from dynapoint.inference.windowed_decoder import ClipMaps, WindowCameras, WindowedDecoder
from dynapoint.synthetic.long_clip import LongClip
from dynapoint.synthetic.long_files import read_long_clip
from dynapoint.windows.placing import Placements, camera_of, placed_points
from dynapoint.windows.spans import Segment, Window
from dynapoint.windows.window_maps import WindowMaps

LAGS = (0, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LEAST_LOOP, LOOP_METRES, LOOP_DEG = 100, 0.4, 15.0

Placed = np.ndarray  # (window, 4, 4): world_from_window
PointsOf = Callable[[int, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Errors of one part of a clip by one way; lengths in per cent of its median depth."""

    label: str
    ate: float
    ate_largest: float
    rpe: float
    rpe_deg: float
    far: float
    far_deg: float
    loop: float
    loop_deg: float
    scale_drift: float
    seconds: float = 0.0


def row_of(label: str, truth: np.ndarray, found: np.ndarray, depth: float, seconds: float) -> Row:
    """All numbers of one camera path of a part."""
    errors = path_errors(truth, found)
    loops = revisits(truth, least_frames=LEAST_LOOP, within=LOOP_METRES, within_deg=LOOP_DEG)
    loop, loop_deg = motion_errors(truth, aligned_path(truth, found)[0], loops)
    share = 100.0 / depth
    return Row(
        label=label,
        ate=share * errors.ate,
        ate_largest=share * errors.ate_largest,
        rpe=share * errors.rpe_translation,
        rpe_deg=errors.rpe_rotation_deg,
        far=share * errors.far_translation,
        far_deg=errors.far_rotation_deg,
        loop=share * float(np.median(loop)) if len(loop) else float("nan"),
        loop_deg=float(np.median(loop_deg)) if len(loop) else float("nan"),
        scale_drift=100.0 * errors.scale_drift,
        seconds=seconds,
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    titles = (
        "", "ATE %", "largest %", "RPE %", "RPE °", "RPE 100 %", "RPE 100 °", "loop %", "loop °",
        "scale drift %", "s",
    )  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        label, *numbers = vars(row).values()
        lines.append(f"| {label} | " + " | ".join(f"{value:.2f}" for value in numbers) + " |")
    return "\n".join(lines)


def track_table(
    clip: LongClip, part: range, found: np.ndarray, points: PointsOf, *, pairs: int, seed: int
) -> list[tuple[int, float, float, int]]:
    """Error against how far times are apart: lag, still and moving medians (% of depth), pairs.

    Points are compared in the camera of the time that is asked for, in the unit of the true path,
    so that what the world's place and scale have of errors is left out.
    """
    truth = clip.world_from_camera[part.start : part.stop]
    scale = aligned_path(truth, found)[1]
    rng = np.random.default_rng(seed)
    lines = []
    for lag in LAGS:
        if lag >= len(part):
            break
        still, moving, used = [], [], 0
        for _ in range(pairs):
            i = int(rng.integers(len(part) - lag))
            i, j = (i, i + lag) if rng.random() < 0.5 else (i + lag, i)
            true = clip.truth(part.start + i, part.start + j)
            said = points_in_camera(points(i, j).astype(np.float64), found[j]) * scale
            rows, columns = (
                ((np.arange(count) + 0.5) * full / count).astype(int)
                for count, full in zip(said.shape[:2], clip.image_hw, strict=True)
            )
            grid = np.ix_(rows, columns)
            errors = track_errors(
                truth=true.points[grid],
                own_truth=clip.points(part.start + i, part.start + i)[grid],
                predicted=transform_points(truth[j], said),
                visible=true.visible[grid],
                camera=truth[j],
            )
            used += errors.still_points + errors.moving_points > 0
            still.append(errors.still)
            moving.append(errors.moving)
        lines.append((lag, 100 * middle(still), 100 * middle(moving), used))
    return lines


def middle(values: Iterable[float]) -> float:
    """The median of those that are known."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def shown_tracks(label: str, lines: Sequence[tuple[int, float, float, int]]) -> str:
    """Markdown."""
    head = f"| {label}: frames apart | " + " | ".join(str(line[0]) for line in lines) + " |"
    rows = [head, "|---" * (len(lines) + 1) + "|"]
    for name, place in (("still, % of depth", 1), ("moving, % of depth", 2)):
        rows.append(f"| {name} | " + " | ".join(f"{line[place]:.2f}" for line in lines) + " |")
    return "\n".join([*rows, f"| pairs | {' | '.join(str(line[3]) for line in lines)} |"])


def even_windows(count: int, *, window: int, overlap: int) -> list[Window]:
    """Windows that cover frames 0 to `count`; the last one is moved back until it is full."""
    starts = list(range(0, max(count - window, 0) + 1, window - overlap))
    if starts[-1] + window < count:
        starts.append(count - window)
    return [Window(frames=tuple(range(s, min(s + window, count)))) for s in starts]


def owners_of(windows: Sequence[Window], count: int) -> np.ndarray:
    """For each frame the window in which it is most central."""
    best, owner = np.full(count, -1), np.zeros(count, np.int64)
    for index, window in enumerate(windows):
        for place, frame in enumerate(window.frames):
            central = min(place, len(window.frames) - 1 - place)
            if not window.closes_loop and central > best[frame]:
                best[frame], owner[frame] = central, index
    return owner


class OraclePart:
    """A part of a clip between two cuts, seen through noisy windows; frames count from 0 in it."""

    def __init__(self, oracle: TrueWindows, part: range, *, window: int, overlap: int) -> None:
        self.oracle, self.part = oracle, part
        self.windows = even_windows(len(part), window=window, overlap=overlap)
        self.maps = [self.said(each) for each in self.windows]
        self.owner = owners_of(self.windows, len(part))
        first = oracle.clip.world_from_camera[part.start : part.stop]
        self.truth = np.linalg.inv(first[0]) @ first

    def said(self, window: Window) -> WindowMaps:
        """What a window says, with frames counted from the part's first."""
        said = self.oracle.window([self.part.start + frame for frame in window.frames])
        return WindowMaps(
            frames=window.frames,
            world_from_camera=said.world_from_camera,
            map_intrinsics=said.map_intrinsics,
            points=said.points,
            confidence=said.confidence,
        )

    def truly_placed(self) -> Placed:
        """The true similarities of all windows."""
        return np.stack(
            [
                self.oracle.world_from_window([self.part.start + f for f in each.frames])
                for each in self.windows
            ]
        )

    def cameras(self, placed: Placed) -> np.ndarray:
        """All cameras, each from the window that owns its frame."""
        found = []
        for frame, index in enumerate(self.owner):
            [local] = self.maps[index].local([frame])
            found.append(camera_of(placed[index], self.maps[index].world_from_camera[local]))
        return np.stack(found)

    def decoder(self, placed: Placed, cameras: np.ndarray) -> WindowedDecoder:
        """Points of all frames at all times, by handing over."""
        maps = [self.maps[index] for index in self.owner]
        intrinsics = np.stack(
            [each.map_intrinsics[each.local([f])[0]] for f, each in enumerate(maps)]
        )
        placements = Placements(
            world_from_window=placed,
            world_from_camera=cameras,
            map_intrinsics=intrinsics,
            owner=self.owner,
        )
        clip = ClipMaps(
            world_from_camera=cameras,
            map_intrinsics=intrinsics,
            points=np.stack(
                [
                    placed_points(each, frame, placements, int(index))
                    for frame, (each, index) in enumerate(zip(maps, self.owner, strict=True))
                ]
            ),
            confidence=np.stack(
                [each.confidence[each.local([f])[0]] for f, each in enumerate(maps)]
            ),
            target_of_frame=np.arange(len(self.part)),
        )
        cameras_of_windows = [
            WindowCameras(
                window=window,
                world_from_camera=each.world_from_camera,
                map_intrinsics=each.map_intrinsics,
            )
            for window, each in zip(self.windows, self.maps, strict=True)
        ]
        return WindowedDecoder(
            clip,
            cameras_of_windows,
            [Segment(start=0, stop=len(self.part))],
            lambda index: OracleDecoder(self, index),
        )


class OracleDecoder:
    """The noisy decoder of one window; frames and times count from 0 in it."""

    def __init__(self, part: OraclePart, index: int) -> None:
        self._part, self._maps = part, part.maps[index]
        self._frames = [part.part.start + frame for frame in self._maps.frames]

    def decode(
        self, frames: Sequence[int], time: int, *, keep: bool = True
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points and confidence of all pixels of frames at one time."""
        return [
            (
                self._part.oracle.decoded(self._frames, self._frames[f], self._frames[time]),
                self._maps.confidence[f],
            )
            for f in frames
        ]


def by_similarity(part: OraclePart) -> Placed:
    """The simplest way: each window from the one before by one robust similarity of shared maps."""
    placed = [np.eye(4)]
    for first, second in pairwise(part.maps):
        shared = first.shared_with(second)
        a, b = first.local(shared), second.local(shared)
        weight = np.minimum(first.confidence[a], second.confidence[b]).reshape(1, -1)
        source, target = (
            torch.from_numpy(maps.points[index].reshape(1, -1, 3))
            for maps, index in ((second, b), (first, a))
        )
        fit = fit_similarity_robustly(source, target, torch.from_numpy(weight))
        placed.append(placed[-1] @ fit[0].numpy())
    return np.stack(placed)


def registered(part: OraclePart) -> tuple[Placed, list]:
    """Each window from the one before by registration; and the graph's edges."""
    from dynapoint.windows.graph import GraphEdge  # noqa: PLC0415 - one stage of several.
    from dynapoint.windows.registration import register  # noqa: PLC0415

    placed, edges = [np.eye(4)], []
    for index, (first, second) in enumerate(pairwise(part.maps)):
        found = register(first, second)
        placed.append(placed[-1] @ found.first_from_second)
        edges.append(
            GraphEdge(
                first=index,
                second=index + 1,
                first_from_second=found.first_from_second,
                information=found.information,
            )
        )
    return np.stack(placed), edges


def closed(part: OraclePart, edges: list, *, window: int) -> tuple[Placed, int]:
    """The graph with loop closures: windows of the frames of two places, registered with both."""
    from dynapoint.windows.graph import GraphEdge, solve_graph  # noqa: PLC0415
    from dynapoint.windows.registration import register  # noqa: PLC0415

    edges, count = list(edges), len(part.windows)
    for early, late in closures_of(part, apart=window):
        half = window // 4
        frames = sorted({*near(early, half, len(part.part)), *near(late, half, len(part.part))})
        maps = part.said(Window(frames=tuple(frames), closes_loop=True))
        for other in sorted({int(part.owner[early]), int(part.owner[late])}):
            found = register(part.maps[other], maps)
            edges.append(
                GraphEdge(
                    first=other,
                    second=count,
                    first_from_second=found.first_from_second,
                    information=found.information,
                    is_closure=True,
                )
            )
        count += 1
    solved = solve_graph(count, edges)
    return solved.world_from_window[: len(part.windows)], count - len(part.windows)


def near(frame: int, half: int, count: int) -> range:
    """Frames about a frame."""
    start = min(max(frame - half, 0), max(count - 2 * half, 0))
    return range(start, min(start + 2 * half, count))


def closures_of(part: OraclePart, *, apart: int) -> list[tuple[int, int]]:
    """Pairs of frames that see the same place, each at least half a window from those before."""
    chosen: list[tuple[int, int]] = []
    loops = revisits(part.truth, least_frames=LEAST_LOOP, within=LOOP_METRES, within_deg=LOOP_DEG)
    for early, late in loops.tolist():
        if not chosen or late - chosen[-1][1] >= 2 * apart:
            chosen.append((early, late))
    return chosen


def oracle(options: argparse.Namespace) -> dict:
    """Measure everything that is there to join windows."""
    cuts = (options.cut,) if options.cut else ()
    clip = LongClip(options.seed, options.frames, image_hw=(72, 128), cuts=cuts)
    noise = WindowNoise(sigma=options.noise)
    said: dict = {"noise": vars(noise), "parts": []}
    for start, stop in pairwise([0, *cuts, options.frames]):
        clock = time.perf_counter()
        part = OraclePart(
            TrueWindows(clip, noise, seed=options.draw), range(start, stop),
            window=options.window, overlap=options.overlap,
        )  # fmt: skip
        took = time.perf_counter() - clock
        depth = float(np.median([median_depth(clip, f) for f in range(start, stop, 10)]))
        rows, placings = stages(part, depth)
        print(
            f"\nframes {start} to {stop}: {len(part.windows)} windows ({took:.0f} s), median "
            f"depth {depth:.2f}\n\n{table(rows)}",
            flush=True,
        )
        tracks = {}
        for label, placed in placings.items() if options.tracks else ():
            cameras = part.cameras(placed)
            decoder = part.decoder(placed, cameras)
            tracks[label] = track_table(
                clip, part.part, cameras,
                lambda i, j, decoder=decoder: decoder.decode([i], j, keep=False)[0][0],
                pairs=options.tracks, seed=0,
            )  # fmt: skip
            print("\n" + shown_tracks(label, tracks[label]), flush=True)
        said["parts"].append({"rows": [vars(row) for row in rows], "tracks": tracks})
    return said


def stages(part: OraclePart, depth: float) -> tuple[list[Row], dict[str, Placed]]:
    """A row for each way, and the places of the windows by the first and the last one."""
    rows, placings = [], {}

    def add(label: str, placed: Placed, seconds: float) -> None:
        rows.append(row_of(label, part.truth, part.cameras(placed), depth, seconds))

    truly = part.truly_placed()
    add("floor: windows as they truly lie", truly, 0.0)
    clock = time.perf_counter()
    add("one robust similarity each", by_similarity(part), time.perf_counter() - clock)
    clock = time.perf_counter()
    placed, edges = registered(part)
    add("registration", placed, time.perf_counter() - clock)
    clock = time.perf_counter()
    placed, count = closed(part, edges, window=len(part.windows[0].frames))
    add(f"+ graph with {count} closures", placed, time.perf_counter() - clock)
    placings["windows as they truly lie"], placings["graph"] = truly, placed
    return rows, placings


def median_depth(clip: LongClip, frame: int) -> float:
    """Of what a frame shows."""
    points = points_in_camera(clip.points(frame, frame), clip.world_from_camera[frame])
    return float(np.nanmedian(points[..., 2]))


def scene(options: argparse.Namespace) -> dict:
    """Compare results with the clip they were made of."""
    clip = read_long_clip(options.clip)
    said: dict = {}
    for named in options.scenes:
        label, _, path = named.partition("=")
        rec = dynapoint.load(path)
        frames = np.asarray(rec.source_frame_index)
        if not np.array_equal(frames, np.arange(clip.frame_count)):
            raise SystemExit(f"{path} has {len(frames)} frames, not all {clip.frame_count}")
        for start, stop in pairwise([0, *clip.cuts, clip.frame_count]):
            part = range(start, stop)
            depth = float(np.median([median_depth(clip, f) for f in range(start, stop, 20)]))
            found = rec.world_from_camera[start:stop].astype(np.float64)
            truth = clip.world_from_camera[start:stop]
            row = row_of(label, truth, found, depth, 0.0)
            print(f"\nframes {start} to {stop}\n\n{table([row])}", flush=True)
            tracks = []
            if options.tracks:
                tracks = track_table(
                    clip, part, found,
                    lambda i, j, s=start, r=rec: r.maps(frame=s + i, time=s + j)[0],
                    pairs=options.tracks, seed=0,
                )  # fmt: skip
                print("\n" + shown_tracks(label, tracks), flush=True)
            said.setdefault(label, []).append({"row": vars(row), "tracks": tracks})
    return said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    without = commands.add_parser("oracle")
    without.add_argument("--seed", type=int, default=1)
    without.add_argument("--frames", type=int, default=400)
    without.add_argument("--cut", type=int, default=0)
    without.add_argument("--window", type=int, default=24)
    without.add_argument("--overlap", type=int, default=12)
    without.add_argument("--noise", type=float, default=0.02)
    without.add_argument("--draw", type=int, default=0, help="seed of the noise")
    measured = commands.add_parser("scene")
    measured.add_argument("clip", type=Path)
    measured.add_argument("scenes", nargs="+", metavar="LABEL=SCENE.4d")
    for command in (without, measured):
        command.add_argument("--tracks", type=int, default=12, help="pairs for each lag, 0: none")
        command.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    said = oracle(options) if options.command == "oracle" else scene(options)
    if options.output:
        options.output.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
