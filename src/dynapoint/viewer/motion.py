"""How likely each pixel moved, for tinting, and the tint."""

import numpy as np
from jaxtyping import Float, Float32, UInt8

from dynapoint.reductions.segmentation import segment_clip
from dynapoint.results.asking import as_tensor
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer.cache import Report

TINT = (255, 70, 20)
# Even what surely moves keeps some of its colour, so that it can be told what it is.
_STRENGTH = 0.75


def moving_shares(
    rec: Reconstruction, report: Report
) -> UInt8[np.ndarray, "frame map_height map_width"]:
    """The larger probability of motion towards the first and the last time; 255 is 1.

    Raises:
        DynapointError: The network is needed and cannot be had.
    """
    shares = np.zeros(rec.own_time_confidence.shape, dtype=np.uint8)
    for frame in range(rec.frame_count):
        for time in {0, rec.frame_count - 1} - {frame}:
            likely = rec.motion_between(frame=frame, to_time=time).probability
            np.maximum(shares[frame], np.round(255 * likely).astype(np.uint8), out=shares[frame])
        report((frame + 1) / rec.frame_count)
    return shares


def moving_share_of_paths(
    points: Float[np.ndarray, "time point xyz=3"], usable: np.ndarray, *, own_time: int
) -> Float32[np.ndarray, " point"]:
    """Probability that points moved, from where they are at all times (world or view)."""
    if not points.shape[1]:
        return np.zeros(0, dtype=np.float32)
    found = segment_clip(
        as_tensor(points.astype(np.float32)[:, None]),
        own_time=own_time,
        world_from_camera=as_tensor(np.eye(4, dtype=np.float32)),
        confidence=as_tensor(usable.astype(np.float32)[:, None]),
    )
    return found.probability.numpy()[0]


def tinted(
    colors: UInt8[np.ndarray, "point rgb=3"], share: Float[np.ndarray, " point"]
) -> UInt8[np.ndarray, "point rgb=3"]:
    """Colours drawn towards a glowing orange by how likely each point moves."""
    # Half-likely is where motion begins; below, the picture stays as it is.
    mix = _STRENGTH * np.clip(2 * np.asarray(share, dtype=np.float32) - 0.5, 0, 1)[:, None]
    return np.round(colors * (1 - mix) + np.array(TINT, dtype=np.float32) * mix).astype(np.uint8)
