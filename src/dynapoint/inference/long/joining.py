"""How the windows of a clip become one scene: registration, graph, adjustment."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64

from dynapoint.inference.long.window_files import FinishedWindow
from dynapoint.progress import begin, steps
from dynapoint.results.on_disk.large_arrays import let_go
from dynapoint.windows.adjustment import adjust_windows
from dynapoint.windows.closures import Closure
from dynapoint.windows.graph import GraphEdge, solve_graph
from dynapoint.windows.joining import Joining
from dynapoint.windows.placing import Placements, camera_of, with_gauge
from dynapoint.windows.plan import owners
from dynapoint.windows.registration import Registration, register
from dynapoint.windows.spans import Segment, WindowSizes

# So many doubtful seams are named.
_NAMED = 4
# Windows that share fewer frames are not registered with each other, unless they are neighbours.
_FEWEST_SHARED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Seam:
    """How a window lies to an earlier one that shares frames with it."""

    first: int
    second: int
    found: Registration

    @property
    def edge(self) -> GraphEdge:
        """As the graph takes it."""
        return GraphEdge(
            first=self.first,
            second=self.second,
            first_from_second=self.found.first_from_second,
            information=self.found.information,
        )


@dataclass(kw_only=True, eq=False)
class Joiner:
    """Registers windows as they come and places them all in the end.

    Attributes:
        windows: All windows so far.
        seams: How those lie to each other that share frames.
        closures: Loops that were tried.
        world_from_window: Where they lie by their neighbours alone.
    """

    windows: list[FinishedWindow] = field(default_factory=list)
    seams: list[Seam] = field(default_factory=list)
    closures: tuple[Closure, ...] = ()
    world_from_window: list[Float64[np.ndarray, "4 4"]] = field(default_factory=list)

    def add(self, window: FinishedWindow) -> Seam | None:
        """Register the next window with the one before it; None where a segment begins."""
        last = self.windows[-1] if self.windows else None
        self.windows.append(window)
        if last is None or last.window.segment != window.window.segment:
            self.world_from_window.append(np.eye(4))
            return None
        index = len(self.windows) - 1
        found = _registered(last, window)
        seam = Seam(first=index - 1, second=index, found=found)
        self.seams.append(seam)
        self.world_from_window.append(self.world_from_window[-1] @ found.first_from_second)
        return seam

    def add_extra(self, window: FinishedWindow) -> None:
        """Register a window that spans others with all of these.

        One whose cameras the pictures were asked for and did not bear out tells nothing.
        """
        index = len(self.windows)
        self.windows.append(window)
        self.world_from_window.append(np.eye(4))
        if self._tells_nothing(window):
            return
        for other, known in enumerate(self.windows[:index]):
            if known.window.segment != window.window.segment or self._tells_nothing(known):
                continue
            if len(set(known.frames) & set(window.frames)) >= _FEWEST_SHARED:
                found = _registered(known, window)
                self.seams.append(Seam(first=other, second=index, found=found))

    @staticmethod
    def _tells_nothing(window: FinishedWindow) -> bool:
        """Whether it is an added window whose cameras the pictures did not bear out."""
        found = window.findings
        return window.window.wide and found is not None and not found.poses


def place(
    joiner: Joiner, segments: Sequence[Segment], frame_count: int, sizes: WindowSizes
) -> tuple[Placements, Joining]:
    """Place all windows and frames, and say how.

    Args:
        joiner: All windows and seams.
        segments: All segments.
        frame_count: How many frames the clip has.
        sizes: Of windows.
    """
    begin("join")
    windows = [each.window for each in joiner.windows]
    closing = [each for each in joiner.closures if each.refused is None]
    edges = [seam.edge for seam in joiner.seams] + [_edge_of(closure) for closure in closing]
    solved = solve_graph(len(windows), edges)
    chained = with_cameras(
        joiner.windows, solved.world_from_window, owners(windows, frame_count), segments
    )
    joined = {seam.second for seam in joiner.seams}
    idle = [index for index, window in enumerate(windows) if window.wide and index not in joined]
    adjusted = adjust_windows(
        windows, lambda index: joiner.windows[index].maps, chained, left_out=idle
    )
    moved = [report for report in adjusted.reports if report.kept_start is None]
    taken = sum(edges[edge].is_closure for edge in range(len(edges)) if edge not in solved.refused)
    return adjusted.placements, Joining(
        windows=len(windows),
        window=sizes.window,
        overlap=sizes.overlap,
        refined=sum(each.findings is not None and each.findings.poses for each in joiner.windows),
        seam_turn_deg=_median([seam.found.residual_deg for seam in joiner.seams]),
        seam_depth=_median([seam.found.residual_log_depth for seam in joiner.seams]),
        doubted=_doubted(joiner),
        closures=taken,
        closures_refused=len(joiner.closures) - taken,
        adjusted=bool(moved),
        residual_before=_median([report.residual_before for report in moved]),
        residual_after=_median([report.residual_after for report in moved]),
    )


def _edge_of(closure: Closure) -> GraphEdge:
    """A loop closure as the graph takes it."""
    return GraphEdge(
        first=closure.candidate.first_window,
        second=closure.candidate.second_window,
        first_from_second=closure.first_from_second,
        information=closure.information,
        is_closure=True,
    )


def _registered(first: FinishedWindow, second: FinishedWindow) -> Registration:
    """How two windows lie to each other; what was read of them for it is let go of."""
    maps = first.maps, second.maps
    found = register(*maps)
    for each in maps:
        let_go(each.points, each.confidence)
    return found


def with_cameras(
    windows: Sequence[FinishedWindow],
    world_from_window: Float64[np.ndarray, "window 4 4"],
    owner: np.ndarray,
    segments: Sequence[Segment],
) -> Placements:
    """Placements whose cameras are those of the windows that own them."""
    count = len(owner)
    cameras = np.tile(np.eye(4), (count, 1, 1))
    lenses = np.tile(windows[0].map_intrinsics[0], (count, 1, 1))
    for frame in steps(range(count), "frame"):
        index = int(owner[frame])
        if index < 0:
            continue
        local = windows[index].frames.index(frame)
        own = windows[index].world_from_camera[local]
        cameras[frame] = camera_of(world_from_window[index], own)
        lenses[frame] = windows[index].map_intrinsics[local]
    for segment in segments:
        if segment.kind == "frozen":
            # One picture: one camera.
            cameras[segment.start : segment.stop] = cameras[segment.start]
            lenses[segment.start : segment.stop] = lenses[segment.start]
    placements = Placements(
        world_from_window=np.array(world_from_window),
        world_from_camera=cameras,
        map_intrinsics=lenses,
        owner=owner,
    )
    placed, cameras = with_gauge(placements, segments)
    return replace(placements, world_from_window=placed, world_from_camera=cameras)


def _doubted(joiner: Joiner) -> tuple[str, ...]:
    """What is to be said of seams, a line each."""
    said = [
        f"frames {seam.found.frames[0]} to {seam.found.frames[-1]}: {seam.found.doubt}"
        for seam in joiner.seams
        if seam.found.doubt is not None
        and seam.found.frames
        and not joiner.windows[seam.second].window.wide
    ]
    if len(said) > _NAMED:
        said = [*said[: _NAMED - 1], f"{len(said) - _NAMED + 1} more"]
    return tuple(said)


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else 0.0
