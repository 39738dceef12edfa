"""Distortion of lenses: against OpenCV, and inverse to itself."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynapoint.geometry.distortion import COEFFICIENTS, DistortedLens, Distortion

WIDTH, HEIGHT = 640, 480


def random_distortion(rng, model):
    """Coefficients as real lenses have them."""
    if model == "fisheye":
        return Distortion.of("fisheye", rng.normal(0, [0.03, 0.02, 0.01, 0.005]).tolist())
    count = int(rng.choice([4, 5, 8]))
    spread = np.array([0.15, 0.05, 0.003, 0.003, 0.02, 0.1, 0.02, 0.005])
    return Distortion.of("opencv", (rng.normal(size=8) * spread)[:count].tolist())


def random_lens(rng, model):
    focal = rng.uniform(0.6, 2.0) * WIDTH
    matrix = np.array(
        [
            [focal, 0, WIDTH * rng.uniform(0.4, 0.6)],
            [0, focal * rng.uniform(0.9, 1.1), HEIGHT * rng.uniform(0.4, 0.6)],
            [0, 0, 1],
        ]
    )
    return matrix, DistortedLens.of(matrix, random_distortion(rng, model))


def by_opencv(lens, matrix, xy):
    """Where OpenCV sees places of the undistorted picture, in its own pixels (centres at 0)."""
    rays = (xy - matrix[:2, 2]) / matrix[[0, 1], [0, 1]]
    points = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)[:, None]
    coefficients = np.array(lens.distortion.coefficients)
    zero = np.zeros(3)
    if lens.distortion.model == "fisheye":
        return cv2.fisheye.projectPoints(points, zero, zero, matrix, coefficients)[0][:, 0]
    return cv2.projectPoints(points, zero, zero, matrix, coefficients)[0][:, 0]


@pytest.mark.parametrize("model", COEFFICIENTS)
@pytest.mark.parametrize("seed", range(20))
def test_forward_is_opencv_s(model, seed):
    rng = np.random.default_rng(seed)
    matrix, lens = random_lens(rng, model)
    xy = rng.uniform(0, [WIDTH, HEIGHT], (200, 2))
    found = lens.distorted(xy)
    known = np.isfinite(found).all(axis=1)
    assert known.mean() > 0.5
    assert np.abs(found - by_opencv(lens, matrix, xy))[known].max() < 1e-8


@pytest.mark.parametrize("model", COEFFICIENTS)
@pytest.mark.parametrize("seed", range(100))
def test_undistorting_is_the_inverse(model, seed):
    rng = np.random.default_rng(1000 + seed)
    _, lens = random_lens(rng, model)
    if lens.fold_px((HEIGHT, WIDTH)) is not None:
        return
    xy = rng.uniform(0, [WIDTH, HEIGHT], (500, 2))
    straight = lens.undistorted(xy)
    assert np.isfinite(straight).all()
    assert np.abs(lens.distorted(straight) - xy).max() < 1e-9
    inside = lens.distorted(xy)
    inside = inside[np.isfinite(inside).all(axis=1)]
    again = lens.distorted(lens.undistorted(inside))
    assert np.abs(again - inside).max() < 1e-9


def test_most_random_lenses_do_not_fold():
    rng = np.random.default_rng(5)
    for model in COEFFICIENTS:
        kept = [random_lens(rng, model)[1].fold_px((HEIGHT, WIDTH)) is None for _ in range(100)]
        assert 60 < sum(kept)


@settings(max_examples=60, deadline=None)
@given(st.floats(-0.3, -0.02), st.floats(0.3, 3.0))
def test_barrel_folds_where_its_derivative_ends(k1, side):
    # r (1 + k1 r^2) ends growing at r = sqrt(-1 / 3 k1), where it is 2/3 of that.
    lens = DistortedLens.of(
        np.array([[500.0, 0, 500 * side / 2], [0, 500.0, 500 * side / 2], [0, 0, 1]]),
        Distortion.of("opencv", [k1, 0, 0, 0]),
    )
    reach = (-1 / (3 * k1)) ** 0.5
    assert np.isclose(lens.distortion.reach, reach, rtol=1e-6)
    fold = lens.fold_px((round(500 * side), round(500 * side)))
    corner = round(500 * side) / 2**0.5
    if corner > 500 * reach * 2 / 3 * 1.01:
        assert np.isclose(fold, 500 * reach * 2 / 3, rtol=1e-6)
    elif corner < 500 * reach * 2 / 3 * 0.99:
        assert fold is None


def test_rays_beyond_the_fold_and_pixels_that_no_ray_meets_are_nan():
    bent = Distortion.of("opencv", [-0.3, 0, 0, 0])
    assert np.isnan(bent.distort(np.array([[bent.reach * 1.001, 0.0]]))).all()
    assert np.isfinite(bent.distort(np.array([[bent.reach * 0.999, 0.0]]))).all()
    assert np.isnan(bent.undistort(np.array([[bent.radius_at_reach * 1.001, 0.0]]))).all()
    assert np.isnan(bent.undistort(np.array([[np.nan, 0.0], [np.inf, 0.0]]))).all()
    # A fisheye sees beyond a right angle, which no undistorted picture shows.
    fisheye = Distortion.of("fisheye", [0, 0, 0, 0])
    assert np.isfinite(fisheye.undistort(np.array([[1.5, 0.0]]))).all()
    assert np.isnan(fisheye.undistort(np.array([[1.6, 0.0]]))).all()


def test_a_fisheye_without_coefficients_is_the_angle():
    rays = np.random.default_rng(0).normal(size=(100, 2)) * np.geomspace(1e-9, 5, 100)[:, None]
    length = np.linalg.norm(rays, axis=1, keepdims=True)
    found = Distortion.of("fisheye", []).distort(rays)
    assert np.allclose(found, rays / length * np.arctan(length), rtol=1e-12, atol=0)


def test_a_pole_of_the_rational_model_is_a_fold():
    # 1 / (1 - r^2) grows without end towards r = 1.
    lens = Distortion.of("opencv", [0, 0, 0, 0, 0, -1.0])
    assert lens.reach <= 1.0
    found = lens.undistort(np.array([[5.0, 0.0]]))
    assert np.allclose(lens.distort(found), [[5.0, 0.0]])


@pytest.mark.parametrize("model", COEFFICIENTS)
def test_slopes_are_the_derivatives(model):
    rng = np.random.default_rng(3)
    lens = random_distortion(rng, model)
    rays = rng.uniform(-0.6, 0.6, (50, 2))
    step = 1e-6
    right, below = np.array([step, 0]), np.array([0, step])
    across, mixed, down = lens._slopes(rays)
    by_x = (lens._placed(rays + right) - lens._placed(rays - right)) / (2 * step)
    by_y = (lens._placed(rays + below) - lens._placed(rays - below)) / (2 * step)
    assert np.allclose(by_x, np.stack([across, mixed], axis=1), atol=1e-8)
    assert np.allclose(by_y, np.stack([mixed, down], axis=1), atol=1e-8)
