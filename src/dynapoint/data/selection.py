"""Choosing evenly spaced frames."""

import numpy as np
from jaxtyping import Int64


def evenly_spaced(count: int, max_frames: int) -> Int64[np.ndarray, " chosen"]:
    """Indices of at most `max_frames` evenly spaced entries of `count`, first and last included.

    Returns:
        Strictly increasing indices; all of them if `count <= max_frames`, only the first entry if
        `max_frames` is 1, none if `count` is 0.
    """
    chosen = min(count, max_frames)
    return np.round(np.linspace(0.0, max(count - 1, 0), chosen)).astype(np.int64)
