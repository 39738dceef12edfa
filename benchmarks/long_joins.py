"""What joins windows, on true windows with known noise, as `long_video.py` measures it."""

import importlib
import importlib.util
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from long_scores import LEAST_LOOP, LOOP_DEG, LOOP_METRES, Row, row_of

from dynapoint.evaluation.trajectory import revisits
from dynapoint.evaluation.true_windows import TrueWindows
from dynapoint.geometry.similarity import fit_similarity_robustly
from dynapoint.inference.windowed_decoder import ClipMaps, WindowCameras, WindowedDecoder
from dynapoint.windows.graph import GraphEdge, solve_graph
from dynapoint.windows.placing import Placements, camera_of, placed_points
from dynapoint.windows.registration import register
from dynapoint.windows.spans import Segment, Window
from dynapoint.windows.window_maps import WindowMaps

Placed = np.ndarray  # (window, 4, 4): world_from_window


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
            if not window.wide and central > best[frame]:
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

    def placements(self, placed: Placed) -> Placements:
        """Where all frames are, each with the camera of the window that owns it."""
        cameras, lenses = [], []
        for frame, index in enumerate(self.owner):
            maps = self.maps[index]
            [local] = maps.local([frame])
            cameras.append(camera_of(placed[index], maps.world_from_camera[local]))
            lenses.append(maps.map_intrinsics[local])
        return Placements(
            world_from_window=placed,
            world_from_camera=np.stack(cameras),
            map_intrinsics=np.stack(lenses),
            owner=self.owner,
        )

    def decoder(self, placements: Placements) -> WindowedDecoder:
        """Points of all frames at all times, by handing over."""
        owners = [self.maps[index] for index in self.owner]
        clip = ClipMaps(
            world_from_camera=placements.world_from_camera,
            map_intrinsics=placements.map_intrinsics,
            points=np.stack(
                [
                    placed_points(each, frame, placements, int(index))
                    for frame, (each, index) in enumerate(zip(owners, self.owner, strict=True))
                ]
            ),
            confidence=np.stack(
                [each.confidence[each.local([f])[0]] for f, each in enumerate(owners)]
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
    edges, count = list(edges), len(part.windows)
    for early, late in closures_of(part, apart=window):
        half = window // 4
        frames = sorted({*near(early, half, len(part.part)), *near(late, half, len(part.part))})
        maps = part.said(Window(frames=tuple(frames), wide=True))
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


def stages(part: OraclePart, depth: float) -> tuple[list[Row], dict[str, Placements]]:
    """A row for each way, and what windows as they truly lie and the last way say."""
    rows, found = [], {}
    clock = time.perf_counter()

    def add(label: str, placements: Placements) -> Placements:
        nonlocal clock
        took, cameras = time.perf_counter() - clock, placements.world_from_camera
        rows.append(row_of(label, part.truth, cameras, depth, took))
        found[label] = placements
        clock = time.perf_counter()
        return placements

    add("floor: windows as they truly lie", part.placements(part.truly_placed()))
    add("one robust similarity each", part.placements(by_similarity(part)))
    placed, edges = registered(part)
    add("registration", part.placements(placed))
    placed, count = closed(part, edges, window=len(part.windows[0].frames))
    start = add(f"+ graph with {count} closures", part.placements(placed))
    if importlib.util.find_spec("dynapoint.windows.adjustment"):
        add("+ adjustment", adjusted(part, start))
    labels = list(found)
    return rows, {label: found[label] for label in (labels[0], labels[-1])}


def adjusted(part: OraclePart, start: Placements) -> Placements:
    """After the adjustment over windows."""
    adjustment = importlib.import_module("dynapoint.windows.adjustment")
    answer: Placements = adjustment.adjust_windows(
        part.windows, lambda index: part.maps[index], start
    ).placements
    return answer
