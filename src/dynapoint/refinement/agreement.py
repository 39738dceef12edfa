"""How well cameras and depth agree with what pictures show, whoever found them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from dynapoint.refinement.matches import (
    EXPLAINED_PX,
    RELIABLE,
    match_grid,
    share_within,
    spanning_pairs,
)
from dynapoint.refinement.setting import Answer, prepare
from dynapoint.refinement.solution import coarse_views, measure_between
from dynapoint.refinement.stillness import offsets_px

# Matches that go less far than this tell nothing of cameras: they err by as much.
_NOISE_PX = 0.5
# So many pairs of neighbouring frames suffice.
_MOST_PAIRS = 12


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What matches between frames say of cameras and depth.

    Attributes:
        explained: Share of reliable matches within 3 pixels (of pictures of 256) of where still
            points are seen; NaN without any.
        missed: Median distance of reliable matches from there, over the median distance that they
            go, each with half a pixel added to the latter; NaN without any.
        coverage: Share of pixels that were matched reliably.
    """

    explained: float
    missed: float
    coverage: float


def agreement(colors: UInt8[np.ndarray, "frame height width rgb=3"], answer: Answer) -> Agreement:
    """Match frames with their neighbours and ask how much of that cameras and depth foretell.

    Args:
        colors: Small pictures (`setting.PICTURE_SIDE`) that show what the maps show.
        answer: Cameras and own-time maps.
    """
    setting = prepare(colors, answer, one_lens=False)
    if setting.frames < 2 or not setting.meter.possible or not setting.usable.any():
        return Agreement(explained=math.nan, missed=math.nan, coverage=0.0)
    pairs = spanning_pairs(setting.frames, (1,))
    every = -(-len(pairs) // _MOST_PAIRS)
    fields = measure_between(setting, pairs[::every])
    matches = match_grid(fields, setting.frames, setting.grid, setting.usable).at(setting.coarse)
    views = coarse_views(setting, setting.views)
    off = offsets_px(setting, views, matches, setting.coarse)
    reliable = matches.weight > RELIABLE
    if not reliable.any():
        return Agreement(explained=math.nan, missed=math.nan, coverage=0.0)
    start = setting.grid.xy_px[setting.coarse]
    gone = np.linalg.norm(matches.place_px - start, axis=-1)[reliable]
    return Agreement(
        explained=share_within(off, matches.weight, EXPLAINED_PX),
        missed=float(np.median(off[reliable]) / (np.median(gone) + _NOISE_PX)),
        coverage=matches.coverage,
    )
