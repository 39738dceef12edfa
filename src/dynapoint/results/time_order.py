"""The order of time: that in which frames are played, listed and exported.

Frames keep the numbers that their source gave them. Photographs may have been given in any order,
so that a later number is not always a later time.
"""

import numpy as np
from jaxtyping import Float64

# Seconds that a frame is shown where nothing says how long.
DEFAULT_STEP_S = 0.1


def order_of_times(timestamps_s: Float64[np.ndarray, " frame"]) -> list[int]:
    """Indices of the frames, the earliest first.

    Frames of one time keep the order of the source. Frames without a time (NaN) come after all
    others, in the order of the source.
    """
    # NumPy sorts NaN to the end.
    return [int(frame) for frame in np.argsort(timestamps_s, kind="stable")]


def moments_s(ordered_s: Float64[np.ndarray, " frame"]) -> Float64[np.ndarray, " moment"]:
    """When each frame begins to be shown and when the last one ends, in seconds from 0.

    A time lasts until the next one; the last time, and each frame without one, lasts as long as
    the median of those. Frames of one time share how long it lasts evenly, so that each of them is
    shown and no two begin at once. Where no two times differ, every frame lasts .1 s.

    Args:
        ordered_s: Times in the order of `order_of_times`.
    """
    known_s, count = np.unique(ordered_s[np.isfinite(ordered_s)], return_counts=True)
    steps_s = np.diff(known_s)
    if not len(steps_s):
        return np.arange(ordered_s.size + 1) * DEFAULT_STEP_S
    usual_s = float(np.median(steps_s))
    lasts_s = np.append(steps_s, usual_s)[: len(known_s)] / count
    each_s = np.concatenate([np.repeat(lasts_s, count), np.full(ordered_s.size, usual_s)])
    return np.concatenate([[0.0], np.cumsum(each_s[: ordered_s.size])])
