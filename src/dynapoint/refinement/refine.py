"""`refine`: cameras, lens and still depth from what the pictures say, around a network's answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dynapoint.models.kept.correction import MOVING, STILL, UNKNOWN
from dynapoint.refinement.adjustment import Freedom, Plan, turn_sigmas_rad
from dynapoint.refinement.chain import chain_of_poses
from dynapoint.refinement.clock import Clock
from dynapoint.refinement.consensus import agreed_change, spread_change
from dynapoint.refinement.depths import solve_depths
from dynapoint.refinement.features import start_from_features
from dynapoint.refinement.field import Affinity, affinity_of, correction_field
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.gate import (
    LEAST_PARALLAX,
    MOST_LENS_SIGMA,
    Verdict,
    judge,
    judge_depth,
)
from dynapoint.refinement.lens import LENS_SIGMA, free_lens
from dynapoint.refinement.matches import EXPLAINED_PX, match_grid, share_within, spanning_pairs
from dynapoint.refinement.occlusion import put_behind
from dynapoint.refinement.outcome import OnGrid, Refined, brought_back, unchanged
from dynapoint.refinement.setting import Answer, Setting, on_grid, prepare
from dynapoint.refinement.sharpened import Sharpened, noise_of, robust_scale_px, sharpen
from dynapoint.refinement.solution import (
    FREE,
    SPANS,
    STILL_CAMERA,
    TURNING_CAMERA,
    Fields,
    Solution,
    begin,
    coarse_views,
    last_problem,
    measure_between,
    problem_of,
    solve,
    turning_if_enough,
    with_views,
)
from dynapoint.refinement.stillness import (
    evidence_of_motion,
    offsets_px,
    spread_stillness,
)
from dynapoint.refinement.views import Views

_DEPTHS = Plan(iterations=12, first_px=6.0, last_px=1.0)
# A depth whose logarithm its matches tell with this information counts half as much as it could.
_HALF_TRUSTED = 100.0
# So much at most, where the network's depths are better than usual; how well matches tell depths
# that are compared for this, how many there have to be, and what matches err by, in pixels squared.
_MOST_TRUSTED = 1e4
_TOLD, _FEWEST_TOLD, _MATCH_VARIANCE = 10.0, 500, 0.35
# Only so much of the pixels is told worse than those.
_BEST_TOLD = 0.9
# Changes of the logarithm of depth beyond this are believed less and less.
_LARGE_CHANGE = 0.7
# How far the logarithm of the focal length may be off, where every pixel counts on its own.
_LENS_SIGMA = 0.025


@dataclass(frozen=True, kw_only=True, eq=False)
class _Attempt:
    """What one start led to."""

    solution: Solution
    first: Fields
    found: Findings
    verdict: Verdict


def refine(
    colors: UInt8[np.ndarray, "frame height width rgb=3"],
    answer: Answer,
    *,
    known_lens: bool = False,
    known_poses: bool = False,
    one_lens: bool = True,
    neighbours: Sequence[tuple[FlowField, FlowField]] | None = None,
    detailed: Callable[[], UInt8[np.ndarray, "frame tall wide"]] | None = None,
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
        detailed: Makes larger grey pictures, asked only where flow leads nowhere; None looks for
            features in the small ones.
    """
    setting = prepare(colors, answer, one_lens=one_lens and not known_lens)
    if setting.frames < 2 or not setting.meter.possible or not setting.usable.any():
        return unchanged(answer, Findings(known_poses=known_poses))
    clock = Clock()
    work = _Work(setting, clock, Freedom(poses=not known_poses), known_lens=known_lens)
    attempt = work.from_flow(neighbours)
    stood = attempt.found.start == STILL_CAMERA
    if not attempt.verdict.poses and not known_poses:
        second = work.from_features(None if detailed is None else detailed())
        if second is not None and second.verdict.poses:
            attempt = second
    if not attempt.verdict.poses and stood:
        # Much of the picture moves one way or another: perhaps it is the camera after all.
        attempt = work.from_flow(neighbours, may_stand=False)
    if not attempt.verdict.poses:
        return unchanged(answer, replace(attempt.found, seconds=clock.seconds))
    verdict = attempt.verdict
    with clock.stage("depth"):
        affinity = affinity_of(_colors_on_grid(setting), setting.log_depth_on_grid)
        solved, parallax = _depths(setting, attempt, affinity)
    takes_depth = verdict.depth and parallax >= LEAST_PARALLAX
    with clock.stage("consensus"):
        solved = _agreeing(setting, solved, affinity, take_change=takes_depth)
    found = replace(
        attempt.found,
        poses=verdict.poses,
        lens=verdict.lens,
        depth=takes_depth,
        parallax=parallax,
        still=float((solved.evidence == STILL).mean()),
        moving=float((solved.evidence == MOVING).mean()),
        seconds=clock.seconds,
    )
    return brought_back(setting, answer, solved, found)


class _Work:
    """Solves from one start or another."""

    def __init__(
        self, setting: Setting, clock: Clock, freedom: Freedom, *, known_lens: bool
    ) -> None:
        self._setting = setting
        self._clock = clock
        self._freedom = freedom
        self._known_lens = known_lens

    def from_flow(
        self,
        neighbours: Sequence[tuple[FlowField, FlowField]] | None,
        *,
        may_stand: bool = True,
    ) -> _Attempt:
        """From flow between each frame and the next."""
        setting = self._setting
        with self._clock.stage("flow"):
            fields = _first_flow(setting, neighbours)
        with self._clock.stage("start"):
            starts = {"network": coarse_views(setting, setting.views)}
            if self._freedom.poses:
                matches = match_grid(fields, setting.frames, setting.grid, setting.usable)
                poses = chain_of_poses(setting, matches)
                starts["flow"] = replace(starts["network"], camera_from_world=poses)
            name, start = begin(setting, starts, fields, self._freedom, may_stand=may_stand)
        pairs = spanning_pairs(setting.frames, SPANS)
        return self._solved(start, fields, pairs, name)

    def from_features(
        self, pictures: UInt8[np.ndarray, "frame tall wide"] | None
    ) -> _Attempt | None:
        """From features that frames in any order share; None where they share too few."""
        setting = self._setting
        with self._clock.stage("features"):
            start = start_from_features(setting, pictures, known_lens=self._known_lens)
        if start is None:
            return None
        views = coarse_views(setting, start.views)
        with self._clock.stage("flow"):
            fields = measure_between(setting, start.pairs, views)
        with self._clock.stage("start"):
            _, views = begin(setting, {"features": views}, fields, self._freedom)
        return self._solved(views, fields, start.pairs, "features")

    def _sharpened(self, solution: Solution, found: Findings) -> Sharpened:
        """A solution at the scale of its matches' errors; a lens that they do not tell stays."""
        last = last_problem(self._setting, solution)
        stands = found.start == STILL_CAMERA
        if stands or not self._freedom.poses:
            return Sharpened(
                solution=solution,
                noise_px=noise_of(*last, free_depths=not stands),
                lens_sigma=found.lens_sigma,
                lens_freed=False,
            )

        def solved(*, free_lens: bool) -> Sharpened:
            return sharpen(solution, *last, explained=found.explained, free_lens=free_lens)

        sharp = solved(free_lens=not self._known_lens)
        if not sharp.lens_freed or sharp.lens_sigma <= MOST_LENS_SIGMA:
            return sharp
        return solved(free_lens=False)

    def _solved(
        self, start: Views, fields: Fields, pairs: Sequence[tuple[int, int]], name: str
    ) -> _Attempt:
        setting = self._setting
        with self._clock.stage("solve"):
            freedom = Freedom(poses=self._freedom.poses and name != STILL_CAMERA)
            solution = solve(setting, start, fields, freedom=freedom, pairs=pairs)
            if freedom.poses:
                solution = turning_if_enough(setting, solution)
        lens_sigma = 0.0 if self._known_lens else LENS_SIGMA
        if freedom.poses and not self._known_lens:
            with self._clock.stage("lens"):
                explained = _explained(setting, solution, solution.views)
                freed = free_lens(*last_problem(setting, solution), explained=explained)
                lens_sigma = freed.sigma
                if lens_sigma <= MOST_LENS_SIGMA:
                    solution = with_views(solution, freed.views)
        found = Findings(
            known_poses=not self._freedom.poses,
            start=TURNING_CAMERA if solution.turns else name,
            explained=_explained(setting, solution, solution.views),
            explained_before=_explained(setting, solution, coarse_views(setting, setting.views)),
            coverage=solution.matches.coverage,
            explained_plainly=_explained(
                setting,
                solution,
                solution.views.with_depth(coarse_views(setting, setting.views).log_depth),
            ),
            lens_sigma=lens_sigma,
            turn_sigma_deg=_turn_sigma_deg(setting, solution),
        )
        with self._clock.stage("sharpen"):
            sharp = self._sharpened(solution, found)
        found = replace(found, noise_px=sharp.noise_px)
        if sharp.lens_freed:
            found = replace(found, lens_sigma=sharp.lens_sigma)
        return _Attempt(
            solution=sharp.solution,
            first=fields,
            found=found,
            verdict=judge(found) if self._freedom.poses else judge_depth(found),
        )


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


def _turn_sigma_deg(setting: Setting, solution: Solution) -> float:
    """The median over frames, for a grid of a thousand pixels."""
    problem, views = last_problem(setting, solution, lens_sigma=_LENS_SIGMA)
    sigmas = turn_sigmas_rad(problem, views, 1.0)[1:]
    scale = (len(setting.coarse) / 1000.0) ** 0.5
    return min(float(np.degrees(np.median(sigmas))) * scale, 180.0)


def _explained(setting: Setting, solution: Solution, views: Views) -> float:
    """Share of reliable matches of coarse pixels that views explain."""
    matches = solution.matches.at(setting.coarse)
    off = offsets_px(setting, views, matches, setting.coarse)
    return share_within(off, matches.weight, EXPLAINED_PX)


def _depths(setting: Setting, attempt: _Attempt, affinity: Affinity) -> tuple[OnGrid, float]:
    """Depths of all of the grid's pixels, and the share of them whose matches tell theirs."""
    solution, noise_px = attempt.solution, attempt.found.noise_px
    problem = problem_of(setting, solution.matches, depth_sigma=FREE / noise_px, coarse=False)
    start = solution.views.with_depth(setting.views.log_depth)
    plan = replace(_DEPTHS, last_px=min(robust_scale_px(noise_px), _DEPTHS.last_px))
    solved = solve_depths(problem, start, plan)
    # Exact matches tell more, but less than by the square: what they still err by, they share.
    information = solved.information / noise_px
    shape = (setting.frames, *setting.grid.hw)
    change = (solved.log_depth - setting.views.log_depth).reshape(shape)
    trusted = _half_trusted(change.reshape(-1), solved.information.reshape(-1))
    # What follows the camera looks still and much nearer or farther than it is.
    likely = 1 / (1 + (change / _LARGE_CHANGE) ** 4)
    likely = np.where(put_behind(setting.log_depth_on_grid, change), 0.0, likely)
    weight, parallax = (
        (information / (information + half)).reshape(shape) * likely
        for half in (trusted, _HALF_TRUSTED)
    )
    pull = trusted / _HALF_TRUSTED
    field: Float64[np.ndarray, "frame rows columns"] = correction_field(
        change, weight, affinity, pull=pull
    ).astype(np.float64)
    views = _changed(setting, start, field)
    without_guide = match_grid(attempt.first, setting.frames, setting.grid, setting.usable)
    matches = [solution.matches, without_guide]
    evidence = evidence_of_motion(setting, views, matches, noise_px=noise_px)
    # Nothing is said of pixels that are to be ignored, which stillness may spread to.
    used = setting.usable.reshape(shape) > 0
    evidence = np.where(used, spread_stillness(evidence, affinity), np.uint8(UNKNOWN))
    on = OnGrid(views=views, change=field, evidence=evidence)
    return on, float((parallax > 0.5).mean())


def _agreeing(setting: Setting, solved: OnGrid, affinity: Affinity, *, take_change: bool) -> OnGrid:
    """The same with depths on which frames agree; the change before that is taken or dropped."""
    change = solved.change if take_change else np.zeros_like(solved.change)
    agreed = agreed_change(
        setting, _changed(setting, solved.views, change), solved.evidence == STILL
    )
    change = change + spread_change(agreed, solved.evidence, affinity)
    return replace(solved, views=_changed(setting, solved.views, change), change=change)


def _changed(
    setting: Setting, views: Views, change: Float64[np.ndarray, "frame rows columns"]
) -> Views:
    """The same cameras, with the network's depths of the grid's pixels changed so much."""
    return views.with_depth(setting.views.log_depth + change.reshape(setting.frames, -1))


def _half_trusted(
    change: Float64[np.ndarray, " pixel"], information: Float64[np.ndarray, " pixel"]
) -> float:
    """The information at which a depth from matches counts half as much as it could.

    That is the inverse variance of the network's depths where these are better than usual: what is
    left of the changes that matches ask for when what matches err by is taken away.
    """
    told = information > max(_TOLD, float(np.quantile(information, _BEST_TOLD)))
    if np.count_nonzero(told) < _FEWEST_TOLD:
        return _HALF_TRUSTED
    change, information = change[told], information[told]
    # The median of squares of a normal variable is .455 of its variance.
    variance = np.median(change**2) / 0.455 - _MATCH_VARIANCE * np.median(1 / information)
    return float(np.clip(1 / max(variance, 1e-9), _HALF_TRUSTED, _MOST_TRUSTED))


def _colors_on_grid(setting: Setting) -> Float32[np.ndarray, "frame rows columns channel=3"]:
    """Colours in which distances are those that people see (CIELAB), 8 bits each."""
    import cv2  # noqa: PLC0415 - slow to import.

    found = []
    for color in setting.colors:
        smooth = cv2.GaussianBlur(cv2.cvtColor(color, cv2.COLOR_RGB2LAB), (0, 0), 1)
        smooth = smooth.astype(np.float32)
        found.append([on_grid(smooth[None, ..., axis], setting.grid)[0] for axis in range(3)])
    return np.moveaxis(np.array(found), 1, -1)
