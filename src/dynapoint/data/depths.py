"""Measured depth, and what files say where nothing was measured."""

import numpy as np
from jaxtyping import Float64, Num

# The largest number of 16 bits, as it is and in metres of millimetres.
_LARGEST = 65535


def measured_depth(
    given: Num[np.ndarray, "*pixels"],
) -> Float64[np.ndarray, "*pixels"]:
    """Depths with NaN wherever nothing was measured.

    Nothing was measured where a value is 0 or negative, NaN, infinite, the largest one of its kind
    of integers, or 65535, in millimetres or divided by 1000.
    """
    depth = given.astype(np.float64)
    largest = float(np.iinfo(given.dtype).max) if given.dtype.kind in "iu" else np.inf
    # Floats of 32 bits hold 65.535 with a relative error of 3e-8.
    none = ~np.isfinite(depth) | (depth <= 0) | (depth == largest) | (depth == _LARGEST)
    none |= np.isclose(depth, _LARGEST / 1000, rtol=1e-7, atol=0)
    return np.where(none, np.nan, depth)
