"""Paths of points through all used frames, along the flow between neighbours."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from dynapoint.errors import ShapeError
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.following import Followed

# Where the pixels around a place move this differently, there is an edge between them.
_EDGE_PX = 1.0
_CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Paths:
    """Where points of one used frame are seen in the others.

    Attributes:
        xy: (column, row) in pixels of the small pictures, centres at half-integers.
        weight: In [0, 1]; 1 at the points' own frame, and never larger further from it. 0 from
            where a point was hidden, left the picture or was lost; its place is a guess there.
    """

    xy: Float64[np.ndarray, "frame point xy=2"]
    weight: Float32[np.ndarray, "frame point"]


def paths(followed: Followed, frame: int, xy: Float64[np.ndarray, "point xy=2"]) -> Paths:
    """Follow chosen points of a used frame to all used frames before and after it.

    Args:
        followed: Flow between neighbouring used frames.
        frame: The used frame that the points are seen in.
        xy: Where, in pixels of the small pictures, centres at half-integers.

    Raises:
        ShapeError: There is no such frame.
    """
    frames = len(followed.forward) + 1
    if not 0 <= frame < frames:
        raise ShapeError(f"frame is {frame}; give one from 0 to {frames - 1}")
    places = np.tile(xy.astype(np.float64), (frames, 1, 1))
    weights = np.ones((frames, len(xy)), dtype=np.float32)
    for index in range(frame, frames - 1):
        _carry(followed.forward[index], places, weights, index, index + 1)
    for index in range(frame, 0, -1):
        _carry(followed.backward[index - 1], places, weights, index, index - 1)
    return Paths(xy=places, weight=weights)


def _carry(
    field: FlowField,
    places: Float64[np.ndarray, "frame point xy=2"],
    weights: Float32[np.ndarray, "frame point"],
    start: int,
    end: int,
) -> None:
    """Carry points on from one frame to its neighbour."""
    flow, weight = at_places(field, places[start])
    places[end] = places[start] + flow
    weights[end] = weights[start] * weight


def at_places(
    field: FlowField, xy: Float64[np.ndarray, "point xy=2"]
) -> tuple[Float64[np.ndarray, "point xy=2"], Float32[np.ndarray, " point"]]:
    """Flow and weight at places between pixels, from the four around; at an edge, the nearest one.

    Beyond the picture the flow is that of its edge, and the weight 0.
    """
    height, width = field.weight.shape
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
        flows.append(field.flow[row, column].astype(np.float64))
        weights.append(field.weight[row, column])
        shares.append(np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1]))
    flow, weight, share = (np.stack(each) for each in (flows, weights, shares))
    edge = (np.ptp(flow, axis=0) > _EDGE_PX).any(axis=1)
    nearest = np.eye(len(_CORNERS))[share.argmax(axis=0)].T
    share = np.where(edge, nearest, share)
    mean = (flow * share[..., None]).sum(axis=0)
    certain = np.where(outside, 0, (weight * share).sum(axis=0))
    return mean, certain.astype(np.float32)
