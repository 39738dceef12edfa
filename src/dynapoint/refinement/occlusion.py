"""What hides other things does not lie behind them.

A thing that follows the camera at the camera's own pace keeps its place in the picture, as what is
far away does; its matches then ask for a depth beyond that of what it hides. Where the network has
a pixel before its surroundings, a change that puts it behind them is not believed.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32

# Of logarithms of depth, against their median around: how far before it the network has a pixel,
# and how far behind it the change puts it.
_BEFORE, _BEHIND = 0.1, 0.1
# Surroundings are a square of this share of the longer side.
_AROUND = 0.25
_LARGEST_CHANGE = 1.5
_LEVELS = 255


def put_behind(
    log_depth: Float[np.ndarray, "frame rows columns"],
    change: Float[np.ndarray, "frame rows columns"],
) -> Bool[np.ndarray, "frame rows columns"]:
    """Whether a change of log depth takes a pixel from before its surroundings to behind them."""
    found = []
    for own, moved in zip(log_depth, log_depth + change, strict=True):
        bounded = np.clip(moved, own - _LARGEST_CHANGE, own + _LARGEST_CHANGE)
        before, after = _beyond_surroundings(own), _beyond_surroundings(bounded)
        found.append((before < -_BEFORE) & (after > _BEHIND))
    return np.stack(found)


def _beyond_surroundings(
    log_depth: Float[np.ndarray, "rows columns"],
) -> Float32[np.ndarray, "rows columns"]:
    """How far behind the median around it a pixel lies, in the mean with its neighbours."""
    import cv2  # noqa: PLC0415 - slow to import.

    values = log_depth.astype(np.float32)
    side = int(max(3, max(values.shape) * _AROUND)) | 1
    # OpenCV has medians of large squares for 8 bits only.
    least = values.min()
    unit = max(float(values.max() - least), 1e-6) / _LEVELS
    levels = np.round((values - least) / unit).astype(np.uint8)
    around = cv2.medianBlur(levels, side).astype(np.float32) * np.float32(unit) + least
    return np.asarray(cv2.blur(values - around, (3, 3)), dtype=np.float32)
