"""A solution made as exact as its matches are: the robust scale falls to what they really err by.

The solution so far counts every match as off by a pixel. Most are off by a tenth of one; with a
robust scale of a pixel, movers and wrong matches, of which some always remain, then say more about
lens and cameras than thousands of right ones. The error of the right ones is read off the
residuals (a low quantile, as in a scale for M-estimators: Huber, Robust Statistics, 1981), the
scale follows it down, and it weighs matches against what was known before.
"""

from dataclasses import dataclass, replace

import numpy as np

from dynapoint.refinement.adjustment import (
    Freedom,
    Plan,
    Problem,
    adjust,
    lens_information,
    residuals_px,
)
from dynapoint.refinement.lens import LENS_SIGMA, how_well, joined_sigma, strays
from dynapoint.refinement.matches import RELIABLE
from dynapoint.refinement.solution import LOOSE, Solution, with_views
from dynapoint.refinement.views import Views

_ROUNDS, _ITERATIONS = 6, 8
# A quarter of all residuals is this share of the right ones' where three matches in ten are wrong.
_LOW, _LOW_OF_RIGHT, _FEWEST = 0.25, 0.36, 200
_LEAST_NOISE_PX, _MOST_NOISE_PX = 0.06, 1.0
# Where a Cauchy cost is as exact as least squares to 5 % on normal errors.
_SCALE_OF_NOISE = 2.385
# Exact matches still err together: one in so many is a finding of its own where all is explained.
_MATCHES_PER_FINDING = 400.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sharpened:
    """A solution, what its right matches are off by, and how far its lens may be off.

    `lens_sigma` is that of the logarithm of the focal length, matches and network together, or the
    network's where the lens was not free to change or strayed too far to be believed.
    """

    solution: Solution
    noise_px: float
    lens_sigma: float
    lens_freed: bool


def robust_scale_px(noise_px: float) -> float:
    """The scale of a Cauchy cost for matches with this error."""
    return _SCALE_OF_NOISE * noise_px


def noise_of(problem: Problem, views: Views, *, free_depths: bool) -> float:
    """What right matches are off by along an axis, in pixels; 1 where there are few.

    A depth that is free follows its pixel's matches: of the two directions that each may be off in,
    it takes one from all of them together. Residuals have a chi distribution of so many less.
    """
    from scipy.stats import chi  # noqa: PLC0415 - slow to import.

    residual = residuals_px(problem, views)
    reliable = problem.weight > RELIABLE
    told = residual[reliable & np.isfinite(residual)]
    if len(told) < _FEWEST:
        return _MOST_NOISE_PX
    of_pixel = reliable.sum(axis=1)
    taken = 1 / float(of_pixel[of_pixel > 0].mean()) if free_depths else 0.0
    low = float(np.quantile(told, _LOW)) / float(chi.ppf(_LOW_OF_RIGHT, 2 - taken))
    return min(max(low, _LEAST_NOISE_PX), _MOST_NOISE_PX)


def sharpen(
    solution: Solution, problem: Problem, start: Views, *, explained: float, free_lens: bool
) -> Sharpened:
    """Solve once more at the scale of the matches' own errors.

    Args:
        solution: What is believed.
        problem: What it solves (`solution.last_problem`).
        start: Its views there.
        explained: The share of reliable matches that it explains.
        free_lens: Whether the lens may change, which it does not where matches explain little.
    """
    share = how_well(explained) / _MATCHES_PER_FINDING if free_lens else 0.0
    views, noise_px, scale_px = start, _MOST_NOISE_PX, _MOST_NOISE_PX
    last = problem
    for _ in range(_ROUNDS):
        noise_px = noise_of(problem, views, free_depths=not solution.turns)
        before = scale_px
        scale_px = min(max(robust_scale_px(noise_px), scale_px / 2), _MOST_NOISE_PX)
        last = _weighed(problem, noise_px, share, turns=solution.turns)
        plan = Plan(
            iterations=_ITERATIONS,
            first_px=max(before, scale_px),
            last_px=scale_px,
            robust="cauchy",
        )
        views = adjust(last, views, plan, Freedom(lens=share > 0))
    noise_px = noise_of(problem, views, free_depths=not solution.turns)
    told = share * lens_information(last, views, scale_px) / noise_px**2 if share > 0 else 0.0
    sigma = joined_sigma(told)
    return Sharpened(
        solution=with_views(solution, views),
        noise_px=noise_px,
        lens_sigma=LENS_SIGMA if strays(views.log_lens, sigma) else sigma,
        lens_freed=share > 0,
    )


def _weighed(problem: Problem, noise_px: float, share: float, *, turns: bool) -> Problem:
    """The problem with what was known before in units of matches that are off by a pixel."""
    # Depths of cameras that only turn are far away, and stay there.
    depth_sigma = problem.depth_sigma if turns else LOOSE / noise_px
    lens_sigma = LENS_SIGMA * share**0.5 / noise_px if share > 0 else problem.lens_sigma
    return replace(problem, depth_sigma=depth_sigma, lens_sigma=lens_sigma)
