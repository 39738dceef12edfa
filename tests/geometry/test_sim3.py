"""Sim(3) against SciPy's matrix exponential and logarithm, and finite differences."""

import numpy as np
import pytest
from scipy.linalg import expm, logm

from dynapoint.geometry.sim3 import (
    adjoint,
    exp_sim3,
    inverse_right_jacobian,
    invert_similarity,
    log_sim3,
    scale_of,
)

_ANGLES = (0.0, 1e-12, 1e-7, 1e-4, 0.03, 1.0, 2.5, 3.1)
_ZOOMS = (0.0, 1e-12, -1e-6, 0.01, -0.7, 2.0)


def tangents(seed: int = 0) -> np.ndarray:
    """Of all pairs of small and large angles and scales, with random directions."""
    rng = np.random.default_rng(seed)
    found = []
    for angle in _ANGLES:
        for zoom in _ZOOMS:
            axis = rng.normal(size=3)
            shift = rng.normal(size=3) * 10.0 ** rng.uniform(-3, 2)
            found.append(np.r_[angle * axis / np.linalg.norm(axis), shift, zoom])
    return np.array(found)


def generator(tangent: np.ndarray) -> np.ndarray:
    """The matrix of a tangent vector, written out."""
    x, y, z, *shift, zoom = tangent
    turn = np.array([[zoom, -z, y], [z, zoom, -x], [-y, x, zoom]])
    return np.vstack([np.column_stack([turn, shift]), np.zeros(4)])


def test_exponential_is_that_of_the_matrix():
    for tangent, found in zip(tangents(), exp_sim3(tangents()), strict=True):
        wanted = expm(generator(tangent))
        assert np.abs(found - wanted).max() < 1e-9 * max(1, np.abs(wanted).max())


def test_logarithm_is_that_of_the_matrix():
    for tangent in tangents(1):
        matrix = expm(generator(tangent))
        wanted = np.real(logm(matrix))
        found = generator(log_sim3(matrix))
        assert np.abs(found - wanted).max() < 1e-9 * max(1, np.abs(tangent).max())


def test_logarithm_undoes_the_exponential_in_batches():
    given = tangents(2).reshape(len(_ANGLES), len(_ZOOMS), 7)
    np.testing.assert_allclose(log_sim3(exp_sim3(given)), given, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_half_turns_have_a_logarithm(seed):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    tangent = np.r_[np.pi * axis / np.linalg.norm(axis), rng.normal(size=3), 0.3]
    matrix = exp_sim3(tangent)
    np.testing.assert_allclose(exp_sim3(log_sim3(matrix)), matrix, atol=1e-9)


def test_inverse_and_scale():
    matrices = exp_sim3(tangents(3))
    np.testing.assert_allclose(invert_similarity(matrices), np.linalg.inv(matrices), atol=1e-9)
    np.testing.assert_allclose(np.log(scale_of(matrices)), tangents(3)[:, 6], atol=1e-12)


def test_adjoint_moves_tangents_through():
    rng = np.random.default_rng(4)
    matrices = exp_sim3(tangents(4))
    small = rng.normal(size=(len(matrices), 7)) * 0.3
    moved = exp_sim3(np.einsum("nij,nj->ni", adjoint(matrices), small)) @ matrices
    np.testing.assert_allclose(moved, matrices @ exp_sim3(small), rtol=1e-9, atol=1e-9)


def test_jacobian_is_the_finite_difference():
    step = 1e-6
    for tangent in tangents(5):
        tangent[3:6] /= max(1, np.abs(tangent[3:6]).max())
        if np.linalg.norm(tangent[:3]) > 3:
            tangent[:3] *= 0.9
        matrix = exp_sim3(tangent)
        ends = [log_sim3(matrix @ exp_sim3(sign * step * np.eye(7))) for sign in (1, -1)]
        wanted = ((ends[0] - ends[1]) / (2 * step)).T
        np.testing.assert_allclose(inverse_right_jacobian(tangent), wanted, atol=1e-7, rtol=1e-7)
