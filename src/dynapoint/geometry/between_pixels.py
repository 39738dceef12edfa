"""Values of pixels at places between them, without mixing the two sides of an edge."""

import numpy as np
from jaxtyping import Float, Float32, Float64

# Where the pixels around a place move this differently, there is an edge between them.
_EDGE_PX = 1.0


def flow_between_pixels(
    flow: Float[np.ndarray, "height width xy=2"],
    weight: Float[np.ndarray, "height width"],
    xy: Float64[np.ndarray, "point xy=2"],
) -> tuple[Float64[np.ndarray, "point xy=2"], Float32[np.ndarray, " point"]]:
    """Flow and weight at places between pixels, from the four around; at an edge, the nearest one.

    Beyond the picture the flow is that of its edge, and the weight 0. Pixels are centred at
    half-integers.
    """
    height, width = weight.shape
    size = np.array([width, height])
    values = np.concatenate([flow, weight[..., None]], axis=-1, dtype=np.float32).reshape(-1, 3)
    place = xy - 0.5
    outside = ((place < -0.5) | (place > size - 0.5)).any(axis=1)
    place = np.clip(np.nan_to_num(place), 0, size - 1)
    low = np.minimum(place.astype(np.int64), np.maximum(size - 2, 0))
    part = place - low
    right, down = (np.minimum(low[:, axis] + 1, size[axis] - 1) for axis in (0, 1))
    around = [
        values[row * width + column] for row in (low[:, 1], down) for column in (low[:, 0], right)
    ]
    spread = np.maximum.reduce(around) - np.minimum.reduce(around)
    edge = (spread[:, :2] > _EDGE_PX).any(axis=1)
    part[edge] = np.round(part[edge])
    x, y = part[:, :1], part[:, 1:]
    mean = (1 - y) * ((1 - x) * around[0] + x * around[1])
    mean += y * ((1 - x) * around[2] + x * around[3])
    return mean[:, :2], np.where(outside, 0, mean[:, 2]).astype(np.float32)
