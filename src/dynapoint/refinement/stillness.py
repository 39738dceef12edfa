"""Which pixels are still: those whose matches lie where cameras and depth put still points."""

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from dynapoint.models.correction import MOVING, STILL, UNKNOWN
from dynapoint.refinement.matches import RELIABLE, Matches
from dynapoint.refinement.setting import Setting
from dynapoint.refinement.views import Views, rigid_places

_STILL_PX, _MOVING_PX = 2.0, 4.0


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
    setting: Setting, views: Views, matches: Matches
) -> UInt8[np.ndarray, "frame pixel"]:
    """What reliable matches tell of every pixel of the grid; views hold all of its depths."""
    off = offsets_px(setting, views, matches)
    reliable = matches.weight > RELIABLE
    still = (reliable & (off < _STILL_PX)).sum(axis=1)
    moving = (reliable & (off > _MOVING_PX)).sum(axis=1)
    told = np.where(moving > still, MOVING, np.where(still > moving, STILL, UNKNOWN))
    return told.astype(np.uint8)


def share_within(
    off: Float[np.ndarray, "frame slot pixel"],
    weight: Float[np.ndarray, "frame slot pixel"],
    px: float,
) -> float:
    """The share of reliable matches that lie so near; 0 without any."""
    reliable = weight > RELIABLE
    return float((off[reliable] < px).mean()) if reliable.any() else 0.0
