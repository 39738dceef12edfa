"""Paths of points through all used frames, along the flow between neighbours."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from dynapoint.errors import ShapeError
from dynapoint.geometry.between_pixels import flow_between_pixels
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.following import Followed


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
    """Flow and weight at places between pixels; beyond the picture the weight is 0."""
    return flow_between_pixels(field.flow, field.weight, xy)
