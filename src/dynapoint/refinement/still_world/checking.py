"""Whether what is said to move explains the maps of other times better than standing still does.

A surface that stands still lies, at every time, where that time's map has a surface, or behind one.
Of one that has moved the map has something else there, and has it where it moved to. So each thing
is compared with the maps of all times at which anything is known of it, as it moved and as it would
stand still; what is not clearly better explained by its motion stands still. Differences count in
units of what depths err by: where that is much, nothing moves.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dynapoint.geometry.arrays import transform_points
from dynapoint.models.kept.still_motion import GUESSED
from dynapoint.refinement.still_world.handing import LOST, FrameMotion
from dynapoint.refinement.still_world.sightings import Maps

# What depths differ by without noise, between pixels and on slanted surfaces.
_LEAST = 0.02
# Squared differences count up to this.
_MOST = 4.0
# By how much motion has to explain the maps better than standing still, on average over pixels and
# times; and by how much it may explain those of one time worse.
_BETTER, _WORSE = 0.3, 0.3


def check(
    maps: Maps,
    log_depths: Float32[np.ndarray, "frame height width"],
    motion: FrameMotion,
    frame: int,
    *,
    scatter: float,
) -> FrameMotion:
    """Things that their motion explains; times at which it does not are lost.

    Args:
        maps: The scene.
        log_depths: The logarithms of its maps' depths.
        motion: A frame's things.
        frame: Which one.
        scatter: What the logarithm of a depth errs by in one frame.
    """
    unit = _LEAST + np.sqrt(2.0) * scatter
    gains, counts = (np.zeros(motion.known.shape, dtype=np.float32) for _ in range(2))
    for time in range(maps.frames):
        told = (motion.known[time] != LOST) & (motion.known[time] != GUESSED)
        if time == frame or not told.any():
            continue
        moved = motion.points + motion.displacement[time]
        stays, one = _misfit(maps, log_depths[time], motion.points, time, unit)
        moves, other = _misfit(maps, log_depths[time], moved, time, unit)
        both = told & one & other
        gains[time], counts[time] = np.where(both, stays - moves, 0.0), both
    thing, names = motion.thing.copy(), motion.names
    kept = np.ones(len(names), dtype=bool)
    known = motion.known.copy()
    for name in np.unique(names):
        of_thing = names == name
        gain, count = gains[:, of_thing].sum(axis=1), counts[:, of_thing].sum(axis=1)
        if gain.sum() < _BETTER * count.sum() or count.sum() == 0:
            thing[thing == name] = 0
            kept &= ~of_thing
        known[np.ix_(gain < -_WORSE * count, of_thing)] = LOST
    return FrameMotion(
        thing=thing,
        points=motion.points[kept],
        displacement=motion.displacement[:, kept],
        known=known[:, kept],
    )


def _misfit(
    maps: Maps,
    log_depth: Float32[np.ndarray, "height width"],
    points: Float64[np.ndarray, "point xyz=3"],
    time: int,
    unit: float,
) -> tuple[Float64[np.ndarray, " point"], Bool[np.ndarray, " point"]]:
    """By how much a map contradicts points at its time, and which of them it shows the place of."""
    camera = maps.camera(time)
    seen = transform_points(camera.camera_from_world, points)
    ahead = seen[:, 2] > 0
    xy = camera.pixels(np.where(ahead[:, None], seen, [0.0, 0.0, 1.0]))
    height, width = maps.map_hw
    inside = ahead & (xy >= 0).all(axis=1) & (xy < [width, height]).all(axis=1)
    column, row = (np.where(inside, xy[:, axis], 0).astype(np.int64) for axis in (0, 1))
    inside &= maps.usable[time, row, column] > 0
    off = (log_depth[row, column] - np.log(np.where(ahead, seen[:, 2], 1.0))) / unit
    return np.minimum(off * off, _MOST), inside
