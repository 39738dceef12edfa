"""Where things are when nothing is seen of them: a guess from before and after."""

import numpy as np

from dynapoint.models.kept.still_motion import GUESSED
from dynapoint.refinement.still_world.handing import LOST, FrameMotion

# What is lost goes on as before, slower by this factor from time to time.
_SLOWER = 0.7


def guess(motion: FrameMotion, frame: int) -> None:
    """Fill in what is lost of a frame's things, in place.

    Between two times at which a thing is known, evenly from one to the other; before the first and
    after the last, on as it went, ever slower.
    """
    names = motion.names
    for name in np.unique(names):
        of_thing = np.flatnonzero(names == name)
        known = motion.known[:, of_thing[0]] != LOST
        known[frame] = True
        times = np.flatnonzero(known)
        for time in np.flatnonzero(~known):
            motion.displacement[time, of_thing] = _guessed(
                motion.displacement[:, of_thing], times, int(time)
            )
            motion.known[time, of_thing] = GUESSED


def _guessed(displacement: np.ndarray, times: np.ndarray, time: int) -> np.ndarray:
    """Displacements at a time from those at others."""
    place = int(np.searchsorted(times, time))
    if 0 < place < len(times):
        before, after = times[place - 1], times[place]
        part = (time - before) / (after - before)
        return np.asarray((1 - part) * displacement[before] + part * displacement[after])
    last, other = (times[0], times[:2][-1]) if place == 0 else (times[-1], times[-2:][0])
    if last == other:
        return np.asarray(displacement[last])
    speed = (displacement[last] - displacement[other]) / abs(int(last) - int(other))
    steps = abs(time - int(last))
    reach = _SLOWER * (1 - _SLOWER**steps) / (1 - _SLOWER)
    return np.asarray(displacement[last] + reach * speed)
