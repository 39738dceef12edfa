"""Things that are lost on their way, handed over to what frames on the way know of them.

Where paths from one frame to a time are lost, or too few are left, those from a frame between may
not be: a thing's points are brought to that frame's time, lie on a thing of that frame, and move on
with that.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, UInt8

from dynapoint.geometry.arrays import transform_points
from dynapoint.geometry.similarity import fit_similarity_robustly, move
from dynapoint.models.kept.still_motion import CARRIED, SEEN
from dynapoint.refinement.still_world.sightings import Maps

LOST = 0
"""That nothing is known of where a pixel is at a time."""

# So much of a thing has to lie on one thing of the other frame, within this share in depth.
_SHARE, _DEPTH = 0.4, 0.1
_FEWEST = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMotion:
    """The things of one frame's grid that move, at all times.

    Attributes:
        thing: 0 for what does not move, else 1 to their number.
        points: Own-time points of the pixels that move, row after row.
        displacement: Of these, from their own time; written to in place.
        known: `SEEN`, `CARRIED` or `LOST`; all of a thing is lost or none of it.
    """

    thing: Int32[np.ndarray, "rows columns"]
    points: Float64[np.ndarray, "moving xyz=3"]
    displacement: Float32[np.ndarray, "time moving xyz=3"]
    known: UInt8[np.ndarray, "time moving"]

    @property
    def names(self) -> Int32[np.ndarray, " moving"]:
        """Of each pixel that moves which thing it belongs to."""
        flat = self.thing.reshape(-1)
        return flat[flat > 0]


def hand_over(maps: Maps, frames: list[FrameMotion]) -> None:
    """Find what is lost by way of frames between, nearest times first, in place."""
    count = len(frames)
    places = [_places(frame.thing) for frame in frames]
    for apart in range(2, count):
        for frame in range(count):
            for time in (frame - apart, frame + apart):
                if 0 <= time < count:
                    _find(maps, frames, places, frame, time)


def _find(
    maps: Maps,
    frames: list[FrameMotion],
    places: list[Int32[np.ndarray, " pixel"]],
    frame: int,
    time: int,
) -> None:
    """Find all lost things of a frame at a time."""
    own = frames[frame]
    lost = own.known[time] == LOST
    if not lost.any():
        return
    names = own.names
    towards = 1 if time > frame else -1
    for name in np.unique(names[lost]):
        of_thing = np.flatnonzero(names == name)
        for between in range(time - towards, frame, -towards):
            if own.known[between, of_thing[0]] == LOST:
                continue
            there = own.points[of_thing] + own.displacement[between, of_thing]
            found = _onward(
                maps, frames[between], places[between], there, between=between, time=time
            )
            if found is not None:
                own.displacement[time, of_thing] = there + found - own.points[of_thing]
                own.known[time, of_thing] = CARRIED
                break


def _onward(
    maps: Maps,
    other: FrameMotion,
    places: Int32[np.ndarray, " pixel"],
    points: Float64[np.ndarray, "point xyz=3"],
    *,
    between: int,
    time: int,
) -> Float64[np.ndarray, "point xyz=3"] | None:
    """Displacements of points of one thing from the time of a frame on; None if it tells none."""
    camera = maps.camera(between)
    seen = transform_points(camera.camera_from_world, points)
    ahead = seen[:, 2] > 0
    xy = camera.pixels(np.where(ahead[:, None], seen, [0.0, 0.0, 1.0]))
    cell = np.floor((xy - 0.5 - maps.step // 2) / maps.step + 0.5).astype(np.int64)
    rows, columns = other.thing.shape
    inside = ahead & (cell >= 0).all(axis=1) & (cell < [columns, rows]).all(axis=1)
    flat = np.where(inside, cell[:, 1] * columns + cell[:, 0], 0)
    on = np.where(inside, places[flat], -1)
    depth = transform_points(camera.camera_from_world, other.points)[:, 2]
    if len(depth) == 0:
        return None
    near = (on >= 0) & (np.abs(depth[on] - seen[:, 2]) < _DEPTH * seen[:, 2])
    if near.sum() < max(_FEWEST, _SHARE * len(points)):
        return None
    names = other.names
    name = int(np.bincount(names[on[near]]).argmax())
    near &= names[on] == name
    of_thing = np.flatnonzero((names == name) & (other.known[time] != LOST))
    if near.sum() < max(_FEWEST, _SHARE * len(points)) or len(of_thing) == 0:
        return None
    source = torch.from_numpy(other.points[of_thing])[None]
    moved = other.displacement[time, of_thing].astype(np.float64)
    sure = torch.from_numpy(np.where(other.known[time, of_thing] == SEEN, 1.0, 0.3))[None]
    fitted = fit_similarity_robustly(source, source + torch.from_numpy(moved), sure, rigid=True)
    found = move(fitted, torch.from_numpy(points)[None])[0].numpy() - points
    found[near] = other.displacement[time, on[near]]
    return np.asarray(found, dtype=np.float64)


def _places(thing: Int32[np.ndarray, "rows columns"]) -> Int32[np.ndarray, " pixel"]:
    """Of each pixel of a grid its number among those that move, or -1."""
    flat = thing.reshape(-1) > 0
    return np.where(flat, np.cumsum(flat) - 1, -1).astype(np.int32)
