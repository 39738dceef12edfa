"""Which pixels are still: those whose matches lie where cameras and depth put still points."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from dynapoint.models.kept.correction import MOVING, STILL, UNKNOWN
from dynapoint.refinement.field import Affinity, solve_field
from dynapoint.refinement.matches import RELIABLE, Matches
from dynapoint.refinement.setting import Setting
from dynapoint.refinement.views import Views, rigid_places

# How far from the place of a still point matches lie that say so, in terms of what right ones err
# by, at least and at most; and those that say that it moved. Lenses bend pictures by a pixel or two
# near their borders, which is no motion.
_STILL_NOISES, _LEAST_STILL_PX, _MOST_STILL_PX = 6.0, 1.0, 2.0
_MOVING_PX = 4.0
# Of a field that is 1 at pixels that are still and -1 at those that move.
_STILL_ABOVE = 0.4


def offsets_px(
    setting: Setting,
    views: Views,
    matches: Matches,
    pixels: Int64[np.ndarray, " pixel"] | slice = slice(None),
) -> Float64[np.ndarray, "frame slot pixel"]:
    """How far matches of (some of) the grid's pixels lie from where still points would."""
    normal = setting.normal[:, pixels]
    places, depth = rigid_places(views, normal, setting.lens, matches.target)
    off = np.linalg.norm(places - matches.place_px, axis=-1)
    return np.where(depth > 0, off, np.inf)


def evidence_of_motion(
    setting: Setting, views: Views, matches: Sequence[Matches], *, noise_px: float
) -> UInt8[np.ndarray, "frame rows columns"]:
    """What reliable matches tell of every pixel of the grid; views hold all of its depths.

    Flow that had no guide should be among the matches: what a guide of still points leads astray
    agrees with it. Neighbouring pixels vote together, so that a mover has no holes. `noise_px` is
    what right matches are off by.
    """
    still_px = min(max(_STILL_NOISES * noise_px, _LEAST_STILL_PX), _MOST_STILL_PX)
    shape = (setting.frames, *setting.grid.hw)
    still, moving = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for some in matches:
        off = offsets_px(setting, views, some)
        reliable = some.weight > RELIABLE
        still += (reliable & (off < still_px)).sum(axis=1).reshape(shape)
        moving += (reliable & (off > _MOVING_PX)).sum(axis=1).reshape(shape)
    around_still, around_moving = (_summed_around(each) for each in (still, moving))
    told = np.where(
        (moving > 0) & (around_moving > around_still),
        MOVING,
        np.where((still > moving) & (around_still > 2 * around_moving), STILL, UNKNOWN),
    )
    return told.astype(np.uint8)


def spread_stillness(
    evidence: UInt8[np.ndarray, "frame rows columns"], affinity: Affinity
) -> UInt8[np.ndarray, "frame rows columns"]:
    """The same, and pixels of which nothing is known are still where their surroundings are.

    A plain wall has no matches; what is known around it spreads over it and stops at edges. What
    moves does not spread: that a surface moves is told by its matches alone.
    """
    known = evidence != UNKNOWN
    value = np.where(evidence == STILL, 1.0, -1.0)
    field = solve_field(value, known.astype(np.float32), affinity)
    filled = np.where(~known & (field > _STILL_ABOVE), STILL, evidence)
    return filled.astype(np.uint8)


def _summed_around(
    votes: Float32[np.ndarray, "frame rows columns"],
) -> Float32[np.ndarray, "frame rows columns"]:
    """Sums over pixels and those around them."""
    import cv2  # noqa: PLC0415 - slow to import.

    return np.stack([cv2.blur(each, (3, 3), borderType=cv2.BORDER_CONSTANT) for each in votes])
