"""The similarity between the worlds of two windows, from points of the same pixels.

Errors of depth maps lie along rays, and are common to a frame. Thus a pixel's residual is the angle
between its two rays, and the difference of its logarithms of distance, both seen from the first
window's camera of its frame; and frame f has an error n_f of its own in Sim(3), of normal
distribution, in the coordinates of that camera. Its camera in the second window is evidence with
the same n_f. Pixels give frame f the normal matrix G_f (7 x 7); with Σ the covariance of n_f, the
frame weighs H_f = (G_f⁻¹ + Σ)⁻¹ = (1 + G_f Σ)⁻¹ G_f in generalised least squares. Σ, whose
rotation, translation and scale have a variance each, is found by expectation maximisation
(Dempster, Laird and Rubin 1977; restricted as by Laird and Ware 1982), with an inverse-gamma prior.

Weights of pixels are those of Geman and McClure, (1 + r²)⁻², whose scale falls at first.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from dynapoint.geometry.sim3 import (
    adjoint,
    cross_matrix,
    exp_sim3,
    invert_similarity,
    log_sim3,
    scale_of,
)
from dynapoint.windows.shared_pixels import SharedPixels

# How far rays (radians) and logarithms of distance may be apart from pixel to pixel.
_LEAST_SIGMA = np.array([2e-4, 1e-3])
_MOST_SIGMA = np.array([0.012, 0.12])
# Of absolute normal values 35 % are less than this; of lengths of two, less than that. Half of the
# pixels may be wrong.
_QUANTILE, _QUANTILE_OF_SIGMA = 0.35, np.array([0.928, 0.454])
# Errors of depth are smooth over a picture: of its cells only one in this many tells more.
_CELLS_PER_DEPTH_ERROR = 4.0
# Pixels are thought wrong from about this many sigmas on.
_KERNEL = 4.0
_KERNEL_SCALES = (8.0, 4.0, 2.0)
_ITERATIONS = 25
_CONVERGED = 1e-8
# Cameras of frames by themselves: radians, and lengths in typical distances of the scene.
_CAMERA_SIGMA = np.array([0.005, 0.005, 0.005, 0.01, 0.01, 0.01])
_CAMERA_KERNEL = 3.0
# A frame's own error before anything is known: rotation, translation, scale; and how many
# numbers that knowledge counts for.
_PRIOR_SPREAD = np.array([0.004, 0.008, 0.02])
_PRIOR_NUMBERS = np.array([3.0, 3.0, 2.0])
_SPREADS = np.array([0, 0, 0, 1, 1, 1, 2])
_LARGEST_STEP = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """The best similarity, and how sure it is.

    Attributes:
        first_from_second: In the units of the pixels given.
        information: Of its right perturbation, as `registration.Registration` says.
        angle_rad: Between the two rays of each pixel.
        log_distance: By how much the second window's distance is larger.
        ray_left: What remains of these angles without the error that is common to a frame.
        distance_left: The same of the distances, without a sign.
        sigma: Of both, from pixel to pixel of a frame.
    """

    first_from_second: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "7 7"]
    angle_rad: Float64[np.ndarray, " pixel"]
    log_distance: Float64[np.ndarray, " pixel"]
    ray_left: Float64[np.ndarray, " pixel"]
    distance_left: Float64[np.ndarray, " pixel"]
    sigma: Float64[np.ndarray, "2"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Residuals:
    """Of pixels, seen from the first window's cameras.

    Attributes:
        ray: The chord of the unit sphere between the two rays, which larger angles make longer.
        distance: Of the logarithms of distance, second less first.
        there: The second window's rays.
        nearness: The inverse of its distances.
        local: First-from-second of each frame's two cameras, with the scale.
    """

    ray: Float64[np.ndarray, "pixel xyz=3"]
    distance: Float64[np.ndarray, " pixel"]
    there: Float64[np.ndarray, "pixel xyz=3"]
    nearness: Float64[np.ndarray, " pixel"]
    local: Float64[np.ndarray, "frame 4 4"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Normal:
    """Normal matrices and gradients of frames in left perturbations of their own cameras."""

    matrix: Float64[np.ndarray, "frame 7 7"]
    gradient: Float64[np.ndarray, "frame 7"]
    carry: Float64[np.ndarray, "frame 7 7"]

    def joint(
        self, spread: Float64[np.ndarray, "3"]
    ) -> tuple[Float64[np.ndarray, "7 7"], Float64[np.ndarray, " 7"]]:
        """Both for the left perturbation of the similarity, frames' own errors taken out."""
        variance = (spread**2)[_SPREADS]
        shrink = np.linalg.inv(np.eye(7) + self.matrix * variance)
        carried = self.carry.transpose(0, 2, 1) @ shrink
        joint = (carried @ self.matrix @ self.carry).sum(axis=0)
        return 0.5 * (joint + joint.T), (carried @ self.gradient[..., None]).sum(axis=0)[:, 0]


def _residuals(pixels: SharedPixels, matrix: Float64[np.ndarray, "4 4"]) -> _Residuals:
    """How far off points of the second window are, seen from the first window's cameras."""
    local = invert_similarity(pixels.first_camera) @ matrix @ pixels.second_camera
    ours = local[pixels.frame]
    moved = (ours[:, :3, :3] @ pixels.second[..., None])[..., 0] + ours[:, :3, 3]
    length = np.maximum(np.linalg.norm(moved, axis=-1), 1e-12)
    wanted = np.linalg.norm(pixels.first, axis=-1)
    there = moved / length[:, None]
    return _Residuals(
        ray=there - pixels.first / wanted[:, None],
        distance=np.log(length) - np.log(wanted),
        there=there,
        nearness=1 / length,
        local=local,
    )


def fit(pixels: SharedPixels, start: Float64[np.ndarray, "4 4"]) -> Fit:
    """Refine a start. Lengths of both windows must be in units of typical distances."""
    matrix, spread = start, _PRIOR_SPREAD
    own = np.zeros((len(pixels.first_camera), 7))
    residual = _residuals(pixels, matrix)
    sigma = _sigmas(residual, pixels, own)
    worth = _worth(pixels)
    for iteration in range(_ITERATIONS):
        last = iteration >= len(_KERNEL_SCALES)
        weight = _weights(residual, pixels, own, sigma, 1.0 if last else _KERNEL_SCALES[iteration])
        normal = _normal(residual, pixels, worth * weight[:, None], sigma)
        joint, gradient = normal.joint(spread)
        step = _solved(joint, -gradient)
        step *= min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        matrix = exp_sim3(step) @ matrix
        spread, own = _spreads(normal, step, spread)
        residual = _residuals(pixels, matrix)
        sigma = _sigmas(residual, pixels, own)
        if last and np.abs(step).max() < _CONVERGED:
            break
    weight = _weights(residual, pixels, own, sigma, 1.0)
    normal = _normal(residual, pixels, worth * weight[:, None], sigma)
    joint, _ = normal.joint(spread)
    right = adjoint(matrix)
    left = _without_own(residual, pixels, own)
    information = right.T @ joint @ right * _independence(own / spread[_SPREADS])
    return Fit(
        first_from_second=matrix,
        information=0.5 * (information + information.T),
        angle_rad=2 * np.arcsin(np.minimum(np.linalg.norm(residual.ray, axis=-1) / 2, 1.0)),
        log_distance=residual.distance,
        ray_left=left[0],
        distance_left=left[1],
        sigma=sigma,
    )


def _solved(
    matrix: Float64[np.ndarray, "7 7"], right: Float64[np.ndarray, " 7"]
) -> Float64[np.ndarray, " 7"]:
    """The smallest solution, where some directions are not known at all."""
    scale = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-12))
    return np.asarray(
        scale * (np.linalg.pinv(matrix * scale * scale[:, None], rcond=1e-12) @ (scale * right))
    )


def _worth(pixels: SharedPixels) -> Float64[np.ndarray, "pixel 2"]:
    """As how many measurements of rays and of distances a pixel counts."""
    total = np.bincount(pixels.frame, pixels.weight, minlength=len(pixels.covered))
    share = pixels.covered / np.maximum(total, 1e-30)
    rays = share[pixels.frame] * pixels.weight
    return np.stack([rays, rays / _CELLS_PER_DEPTH_ERROR], axis=-1)


def _without_own(
    residual: _Residuals, pixels: SharedPixels, own: Float64[np.ndarray, "frame 7"]
) -> tuple[Float64[np.ndarray, " pixel"], Float64[np.ndarray, " pixel"]]:
    """Lengths of residuals of rays and of distances, the frames' own errors taken away."""
    ours = own[pixels.frame]
    shift = residual.nearness[:, None] * ours[:, 3:6]
    along = (residual.there * shift).sum(axis=-1)
    ray = np.cross(ours[:, :3], residual.there) + shift - along[:, None] * residual.there
    distance = residual.distance + along + ours[:, 6]
    return np.linalg.norm(residual.ray + ray, axis=-1), np.abs(distance)


def _sigmas(
    residual: _Residuals, pixels: SharedPixels, own: Float64[np.ndarray, "frame 7"]
) -> Float64[np.ndarray, "2"]:
    if not len(pixels.frame):
        return _MOST_SIGMA
    found = [np.quantile(values, _QUANTILE) for values in _without_own(residual, pixels, own)]
    return np.clip(np.array(found) / _QUANTILE_OF_SIGMA, _LEAST_SIGMA, _MOST_SIGMA)


def _weights(
    residual: _Residuals,
    pixels: SharedPixels,
    own: Float64[np.ndarray, "frame 7"],
    sigma: Float64[np.ndarray, "2"],
    scale: float,
) -> Float64[np.ndarray, " pixel"]:
    ray, distance = _without_own(residual, pixels, own)
    square = (ray / sigma[0]) ** 2 + (distance / sigma[1]) ** 2
    return (1 + square / (scale * _KERNEL) ** 2) ** -2


def _normal(
    residual: _Residuals,
    pixels: SharedPixels,
    weight: Float64[np.ndarray, "pixel 2"],
    sigma: Float64[np.ndarray, "2"],
) -> _Normal:
    there, near = residual.there, residual.nearness[:, None]
    rows = np.zeros((len(there), 4, 8))
    rows[:, :3, :3] = -cross_matrix(there)
    rows[:, :3, 3:6] = near[..., None] * (np.eye(3) - there[:, :, None] * there[:, None])
    rows[:, :3, 7] = residual.ray
    rows[:, 3, 3:6] = near * there
    rows[:, 3, 6] = 1.0
    rows[:, 3, 7] = residual.distance
    rows[:, :3] *= np.sqrt(weight[:, 0])[:, None, None] / sigma[0]
    rows[:, 3] *= np.sqrt(weight[:, 1])[:, None] / sigma[1]
    gram = np.zeros((len(pixels.covered), 8, 8))
    for frame in range(len(gram)):
        ours = rows[pixels.frame == frame].reshape(-1, 8)
        gram[frame] = ours.T @ ours
    gram += _camera_gram(residual.local)
    return _Normal(
        matrix=gram[:, :7, :7],
        gradient=gram[:, :7, 7],
        carry=adjoint(invert_similarity(pixels.first_camera)),
    )


def _camera_gram(local: Float64[np.ndarray, "frame 4 4"]) -> Float64[np.ndarray, "frame 8 8"]:
    """Of the cameras by themselves: the second one's rotation and centre are the first one's."""
    rigid = local.copy()
    rigid[:, :3, :3] /= scale_of(local)[:, None, None]
    centre = local[:, :3, 3]
    rows = np.zeros((len(local), 6, 8))
    rows[:, :3, :3] = np.eye(3)
    rigid[:, :3, 3] = 0
    rows[:, :3, 7] = log_sim3(rigid)[:, :3]
    rows[:, 3:, :3] = -cross_matrix(centre)
    rows[:, 3:, 3:6] = np.eye(3)
    rows[:, 3:, 6] = centre
    rows[:, 3:, 7] = centre
    rows /= _CAMERA_SIGMA[:, None]
    square = (rows[:, :, 7] ** 2).sum(axis=1)
    rows /= (1 + square / (6 * _CAMERA_KERNEL**2))[:, None, None]
    return np.asarray(rows.transpose(0, 2, 1) @ rows)


def _spreads(
    normal: _Normal, step: Float64[np.ndarray, " 7"], spread: Float64[np.ndarray, "3"]
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "frame 7"]]:
    """Spreads of frames' own errors, and what these errors are, after a step."""
    carried = (normal.carry @ step[:, None])[..., 0]
    gradient = normal.gradient + (normal.matrix @ carried[..., None])[..., 0]
    frames = len(normal.matrix)
    own = np.zeros((frames, 7))
    for _ in range(4):
        joint, _ = normal.joint(spread)
        covariance = normal.carry @ np.linalg.pinv(joint, hermitian=True, rcond=1e-10)
        covariance = covariance @ normal.carry.transpose(0, 2, 1)
        left = np.linalg.inv(normal.matrix + np.diag(spread[_SPREADS] ** -2.0))
        own = -(left @ gradient[..., None])[..., 0]
        gain = left @ normal.matrix
        variance = left + gain @ covariance @ gain.transpose(0, 2, 1)
        square = (own**2 + np.diagonal(variance, axis1=1, axis2=2)).sum(axis=0)
        total = _PRIOR_NUMBERS * _PRIOR_SPREAD**2 + np.bincount(_SPREADS, square)
        spread = np.sqrt(total / (_PRIOR_NUMBERS + frames * np.bincount(_SPREADS)))
    return spread, own


def _independence(own: Float64[np.ndarray, "frame 7"]) -> float:
    """Which share of the frames counts, if each one's own error resembles the one's before.

    (1 − ρ)/(1 + ρ) for a correlation ρ of neighbours (Bayley and Hammersley 1946); 1 for fewer than
    four frames.
    """
    if len(own) < 4:
        return 1.0
    square = float((own**2).mean())
    alike = float((own[1:] * own[:-1]).mean()) / max(square, 1e-30)
    alike = min(max(alike, 0.0), 0.8)
    return (1 - alike) / (1 + alike)
