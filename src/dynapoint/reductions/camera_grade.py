"""A grade for cameras alone, without ground truth: what matches say, and how smooth the path is.

The error that it foretells is a share: of turning and path, how much is wrong. It is the larger of
two measures: the root mean square rotation error over the true turning plus a degree, and, where
the camera goes anywhere, the position error after a similarity over the extent of the true path.
"""

import math

import numpy as np
from jaxtyping import Float64

# The logarithm of the error is linear in the logarithm of what matches miss, in how rough the path
# is, and in the share of matches not explained. Weights are the mean of two fits, each on 36
# clips of eight frames of the data engine (most with a moving camera) that nano-2 made scenes of,
# with refinement and without; none is negative. On clips that no fit saw (six of the bench, three
# real folders; refined or not) the rank correlation with the true error is .77.
_MISSED, _ROUGH, _UNEXPLAINED = 0.28, 0.97, 1.67
_LEAST_ERROR = 0.03
_LEAST_MISSED, _MOST_MISSED, _ROUGHEST = 0.02, 1.0, 1.5
# Shorter steps, as a share of depth, are noise.
_SHORTEST_STEP = 1e-3


def path_roughness(
    world_from_camera: Float64[np.ndarray, "frame 4 4"], typical_depth: float
) -> float:
    """Mean second difference of the cameras' places over their mean step; 0 for a straight path.

    A camera that jumps to and fro at random has about 1.5. NaN for fewer than three frames.
    """
    places = world_from_camera[:, :3, 3]
    if len(places) < 3:
        return math.nan
    step, bend = (np.linalg.norm(np.diff(places, n, axis=0), axis=1).mean() for n in (1, 2))
    return float(bend / max(step, _SHORTEST_STEP * typical_depth, 1e-30))


def camera_error(*, explained: float, missed: float, roughness: float) -> float:
    """The share of turning and path that is foretold to be wrong; NaN where nothing was matched.

    Args:
        explained: Share of reliable matches that still points and cameras explain.
        missed: Median distance by which they miss, over the distance that matches go.
        roughness: `path_roughness`; NaN, which is not known, counts as smooth.
    """
    if math.isnan(explained) or math.isnan(missed):
        return math.nan
    rough = 0.0 if math.isnan(roughness) else min(roughness, _ROUGHEST)
    exponent = (
        _MISSED * math.log1p(min(missed, _MOST_MISSED) / _LEAST_MISSED)
        + _ROUGH * rough
        + _UNEXPLAINED * (1 - explained)
    )
    return _LEAST_ERROR * math.exp(exponent)
