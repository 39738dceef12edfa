"""`refine`: cameras, lens and still depth from what the pictures say, around a network's answer."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dynapoint.models.correction import MOVING, STILL, UNKNOWN
from dynapoint.refinement.adjustment import Freedom, Plan
from dynapoint.refinement.chain import chain_of_poses
from dynapoint.refinement.depths import solve_depths
from dynapoint.refinement.field import affinity_of, correction_field
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.gate import Verdict, judge
from dynapoint.refinement.lens import FreedLens, free_lens
from dynapoint.refinement.matches import match_grid, spanning_pairs
from dynapoint.refinement.setting import Answer, Setting, on_grid, prepare
from dynapoint.refinement.solution import (
    LOOSE,
    SPANS,
    Fields,
    Solution,
    coarse_views,
    measure_between,
    problem_of,
    solve,
)
from dynapoint.refinement.stillness import evidence_of_motion, offsets_px, share_within
from dynapoint.refinement.views import Views

_STAGES = ("flow", "chain", "solve", "lens", "depth")
_EXPLAINED_PX = 3.0
_DEPTHS = Plan(iterations=10, first_px=6.0, last_px=1.0)
# A depth whose logarithm its matches tell with this information counts half as much as it could.
_HALF_TRUSTED = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """An answer that agrees with the pictures, or the network's where nothing better was found.

    Attributes:
        answer: Cameras and own-time maps.
        depth_ratio: By how much depths along the cameras' axes became larger.
        evidence: What matches tell of each pixel of the maps (`stillness.STILL` and others).
        found: What was found.
    """

    answer: Answer
    depth_ratio: Float32[np.ndarray, "frame map_height map_width"]
    evidence: UInt8[np.ndarray, "frame map_height map_width"]
    found: Findings


def refine(
    colors: UInt8[np.ndarray, "frame height width rgb=3"],
    answer: Answer,
    *,
    known_lens: bool = False,
    known_poses: bool = False,
    one_lens: bool = True,
    neighbours: Sequence[tuple[FlowField, FlowField]] | None = None,
    progress: bool = False,
) -> Refined:
    """Refine what a network says of frames by what their pictures say.

    Args:
        colors: Small pictures (`setting.PICTURE_SIDE`) that show what the maps show.
        answer: The network's; confidence is 0 for pixels that are to be ignored.
        known_lens: Whether intrinsics are given, and so left as they are.
        known_poses: Whether the cameras' poses are.
        one_lens: Whether one camera took all frames.
        neighbours: Flow from each frame to the next and back, of pictures of any size, where it
            was measured elsewhere.
        progress: Show a bar on standard error.
    """
    clock = _Clock(progress=progress)
    setting = prepare(colors, answer, one_lens=one_lens and not known_lens)
    if setting.frames < 2 or not setting.meter.possible:
        return _unchanged(answer, Findings())
    freedom = Freedom(poses=not known_poses)
    with clock.stage("flow"):
        fields = _first_flow(setting, neighbours)
    with clock.stage("chain"):
        start = _first_start(setting, fields, freedom)
    pairs = spanning_pairs(setting.frames, SPANS)
    with clock.stage("solve"):
        solution = solve(setting, start, fields, freedom=freedom, pairs=pairs)
    with clock.stage("lens"):
        solution, lens = _with_lens(setting, solution, freedom, known_lens=known_lens)
    with clock.stage("depth"):
        views, ratio, parallax = _with_depth(setting, solution)
    found = Findings(
        start="given" if known_poses else "flow",
        explained=_explained(setting, solution),
        explained_before=_explained_before(setting, solution),
        coverage=solution.matches.coverage,
        parallax=parallax,
        lens_sigma=lens.sigma,
        seconds=clock.seconds,
    )
    verdict = judge(found)
    if not verdict.poses:
        return _unchanged(answer, found)
    return _brought_back(setting, answer, solution, views, ratio, verdict, found)


def _first_flow(
    setting: Setting, neighbours: Sequence[tuple[FlowField, FlowField]] | None
) -> Fields:
    """Flow between each frame and the next."""
    near = spanning_pairs(setting.frames, (1,))
    if neighbours is None:
        return measure_between(setting, near)
    height, width = setting.grid.picture_hw
    fields: Fields = {}
    for (first, second), (there, back) in zip(near, neighbours, strict=True):
        fields[first, second] = there.resized(height, width)
        fields[second, first] = back.resized(height, width)
    return fields


def _first_start(setting: Setting, fields: Fields, freedom: Freedom) -> Views:
    views = setting.views
    if freedom.poses:
        matches = match_grid(fields, setting.frames, setting.grid, setting.usable)
        poses, _ = chain_of_poses(
            matches, views.log_depth, setting.normal, setting.lens, views.camera_from_world
        )
        views = replace(views, camera_from_world=poses)
    return coarse_views(setting, views)


def _with_lens(
    setting: Setting, solution: Solution, freedom: Freedom, *, known_lens: bool
) -> tuple[Solution, FreedLens]:
    if known_lens or not freedom.poses:
        return solution, FreedLens(views=solution.views, sigma=0.0 if known_lens else 1.0)
    problem = problem_of(setting, solution.matches, depth_sigma=LOOSE)
    freed = free_lens(problem, solution.views, explained=_explained(setting, solution))
    return replace(solution, views=freed.views), freed


def _with_depth(
    setting: Setting, solution: Solution
) -> tuple[Views, Float64[np.ndarray, "frame rows columns"], float]:
    """Views of all pixels of the grid, by how much depths change, and how many pixels tell it."""
    problem = problem_of(setting, solution.matches, depth_sigma=LOOSE, coarse=False)
    start = solution.views.with_depth(setting.views.log_depth)
    solved = solve_depths(problem, start, _DEPTHS)
    shape = (setting.frames, *setting.grid.hw)
    weight = (solved.information / (solved.information + _HALF_TRUSTED)).reshape(shape)
    change = (solved.log_depth - setting.views.log_depth).reshape(shape)
    affinity = affinity_of(_colors_on_grid(setting), setting.views.log_depth.reshape(shape))
    field = correction_field(change, weight, affinity).astype(np.float64)
    log_depth = setting.views.log_depth + field.reshape(setting.frames, -1)
    return start.with_depth(log_depth), field, float((weight > 0.5).mean())


def _colors_on_grid(setting: Setting) -> Float32[np.ndarray, "frame rows columns channel=3"]:
    """Colours in which distances are those that people see (CIELAB), 8 bits each."""
    import cv2  # noqa: PLC0415 - slow to import.

    found = []
    for color in setting.colors:
        smooth = cv2.GaussianBlur(cv2.cvtColor(color, cv2.COLOR_RGB2LAB), (0, 0), 1)
        found.append([on_grid(smooth[None, ..., axis], setting.grid)[0] for axis in range(3)])
    return np.moveaxis(np.array(found), 1, -1)


def _explained(setting: Setting, solution: Solution) -> float:
    """Share of reliable matches of coarse pixels that the solution explains."""
    return _share(setting, solution, solution.views)


def _explained_before(setting: Setting, solution: Solution) -> float:
    return _share(setting, solution, coarse_views(setting, setting.views))


def _share(setting: Setting, solution: Solution, views: Views) -> float:
    matches = solution.matches.at(setting.coarse)
    off = offsets_px(setting, views, matches, setting.coarse)
    return share_within(off, matches.weight, _EXPLAINED_PX)


def _unchanged(answer: Answer, found: Findings) -> Refined:
    shape = answer.confidence.shape
    return Refined(
        answer=answer,
        depth_ratio=np.ones(shape, dtype=np.float32),
        evidence=np.full(shape, UNKNOWN, dtype=np.uint8),
        found=found,
    )


def _brought_back(
    setting: Setting,
    answer: Answer,
    solution: Solution,
    views: Views,
    field: Float64[np.ndarray, "frame rows columns"],
    verdict: Verdict,
    found: Findings,
) -> Refined:
    """The solution as cameras and maps of the network's size."""
    import cv2  # noqa: PLC0415 - slow to import.

    height, width = answer.map_hw
    told = evidence_of_motion(setting, views, solution.matches).reshape(-1, *setting.grid.hw)
    if told.shape[1:] != answer.map_hw:
        size = (width, height)
        told = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_NEAREST) for each in told])
        field = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_LINEAR) for each in field])
    ratio = np.exp(field) if verdict.depth else np.ones_like(field)
    picture = np.array(setting.grid.picture_hw[::-1])
    to_map = np.array([width, height]) / picture
    intrinsics = np.tile(np.eye(3), (setting.frames, 1, 1))
    focal = setting.lens.focal_px * np.exp(views.log_lens)
    intrinsics[:, [0, 1], [0, 1]] = focal * to_map
    intrinsics[:, :2, 2] = setting.lens.centre_px * to_map
    poses = np.linalg.inv(views.camera_from_world)
    poses[0] = np.eye(4)
    good = answer.depth > 0
    depth = np.where(good, answer.depth, 1.0) * ratio
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([columns, rows], axis=-1)
    points = np.empty(answer.points.shape, dtype=np.float32)
    for frame, pose in enumerate(poses):
        slope = (pixels - intrinsics[frame, :2, 2]) / intrinsics[frame, [0, 1], [0, 1]]
        ray = np.concatenate([slope, np.ones((height, width, 1))], axis=-1)
        points[frame] = (ray * depth[frame][..., None]) @ pose[:3, :3].T + pose[:3, 3]
    return Refined(
        answer=Answer(
            world_from_camera=poses,
            intrinsics=intrinsics,
            points=points,
            confidence=answer.confidence,
        ),
        depth_ratio=ratio.astype(np.float32),
        evidence=told,
        found=replace(
            found,
            poses=True,
            lens=verdict.lens,
            depth=verdict.depth,
            still=float((told == STILL).mean()),
            moving=float((told == MOVING).mean()),
        ),
    )


@dataclass
class _Clock:
    """Wall-clock seconds of named stages, shown as a bar if one is wanted."""

    progress: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        self._show(name)
        yield
        self.seconds[name] = time.perf_counter() - start
        if self._bar is not None:
            self._bar.update()
            if len(self.seconds) == len(_STAGES):
                self._bar.close()

    def _show(self, name: str) -> None:
        if self.progress and self._bar is None:
            from tqdm import tqdm  # noqa: PLC0415 - only needed here.

            self._bar = tqdm(total=len(_STAGES), unit="stage", leave=False)
        if self._bar is not None:
            self._bar.set_description(f"refine: {name}")

    _bar: Any = None
