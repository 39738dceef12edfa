"""Tracks of points: which are worth drawing, which move, and what fills their gaps."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from dynapoint.exports.cloud_parts import MovingCloud
from dynapoint.reductions.segmentation import segment_clip
from dynapoint.results.asking import as_tensor

# A point has moved if it went this share of its distance from the world's origin.
_LEAST_SHARE = 0.02


def moved_points(cloud: MovingCloud, most: int) -> Int64[np.ndarray, " track"]:
    """Indices of points that move and are usable at all times; at random where that is too many.

    Of a long clip, whose frames take turns, at two times or more: tracks are as long as turns.
    """
    usable = cloud.usable
    kept = usable.all(axis=0) if cloud.moves is None else usable.sum(axis=0) > 1
    always = np.flatnonzero(kept)
    points = held_tracks(cloud.points[:, always], usable[:, always]).astype(np.float64)
    if len(points) < 2 or not len(always):
        return np.zeros(0, dtype=np.int64)
    moved = np.linalg.norm(points - points[0], axis=-1).max(axis=0)
    distance = np.linalg.norm(points, axis=-1).mean(axis=0)
    chosen = always[moved > _LEAST_SHARE * distance]
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, most, replace=False))
    return chosen


def motion_of_tracks(
    points: Float[np.ndarray, "time point xyz=3"],
    usable: Bool[np.ndarray, "time point"],
    *,
    own_time: int,
    world_from_camera: Float[np.ndarray, "4 4"],
) -> Float32[np.ndarray, " point"]:
    """Probability that points moved, judged from where they are at `own_time`.

    Points and the camera, whose distance from them counts, are in one space, the world or a view.
    """
    if not points.shape[1]:
        return np.zeros(0, dtype=np.float32)
    found = segment_clip(
        as_tensor(points.astype(np.float32)[:, None]),
        own_time=own_time,
        world_from_camera=as_tensor(world_from_camera.astype(np.float32)),
        confidence=as_tensor(usable.astype(np.float32)[:, None]),
    )
    return np.asarray(found.probability)[0]


def held_tracks(
    tracks: Float32[np.ndarray, "time point xyz=3"], usable: Bool[np.ndarray, "time point"]
) -> Float32[np.ndarray, "time point xyz=3"]:
    """Tracks that stay at the last usable place, or before it at the first: no jumps."""
    if not tracks.shape[1]:
        return tracks
    step = np.where(usable, np.arange(len(tracks))[:, None], -1)
    last = np.maximum.accumulate(step, axis=0)
    at = np.where(last < 0, usable.argmax(axis=0), last)
    return np.take_along_axis(tracks, at[..., None], axis=0)
