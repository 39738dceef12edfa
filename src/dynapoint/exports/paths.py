"""Points of a moving cloud whose paths are worth drawing."""

import numpy as np
from jaxtyping import Int64

from dynapoint.exports.clouds import MovingCloud

# A point has moved if it went this share of its distance from the world's origin.
_LEAST_SHARE = 0.02


def moved_points(cloud: MovingCloud, most: int) -> Int64[np.ndarray, " track"]:
    """Indices of points that move and are usable at all times; at random where that is too many."""
    always = np.flatnonzero(cloud.usable.all(axis=0))
    points = cloud.points[:, always].astype(np.float64)
    if len(points) < 2 or not len(always):
        return np.zeros(0, dtype=np.int64)
    moved = np.linalg.norm(points - points[0], axis=-1).max(axis=0)
    distance = np.linalg.norm(points, axis=-1).mean(axis=0)
    chosen = always[moved > _LEAST_SHARE * distance]
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, most, replace=False))
    return chosen
