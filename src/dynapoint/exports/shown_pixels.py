"""Whether a scene is shown as all frames fused or as each frame's own pixels."""

import math

import numpy as np

from dynapoint.results.checks import read_check
from dynapoint.results.reconstruction import Reconstruction

# Fusing frames that place the same surfaces so far apart, as a share of their distance, shows these
# twice: from there on the self-check warns, too.
GHOSTS = 0.05


def fusion_shows_ghosts(rec: Reconstruction) -> bool:
    """Whether frames disagree so much that a fused cloud would show things twice.

    So it is if the self-check finds that frames see the same places at depths more than 5 % apart,
    or that what stands still drifts by more than that between times. What is not known says no.
    """
    if rec.frame_count == 1:
        return False
    found = read_check(rec.folder) if rec.folder is not None else None
    if found is None:
        check = rec.self_check()
        signals = [check.depth_disagreement, check.still_drift]
    else:
        signals = [found["signals"].get(name) for name in ("depth_disagreement", "still_drift")]
    known = [float(np.asarray(value)) for value in signals if value is not None]
    return any(math.isfinite(value) and value > GHOSTS for value in known)
