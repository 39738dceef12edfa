"""Whether a scene is shown as all frames fused or as each frame's own pixels."""

from dynapoint.results.checks import read_check
from dynapoint.results.reconstruction import Reconstruction

# Frames that place the same surfaces farther apart than this share of their distance show them
# twice when they are fused; from there on the self-check warns, too. In a clip of a dog that nano
# smears over its way, what stands still is .022 off and what moves .36; maps of 32 pixels make .22
# of the motion of an exact scene.
_MOST = {"depth_disagreement": 0.05, "still_drift": 0.05, "moving_cycle_error": 0.3}


def fusion_shows_ghosts(rec: Reconstruction) -> bool:
    """Whether frames disagree so much that a fused cloud would show things twice.

    So it is if the self-check finds that frames see the same places at depths more than 5 % apart,
    that what stands still drifts by more than that between times, or that what moves comes back
    more than 30 % beside where it started. What is not known says no.
    """
    if rec.frame_count == 1:
        return False
    found = read_check(rec.folder) if rec.folder is not None else None
    if found is None:
        signals = vars(rec.self_check())
    else:
        signals = found["signals"]
    # A comparison with NaN is false, as it should be.
    known = {name: signals[name] for name in _MOST if signals.get(name) is not None}
    return any(float(value) > _MOST[name] for name, value in known.items())
