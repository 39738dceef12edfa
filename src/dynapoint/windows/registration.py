"""One similarity between the worlds of two windows, from all that both say of the same frames.

In a frame that both windows hold every pixel has a point in both, at the same time: what moves
counts as well as what stands still. The cost and its statistics are those of `similarity_fit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from dynapoint.windows.shared_pixels import CommonTime, SharedPixels, shared_pixels
from dynapoint.windows.similarity_fit import Fit, fit
from dynapoint.windows.similarity_start import closed_form_start
from dynapoint.windows.window_maps import WindowMaps

__all__ = ["CommonTime", "Registration", "register"]

# Pixels agree whose residuals are below three of their sigmas; these count as no larger than that.
_AGREEING = 3.0
_MOST_RAD, _MOST_LOG = 0.01, 0.1
_LEAST_AGREEING = 0.3
_FEWEST_SURE = 300
# Scenes flatter than this, as a share of the distance, or than their own errors, are planes.
_FLAT = 0.01
# Of normal values 80 % are less than 1.28 sigmas: a fifth of the pixels off the plane will do.
_FLAT_SHARE, _FLAT_SIGMAS = 0.8, 1 / 1.28
# By which factors doubts lessen the information: then the model of errors does not hold.
_CONTRADICTED, _UNSURE = 0.01, 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """How the worlds of two windows lie to each other.

    Attributes:
        first_from_second: [s·R | t], which takes points of the second window's world to the
            first's.
        information: Inverse covariance of its right perturbation: the true similarity is
            `first_from_second · exp(ξ)` with ξ = [rotation, translation, logarithm of scale]
            (`geometry.sim3`), rotation in radians, translation in the second world's unit, both in
            its axes. Positive semi-definite; 0 where nothing is known.
        frames: Indices in the clip of the frames that both windows hold.
        pixels: How many pairs of points were looked at.
        explained: By weight, the share of them that agree: after the error that is common to a
            frame, within three sigmas, and within 1.7 degrees and 30 %.
        residual_deg: The median angle between the two rays of a pixel; NaN without pixels.
        residual_log_depth: The median difference of the logarithms of distance; NaN without pixels.
        doubt: Why the answer may be wrong, with numbers, for people; None where it should be right.
            It is the best guess all the same.
    """

    first_from_second: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "7 7"]
    frames: tuple[int, ...]
    pixels: int
    explained: float
    residual_deg: float
    residual_log_depth: float
    doubt: str | None


def register(
    first: WindowMaps, second: WindowMaps, *, further: Sequence[CommonTime] = ()
) -> Registration:
    """The similarity from the second window's world to the first's.

    Deterministic, and the same whatever the units of the two worlds are.

    Args:
        first: A window.
        second: Another window.
        further: Maps of shared frames at shared times from both windows' decoders.

    Raises:
        ValueError: If the maps' sizes differ, or `further` has a frame that is not shared.
    """
    frames = first.shared_with(second)
    if not frames:
        return Registration(
            first_from_second=np.eye(4),
            information=np.zeros((7, 7)),
            frames=(),
            pixels=0,
            explained=0.0,
            residual_deg=np.nan,
            residual_log_depth=np.nan,
            doubt="the windows share no frame: nothing tells where the second one lies",
        )
    pixels = shared_pixels(first, second, further)
    units = _unit(pixels.first, pixels.first_camera), _unit(pixels.second, pixels.second_camera)
    pixels = pixels.in_units(*units)
    found = fit(pixels, closed_form_start(pixels))
    agree = _agree(found)
    total = float(pixels.weight.sum())
    explained = float(pixels.weight[agree].sum()) / total if total > 0 else 0.0
    residual_deg = _median(np.degrees(found.angle_rad), pixels.weight)
    residual_log = _median(np.abs(found.log_distance), pixels.weight)
    doubt, trust = _doubt(pixels, found, agree, (explained, residual_deg, residual_log))
    matrix = found.first_from_second.copy()
    matrix[:3, :3] *= units[0] / units[1]
    matrix[:3, 3] *= units[0]
    unit = np.array([1, 1, 1, units[1], units[1], units[1], 1])
    return Registration(
        first_from_second=matrix,
        information=trust * found.information / unit / unit[:, None],
        frames=frames,
        pixels=len(pixels.frame),
        explained=explained,
        residual_deg=residual_deg,
        residual_log_depth=residual_log,
        doubt=doubt,
    )


def _unit(
    points: Float64[np.ndarray, "pixel xyz=3"], cameras: Float64[np.ndarray, "frame 4 4"]
) -> float:
    """The median distance of points from their camera; without any, how far cameras spread."""
    if len(points):
        return float(np.median(np.linalg.norm(points, axis=-1)))
    spread = float(np.linalg.norm(cameras[:, :3, 3] - cameras[:, :3, 3].mean(axis=0)))
    return spread if spread > 0 else 1.0


def _agree(found: Fit) -> np.ndarray:
    most = np.minimum(found.sigma, [_MOST_RAD, _MOST_LOG]) * _AGREEING
    return (found.ray_left < most[0]) & (found.distance_left < most[1])


def _median(values: Float64[np.ndarray, " value"], weight: Float64[np.ndarray, " value"]) -> float:
    """Below it lies half of the weight; NaN without values."""
    if not len(values):
        return np.nan
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _doubt(
    pixels: SharedPixels, found: Fit, agree: np.ndarray, numbers: tuple[float, float, float]
) -> tuple[str | None, float]:
    """What is to be said, and by which factor the information is less for it."""
    explained, residual_deg, residual_log = numbers
    frames = len(pixels.first_camera)
    shared = f"{frames} shared frame{'s' if frames > 1 else ''}"
    if pixels.sure < _FEWEST_SURE:
        return (
            f"only {pixels.sure} pixels of the {shared} are sure in both windows, "
            f"and {_FEWEST_SURE} would do",
            _UNSURE,
        )
    if explained < _LEAST_AGREEING:
        return (
            f"the windows contradict each other: of the pixels of the {shared}, {explained:.0%} "
            f"agree; half of all rays are more than {residual_deg:.2g} degrees apart, and half of "
            f"all depths more than {np.expm1(residual_log):.0%}",
            _CONTRADICTED,
        )
    thickness, depths = _thickness(pixels.kept(agree))
    if thickness < max(_FLAT, found.sigma[1]):
        return (
            f"what the {shared} show is flat, within {thickness:.1%} of a plane (distances vary by "
            f"{depths:.0%}): turns, shifts and scale can stand in for each other",
            _UNSURE,
        )
    return None, 1.0


def _thickness(pixels: SharedPixels) -> tuple[float, float]:
    """How far points lie off a plane and how much their distances vary, as shares of distance.

    The plane is fitted to the first window's points by weighted least squares, repeated with
    weights of Cauchy, and the first number is the standard deviation of the normal distribution of
    which as many are as near to it as 80 % of the points. The second is half the range that 90 % of
    the distances take.
    """
    pose = pixels.first_camera[pixels.frame]
    points = (pose[:, :3, :3] @ pixels.first[..., None])[..., 0] + pose[:, :3, 3]
    distance = np.linalg.norm(pixels.first, axis=-1)
    weight, off = pixels.weight / distance**2, distance
    for _ in range(8):
        share = weight / weight.sum()
        centred = points - share @ points
        _, axes = np.linalg.eigh((centred * share[:, None]).T @ centred)
        off = np.abs(centred @ axes[:, 0]) / distance
        typical = max(_median(off, pixels.weight), 1e-12)
        weight = pixels.weight / distance**2 / (1 + (off / (2 * typical)) ** 2)
    low, high = np.quantile(np.log(distance), [0.05, 0.95])
    return _FLAT_SIGMAS * float(np.quantile(off, _FLAT_SHARE)), float(np.expm1(high - low) / 2)
