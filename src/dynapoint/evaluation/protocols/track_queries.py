"""Which tracks of a set a protocol asks for: those that the first frame shown sees."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.geometry.arrays import points_in_camera, project


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackQueries:
    """Tracks that are asked, and where.

    Attributes:
        chosen: Numbers of the tracks in `TruthSequence.tracks()`.
        xy: Pixels of the frame they are asked in, pixel centres at half-integers.
    """

    chosen: Int64[np.ndarray, " track"]
    xy: Float64[np.ndarray, "track xy=2"]


def track_queries(sequence: TruthSequence, frame: int) -> TrackQueries:
    """The tracks that a frame sees and whose points fall within its picture, in their order.

    Raises:
        InputError: The sequence has no tracks, or no lens.
    """
    tracks = sequence.tracks()
    camera = points_in_camera(tracks.xyz[frame].astype(np.float64), camera_of(sequence, frame))
    xy = project(camera, sequence.intrinsics(frame))
    height, width = sequence.image_hw
    with np.errstate(invalid="ignore"):
        inside = ((xy >= 0) & (xy < (width, height))).all(axis=1)
    chosen = np.flatnonzero(tracks.visible[frame] & inside)
    return TrackQueries(chosen=chosen, xy=xy[chosen])


def camera_of(sequence: TruthSequence, frame: int) -> Float64[np.ndarray, "4 4"]:
    """world_from_camera; the identity in sets without poses, whose world is the camera."""
    return sequence.world_from_camera(frame) if sequence.holds.poses else np.eye(4)
