"""Values of pixels at places between them, without mixing the two sides of an edge."""

import numpy as np
from jaxtyping import Float, Float32, Float64

# Where the pixels around a place move this differently, there is an edge between them.
_EDGE_PX = 1.0
_CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


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
    place = xy - 0.5
    outside = ((place < -0.5) | (place > np.array([width, height]) - 0.5)).any(axis=1)
    place = np.clip(np.nan_to_num(place), 0, np.array([width, height]) - 1)
    low = np.minimum(place.astype(np.int64), np.maximum(np.array([width, height]) - 2, 0))
    part = place - low
    flows, weights, shares = [], [], []
    for right, down in _CORNERS:
        column, row = (
            np.minimum(low[:, 0] + right, width - 1),
            np.minimum(low[:, 1] + down, height - 1),
        )
        flows.append(flow[row, column].astype(np.float64))
        weights.append(weight[row, column].astype(np.float32))
        shares.append(np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1]))
    around, certain, share = (np.stack(each) for each in (flows, weights, shares))
    edge = (np.ptp(around, axis=0) > _EDGE_PX).any(axis=1)
    nearest = np.eye(len(_CORNERS))[share.argmax(axis=0)].T
    share = np.where(edge, nearest, share)
    mean = (around * share[..., None]).sum(axis=0)
    sure = np.where(outside, 0, (certain * share).sum(axis=0))
    return mean, sure.astype(np.float32)
