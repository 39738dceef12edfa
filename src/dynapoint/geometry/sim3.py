"""The group Sim(3) of similarities [s·R | t] and its tangent space, in NumPy and float64.

A tangent vector is [rotation (3), translation (3), logarithm of the scale]. Its matrix is
[[ω]ₓ + σI, u; 0, 0], whose matrix exponential is the similarity (Strasdat, Local Accuracy and
Global Consistency for Efficient Visual SLAM, 2012, section 2.4.3). A right perturbation of T is
T·exp(ξ), a left one exp(ξ)·T.
"""

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

# Terms that the power series of φ needs for matrices of norm 1/2: 2⁻¹⁵/16! is below rounding.
_TERMS = 15


def exp_sim3(tangent: Float64[np.ndarray, "*batch 7"]) -> Float64[np.ndarray, "*batch 4 4"]:
    """The similarities of tangent vectors."""
    turn, shift, zoom = tangent[..., :3], tangent[..., 3:6], tangent[..., 6]
    linear = cross_matrix(turn) + zoom[..., None, None] * np.eye(3)
    matrix = np.zeros((*tangent.shape[:-1], 4, 4))
    rotation = Rotation.from_rotvec(turn.reshape(-1, 3)).as_matrix().reshape(linear.shape)
    matrix[..., :3, :3] = np.exp(zoom)[..., None, None] * rotation
    matrix[..., :3, 3] = (_phi(linear) @ shift[..., None])[..., 0]
    matrix[..., 3, 3] = 1.0
    return matrix


def log_sim3(matrix: Float64[np.ndarray, "*batch 4 4"]) -> Float64[np.ndarray, "*batch 7"]:
    """The tangent vectors of similarities, with rotations of at most half a turn."""
    scale = scale_of(matrix)
    rotation = matrix[..., :3, :3] / scale[..., None, None]
    tangent = np.empty((*matrix.shape[:-2], 7))
    turn = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec()
    tangent[..., :3] = turn.reshape(tangent[..., :3].shape)
    tangent[..., 6] = np.log(scale)
    linear = cross_matrix(tangent[..., :3]) + tangent[..., 6, None, None] * np.eye(3)
    tangent[..., 3:6] = np.linalg.solve(_phi(linear), matrix[..., :3, 3:])[..., 0]
    return tangent


def adjoint(matrix: Float64[np.ndarray, "*batch 4 4"]) -> Float64[np.ndarray, "*batch 7 7"]:
    """Ad of T, for which T·exp(ξ)·T⁻¹ = exp(Ad·ξ)."""
    linear, shift = matrix[..., :3, :3], matrix[..., :3, 3]
    rotation = linear / scale_of(matrix)[..., None, None]
    result = np.zeros((*matrix.shape[:-2], 7, 7))
    result[..., :3, :3] = rotation
    result[..., 3:6, :3] = cross_matrix(shift) @ rotation
    result[..., 3:6, 3:6] = linear
    result[..., 3:6, 6] = -shift
    result[..., 6, 6] = 1.0
    return result


def inverse_right_jacobian(
    tangent: Float64[np.ndarray, "*batch 7"],
) -> Float64[np.ndarray, "*batch 7 7"]:
    """The derivative of log(exp(ξ)·exp(δ)) by δ at 0: the inverse of φ(−ad ξ)."""
    turn, shift, zoom = tangent[..., :3], tangent[..., 3:6], tangent[..., 6]
    bracket = np.zeros((*tangent.shape[:-1], 7, 7))
    bracket[..., :3, :3] = cross_matrix(turn)
    bracket[..., 3:6, :3] = cross_matrix(shift)
    bracket[..., 3:6, 3:6] = cross_matrix(turn) + zoom[..., None, None] * np.eye(3)
    bracket[..., 3:6, 6] = -shift
    return np.linalg.inv(_phi(-bracket))


def invert_similarity(
    matrix: Float64[np.ndarray, "*batch 4 4"],
) -> Float64[np.ndarray, "*batch 4 4"]:
    """The inverse of similarities."""
    scale = scale_of(matrix)[..., None, None]
    result = np.zeros_like(matrix)
    result[..., :3, :3] = np.swapaxes(matrix[..., :3, :3], -1, -2) / scale**2
    result[..., :3, 3:] = -result[..., :3, :3] @ matrix[..., :3, 3:]
    result[..., 3, 3] = 1.0
    return result


def scale_of(matrix: Float64[np.ndarray, "*batch 4 4"]) -> Float64[np.ndarray, "*batch"]:
    """By how much similarities enlarge."""
    return np.asarray(np.cbrt(np.linalg.det(matrix[..., :3, :3])))


def cross_matrix(vector: Float64[np.ndarray, "*batch xyz=3"]) -> Float64[np.ndarray, "*batch 3 3"]:
    """The matrices that cross other vectors with these."""
    result = np.zeros((*vector.shape[:-1], 3, 3))
    for axis in range(3):
        after, last = (axis + 1) % 3, (axis + 2) % 3
        result[..., last, after] = vector[..., axis]
        result[..., after, last] = -vector[..., axis]
    return result


def _phi(matrix: Float64[np.ndarray, "*batch n n"]) -> Float64[np.ndarray, "*batch n n"]:
    """φ(A) = (exp(A) − 1)/A, the integral of exp(τA) over τ from 0 to 1, of any square matrices.

    A power series at A/2ᵏ, and k times φ(2A) = φ(A) + A·φ(A)²/2.
    """
    size = float(np.abs(matrix).sum(axis=-1).max(initial=0.0))
    doublings = max(0, int(np.ceil(np.log2(max(size, 1e-300) / 0.5))))
    small = matrix / 2.0**doublings
    unit = np.eye(matrix.shape[-1])
    result = np.broadcast_to(unit, matrix.shape)
    for power in range(_TERMS, 0, -1):
        result = unit + small @ result / (power + 1)
    for _ in range(doublings):
        result = result + 0.5 * small @ result @ result
        small = 2.0 * small
    return result
