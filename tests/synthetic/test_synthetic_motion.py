"""Deformations against what they promise."""

import numpy as np
import pytest

from dynapoint.synthetic import motion, shapes
from dynapoint.synthetic.bodies import deformed


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(8))


def _volume(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (positions[:, faces[:, k]] for k in range(3))
    return np.einsum("tfi,tfi->t", a, np.cross(b, c)) / 6


def test_bending_keeps_lengths_along_the_middle_and_spans_the_angle(rng) -> None:
    line = np.stack([np.zeros(201), np.zeros(201), np.linspace(-1, 1, 201)], -1)
    angles = rng.uniform(-2.0, 2.0, 5)
    bent = motion.bend(line, angles)
    steps = np.diff(bent, axis=1)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=2).sum(1), 2.0, rtol=1e-4)
    turned = np.arctan2(steps[..., 0], steps[..., 2])
    np.testing.assert_allclose(np.abs(turned[:, -1] - turned[:, 0]), np.abs(angles), rtol=0.02)


def test_twisting_turns_the_ends_against_each_other(rng) -> None:
    ends = np.array([[1.0, 0.0, -1.0], [1.0, 0.0, 1.0]])
    angles = rng.uniform(-2.0, 2.0, 5)
    twisted = motion.twist(ends, angles)
    around = np.arctan2(twisted[..., 1], twisted[..., 0])
    np.testing.assert_allclose(around[:, 1] - around[:, 0], angles, atol=1e-12)


def test_squashing_keeps_the_volume(rng) -> None:
    mesh = shapes.blob_mesh(rng, 6)
    squashed = motion.squash(mesh.vertices, np.array([-0.4, 0.0, 0.5]))
    np.testing.assert_allclose(_volume(squashed, mesh.faces), _volume(squashed, mesh.faces)[1])
    np.testing.assert_allclose(np.ptp(squashed[2, :, 2]), 1.5 * np.ptp(mesh.vertices[:, 2]))


def test_wobbling_and_swelling_point_by_point(rng) -> None:
    points = rng.normal(size=(7, 3))
    directions, amounts, phases = (rng.normal(size=(2, 3)) for _ in range(3))
    phases = phases.T  # three times, two waves
    wobbled = motion.wobble(points, phases, directions, amounts)
    centres, strengths = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    swollen = motion.swell(points, centres, strengths, 0.7)
    for t in range(3):
        for v, point in enumerate(points):
            moved = point + sum(
                amounts[k] * np.sin(directions[k] @ point - phases[t, k]) for k in range(2)
            )
            np.testing.assert_allclose(wobbled[t, v], moved)
            grown = point + sum(
                strengths[t, b] * np.exp(-0.5 * np.sum((point - centres[b]) ** 2) / 0.7**2)
                * (point - centres[b])
                for b in range(2)
            )  # fmt: skip
            np.testing.assert_allclose(swollen[t, v], grown)


def test_no_deformation_turns_a_body_inside_out_or_tears_it_away(rng) -> None:
    mesh = shapes.sphere_mesh(8)
    tau = np.linspace(0.0, 1.0, 6)
    at_rest = float(_volume(mesh.vertices[None], mesh.faces)[0])
    changed = 0
    for _ in range(80):
        moved = deformed(rng, mesh.vertices, tau)
        assert moved.shape == (6, len(mesh.vertices), 3)
        volumes = _volume(moved, mesh.faces)
        assert (volumes > 0.3 * at_rest).all()
        assert (volumes < 3.0 * at_rest).all()
        assert np.abs(moved).max() < 2.2
        changed += np.ptp(moved, axis=0).max() > 0.05
    assert changed > 70
