"""How likely each pixel moved, for tinting, and the tint."""

import numpy as np
from jaxtyping import Float, UInt8

from dynapoint.results.answers import motion_to_ends
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
        shares[frame] = np.round(255 * motion_to_ends(rec, frame))
        report((frame + 1) / rec.frame_count)
    return shares


def tinted(
    colors: UInt8[np.ndarray, "point rgb=3"], share: Float[np.ndarray, " point"]
) -> UInt8[np.ndarray, "point rgb=3"]:
    """Colours drawn towards a glowing orange by how likely each point moves."""
    # Half-likely is where motion begins; below, the picture stays as it is.
    mix = _STRENGTH * np.clip(2 * np.asarray(share, dtype=np.float32) - 0.5, 0, 1)[:, None]
    return np.round(colors * (1 - mix) + np.array(TINT, dtype=np.float32) * mix).astype(np.uint8)
