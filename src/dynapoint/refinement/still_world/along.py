"""How the depth of a thing changes in time: as much of it as is told apart from errors of depth.

Every frame's map errs by a factor of its own, so that the logarithm of (depth in the map at a time)
over (depth that the thing would have if it kept its distance) is motion, plus that frame's error,
less that of the frame in which the thing is looked at. Motion goes on from frame to frame, errors
jump. So the smoothest course in time is taken that explains what was measured to within the
scatter (Morozov's discrepancy principle); if a constant does, there is no motion along the line of
sight.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

# Courses are splines in discrete time (Whittaker 1923) of these stiffnesses, from stiff to loose.
_STIFFNESSES = 10.0 ** np.arange(5.0, -3.0, -0.5)
# A constant explains what differs from it by no more than chance makes of one case in so many.
_STANDARD_DEVIATIONS = 2.0
# A scatter of second differences is so many times that of single values.
_OF_SECOND_DIFFERENCES = np.sqrt(6.0)
_FEWEST_TIMES = 4
# Things that move may err by so many times what others tell.
_MOST_OF_OTHERS = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """A course in time.

    Attributes:
        value: The logarithm of the ratio at every time, 0 at the frame's own.
        scatter: Standard deviation of what was measured about it.
        moves: Whether it is anything but constant.
    """

    value: Float64[np.ndarray, " time"]
    scatter: float
    moves: bool


def course(
    ratio: Float64[np.ndarray, " time"],
    known: Bool[np.ndarray, " time"],
    frame: int,
    *,
    scatter: float,
) -> Course:
    """The course of a ratio that was measured at some times.

    Args:
        ratio: What was measured.
        known: When.
        frame: The time at which it counts as 0.
        scatter: What single measurements err by, as far as others tell.
    """
    times = np.flatnonzero(known)
    # Turns in the motion itself look like scatter, too.
    scatter = max(scatter, min(_own_scatter(ratio, times), _MOST_OF_OTHERS * scatter))
    none = Course(value=np.zeros(len(ratio)), scatter=scatter, moves=False)
    if len(times) < _FEWEST_TIMES:
        # Too few to tell errors by: what is beyond those of others counts.
        if len(times) < 2:
            return none
        measured = np.interp(np.arange(len(ratio)), times, ratio[times])
        value = measured - measured[frame]
        size = float(np.abs(value).max())
        share = max(0.0, 1 - (_STANDARD_DEVIATIONS * scatter / size) ** 2) if size > 0 else 0.0
        return Course(value=value * share, scatter=scatter, moves=share > 0)
    measured = ratio[times]
    least = max(scatter, 1e-6)
    count = len(times)
    bound = count + _STANDARD_DEVIATIONS * np.sqrt(2.0 * count)
    if float((((measured - measured.mean()) / least) ** 2).sum()) <= bound:
        return none
    value = measured
    for stiffness in _STIFFNESSES:
        value = _smoothed(ratio, known, stiffness)
        if float((((value[times] - measured) / least) ** 2).sum()) <= count:
            break
    else:
        value = np.interp(np.arange(len(ratio)), times, measured)
    return Course(value=value - value[frame], scatter=scatter, moves=True)


def _own_scatter(ratio: Float64[np.ndarray, " time"], times: np.ndarray) -> float:
    """What single measurements err by, from second differences of neighbours in time."""
    together = np.flatnonzero(np.diff(times, n=2) == 0) if len(times) > 2 else np.empty(0)
    together = together[(times[together.astype(int) + 1] - times[together.astype(int)]) == 1]
    if len(together) < 3:
        return 0.0
    k = times[together.astype(int)]
    second = ratio[k] - 2 * ratio[k + 1] + ratio[k + 2]
    return float(np.sqrt(np.median(second**2) / 0.455) / _OF_SECOND_DIFFERENCES)


def _smoothed(
    ratio: Float64[np.ndarray, " time"], known: Bool[np.ndarray, " time"], stiffness: float
) -> Float64[np.ndarray, " time"]:
    """Least squares of what was measured and of second differences."""
    count = len(ratio)
    bend = np.diff(np.eye(count), n=2, axis=0)
    system = np.diag(known.astype(np.float64)) + stiffness * bend.T @ bend
    return np.asarray(np.linalg.solve(system, np.where(known, ratio, 0.0)))
