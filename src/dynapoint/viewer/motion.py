"""How likely each pixel moved, for tinting."""

import numpy as np
from jaxtyping import UInt8

from dynapoint.results.answers import motion_to_ends
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer.jobs import Report


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
