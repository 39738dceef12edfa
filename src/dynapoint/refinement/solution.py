"""From a start to cameras, lens and depths: flow and bundle adjustment in turn.

Flow is measured again from where the last solution puts still points, which lets it follow what
went too far for it, and between frames farther and farther apart. The network's depth holds pixels
tightly at first, so that wrong flow does not become wrong depth, and loosely in the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from dynapoint.refinement.adjustment import (
    Freedom,
    Plan,
    Problem,
    adjust,
    cost_of,
    residuals_px,
)
from dynapoint.refinement.flow import FlowField, PairToMeasure
from dynapoint.refinement.matches import Matches, match_grid, share_within
from dynapoint.refinement.setting import Setting
from dynapoint.refinement.views import Lens, Views, rigid_places

SPANS = (1, 2, 4)
"""How far apart in order the frames of the last matches are."""

# How far the logarithm of depth may be off the network's: at first, then, in the end, and when
# cameras are known.
TIGHT, LOOSER, LOOSE, FREE = 0.05, 0.15, 0.4, 0.6
_FIRST = Plan(iterations=12, first_px=6.0, last_px=2.0)
_LAST = Plan(iterations=12, first_px=4.0, last_px=1.0, robust="cauchy")
_TURNS = Plan(iterations=8, first_px=6.0, last_px=1.0)
# Motion of the camera must explain more than standing still does, by this much.
_STILL_PX, _STILL_FAVOUR = 1.0, 1.15
STILL_CAMERA = "still"
"""What a start is called whose cameras all stand in one place and look one way."""
TURNING_CAMERA = "turning"
"""What a solution is called whose cameras turn in one place."""
# A camera that also goes elsewhere must cost this much less than one that only turns, by depths of
# its own and by the network's. Depths that may change explain a wrong way nearly as well as the
# right one, where there is hardly any.
_TURNING_FAVOUR, _TURNING_FAVOUR_PLAINLY = 1.2, 1.03
# And of the matches that it explains, turning must explain so many.
_TURNING_EXPLAINS, _TURNING_PX = 0.8, 3.0
# Logarithm of a depth at which going elsewhere moves nothing.
_FAR, _FAR_SIGMA = 12.0, 0.01

Fields = dict[tuple[int, int], FlowField]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Views of the coarse pixels, and the matches of all of the grid that they rest on.

    `turns` says that the cameras only turn, in one place; depths are the network's then.
    """

    views: Views
    matches: Matches
    turns: bool = False


def problem_of(
    setting: Setting,
    matches: Matches,
    *,
    depth_sigma: float,
    lens_sigma: float = 0.1,
    coarse: bool = True,
) -> Problem:
    """The adjustment of the coarse pixels, or of the whole grid."""
    pixels = setting.coarse if coarse else np.arange(setting.grid.count)
    chosen = matches.at(pixels) if coarse else matches
    return Problem(
        lens=setting.lens,
        normal=setting.normal[:, pixels],
        target=chosen.target,
        place_px=chosen.place_px,
        weight=chosen.weight,
        prior_log_depth=setting.views.log_depth[:, pixels],
        depth_sigma=depth_sigma,
        lens_sigma=lens_sigma,
    )


def last_problem(
    setting: Setting, solution: Solution, *, lens_sigma: float = 0.1
) -> tuple[Problem, Views]:
    """What a solution solves, and its views there: for cameras that only turn all is far away."""
    problem = problem_of(setting, solution.matches, depth_sigma=LOOSE, lens_sigma=lens_sigma)
    if not solution.turns:
        return problem, solution.views
    far = np.full_like(problem.prior_log_depth, _FAR)
    problem = replace(problem, prior_log_depth=far, depth_sigma=_FAR_SIGMA)
    return problem, _in_place(solution.views)


def with_views(solution: Solution, views: Views) -> Solution:
    """The same solution with views that `last_problem`'s became."""
    if solution.turns:
        views = _in_place(views, log_depth=solution.views.log_depth)
    return replace(solution, views=views)


def _in_place(views: Views, *, log_depth: np.ndarray | None = None) -> Views:
    """The same cameras, all in one place; depths, which no match tells then, are far or given."""
    poses = views.camera_from_world.copy()
    poses[:, :3, 3] = 0.0
    far = np.full_like(views.log_depth, _FAR) if log_depth is None else log_depth
    return replace(views, camera_from_world=poses, log_depth=far)


def turning_if_enough(setting: Setting, solution: Solution) -> Solution:
    """A solution whose camera only turns; the same one if going elsewhere explains more."""
    network_depth = coarse_views(setting, setting.views).log_depth
    turning = replace(solution, views=solution.views.with_depth(network_depth), turns=True)
    far, start = last_problem(setting, turning)
    turned = _in_place(adjust(far, start, _TURNS, Freedom()))
    cost = cost_of(far, turned, _STILL_PX, "geman")
    loose, views = last_problem(setting, solution)
    tight = replace(loose, depth_sigma=TIGHT)
    if cost > _TURNING_FAVOUR * cost_of(
        loose, views, _STILL_PX, "geman"
    ) or cost > _TURNING_FAVOUR_PLAINLY * cost_of(tight, turning.views, _STILL_PX, "geman"):
        return solution
    explained, by_turning = (
        share_within(residuals_px(loose, each), loose.weight, _TURNING_PX)
        for each in (views, turned)
    )
    return solution if by_turning < _TURNING_EXPLAINS * explained else with_views(turning, turned)


def coarse_views(setting: Setting, views: Views) -> Views:
    """The same with the depths of the coarse pixels alone."""
    return views.with_depth(views.log_depth[:, setting.coarse])


def measure_between(
    setting: Setting,
    pairs: Sequence[tuple[int, int]],
    views: Views | None = None,
    *,
    coarse: bool = False,
) -> Fields:
    """Flow there and back between pairs of frames, guided by where views put still points.

    Args:
        setting: The pictures.
        pairs: Frames, by their numbers.
        views: Of the coarse pixels; None for flow without a guide.
        coarse: At half the resolution.
    """
    asked = [PairToMeasure(first=first, second=second, coarse=coarse) for first, second in pairs]
    if views is not None:
        asked = [
            replace(
                pair,
                forward=rigid_flow(setting, views, pair.first, pair.second),
                backward=rigid_flow(setting, views, pair.second, pair.first),
            )
            for pair in asked
        ]
    fields: Fields = {}
    for (first, second), (there, back) in zip(pairs, setting.meter.measure(asked), strict=True):
        fields[first, second], fields[second, first] = there, back
    return fields


def rigid_flow(
    setting: Setting, views: Views, source: int, target: int
) -> Float32[np.ndarray, "height width xy=2"]:
    """Flow of still points in the whole picture, from the depths of the coarse pixels."""
    import cv2  # noqa: PLC0415 - slow to import.

    both = np.array([source, target])
    places, _ = rigid_places(
        replace(
            views,
            camera_from_world=views.camera_from_world[both],
            log_depth=views.log_depth[both],
        ),
        setting.normal[both][:, setting.coarse],
        Lens(focal_px=setting.lens.focal_px[both], centre_px=setting.lens.centre_px[both]),
        np.array([[1], [1]]),
    )
    flow = places[0, 0] - setting.grid.xy_px[setting.coarse]
    limit = 2.0 * max(setting.grid.picture_hw)
    coarse = np.clip(flow, -limit, limit).reshape(*setting.coarse_hw, 2).astype(np.float32)
    height, width = setting.grid.picture_hw
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))


def begin(
    setting: Setting,
    starts: Mapping[str, Views],
    fields: Fields,
    freedom: Freedom,
    *,
    may_stand: bool = True,
) -> tuple[str, Views]:
    """The start from which flow is explained best by depths that hardly differ from the network's.

    A camera that stands still ("still") is tried too, and is taken unless motion explains more:
    where much of a picture moves, cameras that follow it explain as much.

    Args:
        setting: The pictures and the network's answer.
        starts: Cameras by what they come from, with the depths of the coarse pixels.
        fields: Flow.
        freedom: Whether poses may change; where they may not, the first start is taken.
        may_stand: Whether the camera may have stood still.
    """
    matches = match_grid(fields, setting.frames, setting.grid, setting.usable)
    problem = problem_of(setting, matches, depth_sigma=TIGHT)
    if not freedom.poses:
        return next(iter(starts.items()))
    # Nearly always all lead to the same, so that only the best is followed.
    costs = {
        name: cost_of(problem, start, _FIRST.first_px, _FIRST.robust)
        for name, start in starts.items()
    }
    best = min(costs, key=lambda name: costs[name])
    found = adjust(problem, starts[best], _FIRST, freedom)
    if not may_stand:
        return best, found
    moving = cost_of(problem, found, _STILL_PX, "geman")
    poses = np.tile(np.eye(4), (setting.frames, 1, 1))
    still = replace(coarse_views(setting, setting.views), camera_from_world=poses)
    if cost_of(problem, still, _STILL_PX, "geman") < _STILL_FAVOUR * moving:
        return STILL_CAMERA, still
    return best, found


def solve(
    setting: Setting,
    start: Views,
    fields: Fields,
    *,
    freedom: Freedom,
    pairs: Sequence[tuple[int, int]],
) -> Solution:
    """Cameras and depths, the lens as it is.

    Args:
        setting: The pictures and the network's answer.
        start: What `begin` gave.
        fields: Flow that the start rests on.
        freedom: Whether poses may change.
        pairs: Frames between which flow is measured for the last solution.
    """
    near = sorted({(min(pair), max(pair)) for pair in fields})
    guided = measure_between(setting, near, start)
    first = match_grid(guided, setting.frames, setting.grid, setting.usable)
    views = adjust(problem_of(setting, first, depth_sigma=LOOSER), start, _FIRST, freedom)
    # What was measured once with a guide would hardly change.
    guided |= measure_between(setting, [pair for pair in pairs if pair not in guided], views)
    last = match_grid(guided, setting.frames, setting.grid, setting.usable)
    views = adjust(problem_of(setting, last, depth_sigma=LOOSE), views, _LAST, freedom)
    return Solution(views=views, matches=last)
