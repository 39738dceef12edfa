"""The focal length: what matches tell of it, joined with what was known before by their variances.

Neighbouring pixels err together, so that matches tell less than their number says: one in so many
counts as a finding of its own, fewer the less the rigid scene explains. The prior, whose own error
is what networks are usually off by, holds where matches tell little: without turning, with few
matches, or where movers spoil them. A lens far from the network's is believed only where matches
tell it firmly: where hardly anything moves, a wrong one explains what little there is.
"""

from dataclasses import dataclass, replace

from dynapoint.refinement.adjustment import Freedom, Plan, Problem, adjust, lens_information
from dynapoint.refinement.views import Views

LENS_SIGMA = 0.25
"""How far the logarithm of a network's focal length is usually off."""

_FREED = Plan(iterations=12, first_px=2.0, last_px=1.0, robust="cauchy")
# One match in so many is a finding of its own where all is explained.
_MATCHES_PER_FINDING = 30.0
# Below this share of explained matches the lens stays as it is; at 1 matches count in full, and
# between them they count by this power of the way.
_LEAST_EXPLAINED, _POWER = 0.6, 4
# A logarithm this far from the network's has to be known to so much.
_FAR, _FIRM_SIGMA = 0.6, 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class FreedLens:
    """Views with the lens solved for, and how far its logarithm may still be off."""

    views: Views
    sigma: float


def free_lens(problem: Problem, views: Views, *, explained: float) -> FreedLens:
    """Solve for the lens too.

    Args:
        problem: The last one, whose `lens_sigma` is replaced.
        views: Its solution with the lens as it was.
        explained: The share of reliable matches that this explains.
    """
    share = how_well(explained) ** _POWER / _MATCHES_PER_FINDING
    if share <= 0:
        return FreedLens(views=views, sigma=LENS_SIGMA)
    joined = replace(problem, lens_sigma=LENS_SIGMA * share**0.5)
    freed = adjust(joined, views, _FREED, Freedom(lens=True))
    sigma = joined_sigma(share * lens_information(joined, freed, _FREED.last_px))
    if strays(freed.log_lens, sigma):
        return FreedLens(views=views, sigma=LENS_SIGMA)
    return FreedLens(views=freed, sigma=sigma)


def strays(log_change: float, sigma: float) -> bool:
    """Whether a focal length is too far from the network's to be believed.

    Args:
        log_change: How far its logarithm is from the network's.
        sigma: How far the logarithm may still be off.
    """
    return abs(log_change) > _FAR and sigma > _FIRM_SIGMA


def how_well(explained: float) -> float:
    """From 0, where too little is explained for matches to tell of the lens, to 1, where all is."""
    return min(max((explained - _LEAST_EXPLAINED) / (1 - _LEAST_EXPLAINED), 0.0), 1.0)


def joined_sigma(told: float) -> float:
    """How far the logarithm of the focal length may be off, of which matches tell so much.

    `told` is an inverse variance; the network's word is joined with it.
    """
    return float((told + LENS_SIGMA**-2) ** -0.5)
