"""Bundle adjustment and depths against dense linear algebra, brute force and exact scenes."""

from dataclasses import replace

import numpy as np
import pytest

from dynapoint.refinement import adjustment
from dynapoint.refinement.adjustment import (
    Freedom,
    Plan,
    adjust,
    cost_of,
    lens_information,
    residuals_px,
    turn_sigmas_rad,
)
from dynapoint.refinement.depths import solve_depths
from dynapoint.refinement.lens import LENS_SIGMA, free_lens
from dynapoint.refinement.views import Views, rigid_places, rotation_from_vector
from refinement_cases import angle_deg, exact_problem

SCALE = 2.0


def moved(views, step):
    """Views after a step of all poses, the lens and all depths, in this order."""
    frames, pixels = views.log_depth.shape
    by_frame = step[: 6 * frames].reshape(frames, 6)
    poses = views.camera_from_world.copy()
    poses[:, :3] = rotation_from_vector(by_frame[:, :3]) @ poses[:, :3]
    poses[:, :3, 3] += by_frame[:, 3:]
    return Views(
        camera_from_world=poses,
        log_lens=views.log_lens + step[6 * frames],
        log_depth=views.log_depth + step[6 * frames + 1 :].reshape(frames, pixels),
    )


def off_start(views, seed=1, size=0.03):
    rng = np.random.default_rng(seed)
    frames, pixels = views.log_depth.shape
    step = size * rng.normal(size=6 * frames + 1 + frames * pixels)
    step[:6] = 0
    return moved(views, step)


def dense(problem, views, robust):
    """Hessian (Gauss-Newton) and gradient over all unknowns from numeric derivatives."""
    frames, pixels = views.log_depth.shape
    count = 6 * frames + 1 + frames * pixels
    columns = []
    for axis in np.eye(count):
        there, back = (
            adjustment._residuals(problem, moved(views, sign * 1e-6 * axis)).off for sign in (1, -1)
        )
        columns.append((there - back).ravel() / 2e-6)
    jacobian = np.stack(columns, axis=1)
    off = adjustment._residuals(problem, views).off
    falling = 1 / (1 + (off**2).sum(axis=0) / SCALE**2)
    weight = problem.weight * (falling if robust == "cauchy" else falling**2)
    heavy = np.broadcast_to(weight, off.shape).ravel()
    hessian = jacobian.T @ (heavy[:, None] * jacobian)
    gradient = jacobian.T @ (heavy * off.ravel())
    depths = np.arange(6 * frames + 1, count)
    hessian[depths, depths] += problem.depth_sigma**-2
    change = (views.log_depth - problem.prior_log_depth).ravel()
    gradient[depths] += change * problem.depth_sigma**-2
    hessian[6 * frames, 6 * frames] += problem.lens_sigma**-2
    gradient[6 * frames] += views.log_lens * problem.lens_sigma**-2
    return hessian, gradient


@pytest.mark.parametrize("robust", ["geman", "cauchy"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_reduced_system_is_the_schur_complement(robust, seed):
    views, problem = exact_problem(3, 12, seed=seed)
    views = off_start(views)
    hessian, gradient = dense(problem, views, robust)
    _, terms = adjustment._linearised(problem, views, SCALE, robust)
    found, found_gradient = adjustment._reduced(problem, views, terms, 0.0)
    poses = 6 * 3 + 1
    taken = np.linalg.solve(hessian[poses:, poses:], hessian[poses:, :poses])
    wanted = hessian[:poses, :poses] - hessian[:poses, poses:] @ taken
    wanted_gradient = gradient[:poses] - taken.T @ gradient[poses:]
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max())
    scale = np.abs(wanted_gradient).max()
    np.testing.assert_allclose(found_gradient, wanted_gradient, atol=1e-6 * scale)


@pytest.mark.parametrize("robust", ["geman", "cauchy"])
def test_gradients_are_those_of_the_cost(robust):
    views, problem = exact_problem(3, 8)
    views = off_start(views)
    _, gradient = dense(problem, views, robust)
    for axis in np.eye(len(gradient))[:30]:
        there, back = (
            cost_of(problem, moved(views, sign * 1e-5 * axis), SCALE, robust) for sign in (1, -1)
        )
        numeric = (there - back) / 2e-5
        assert abs(numeric - axis @ gradient) < 1e-4 * np.abs(gradient).max()


def test_a_step_solves_the_whole_linear_system():
    views, problem = exact_problem(3, 12)
    views = off_start(views, size=1e-3)
    hessian, gradient = dense(problem, views, "cauchy")
    free = np.ones(len(gradient), dtype=bool)
    free[:6] = False
    wanted = np.zeros(len(gradient))
    wanted[free] = -np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
    _, terms = adjustment._linearised(problem, views, SCALE, "cauchy")
    stepped = adjustment._stepped(problem, views, terms, 0.0, Freedom(lens=True))
    expected = moved(views, wanted)
    np.testing.assert_allclose(stepped.camera_from_world, expected.camera_from_world, atol=1e-7)
    np.testing.assert_allclose(stepped.log_depth, expected.log_depth, atol=1e-6)
    assert abs(stepped.log_lens - expected.log_lens) < 1e-7


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exact_matches_bring_back_cameras_lens_and_depth(dtype):
    truth, problem = exact_problem(5, 80, dtype=dtype)
    rng = np.random.default_rng(2)
    # A tenth of the matches are wrong by far.
    places = problem.place_px.copy()
    wrong = rng.random(places.shape[:3]) < 0.1
    places[wrong] += rng.uniform(-60, 60, size=places[wrong].shape)
    problem = replace(problem, place_px=places, lens_sigma=10.0, depth_sigma=0.6)
    start = off_start(truth, size=0.02)
    start = replace(start, log_lens=0.0, log_depth=truth.log_depth)
    plan = Plan(iterations=30, first_px=8.0, last_px=0.5)
    found = adjust(problem, start, plan, Freedom(lens=True))
    assert angle_deg(found.camera_from_world, truth.camera_from_world).max() < 0.02
    assert abs(found.log_lens - truth.log_lens) < 2e-3
    assert np.abs(found.log_depth - truth.log_depth).mean() < 0.02
    again = adjust(problem, start, plan, Freedom(lens=True))
    assert np.array_equal(found.camera_from_world, again.camera_from_world)
    assert np.array_equal(found.log_depth, again.log_depth)


def test_what_is_not_free_does_not_change():
    truth, problem = exact_problem()
    start = off_start(truth)
    plan = Plan(iterations=5, first_px=4.0, last_px=2.0)
    found = adjust(problem, start, plan, Freedom(poses=False))
    assert np.array_equal(found.camera_from_world, start.camera_from_world)
    assert found.log_lens == start.log_lens
    assert not np.array_equal(found.log_depth, start.log_depth)
    found = adjust(problem, start, plan, Freedom())
    assert np.array_equal(found.camera_from_world[0], start.camera_from_world[0])


def test_lens_information_is_that_of_a_dense_inverse():
    truth, problem = exact_problem(3, 12)
    hessian, _ = dense(replace(problem, lens_sigma=1e9), truth, "cauchy")
    spread = np.linalg.inv(hessian[6:, 6:])
    found = lens_information(problem, truth, SCALE)
    assert found == pytest.approx(1 / spread[12, 12], rel=1e-3)
    hessian, _ = dense(problem, truth, "cauchy")
    spread = np.diag(np.linalg.inv(hessian[6:, 6:]))
    sigmas = turn_sigmas_rad(problem, truth, SCALE)
    wanted = np.sqrt(spread[:12].reshape(2, 6)[:, :3].sum(axis=1))
    np.testing.assert_allclose(sigmas[1:], wanted, rtol=1e-3)
    assert sigmas[0] == 0


def test_a_lens_is_joined_with_its_prior_by_variances():
    truth, problem = exact_problem(5, 80, log_lens=0.2)
    problem = replace(problem, depth_sigma=0.6)
    start = replace(truth, log_lens=0.0)
    start = adjust(problem, start, Plan(iterations=10, first_px=4.0, last_px=1.0), Freedom())
    kept = free_lens(problem, start, explained=0.3)
    assert kept.views is start and kept.sigma == LENS_SIGMA
    sure, doubtful = (free_lens(problem, start, explained=share) for share in (1.0, 0.65))
    assert abs(sure.views.log_lens - 0.2) < abs(doubtful.views.log_lens - 0.2)
    assert sure.sigma < doubtful.sigma < LENS_SIGMA


@pytest.mark.parametrize(
    ("pixels", "log_lens", "taken"), [(40, 0.5, True), (40, 0.9, False), (400, 0.9, True)]
)
def test_a_lens_far_from_its_prior_has_to_be_told_firmly(pixels, log_lens, taken):
    truth, problem = exact_problem(5, pixels, log_lens=log_lens)
    problem = replace(problem, depth_sigma=0.6)
    start = replace(truth, log_lens=0.0)
    start = adjust(problem, start, Plan(iterations=10, first_px=4.0, last_px=1.0), Freedom())
    freed = free_lens(problem, start, explained=1.0)
    if taken:
        assert abs(freed.views.log_lens - log_lens) < 0.1 * log_lens and freed.sigma < 0.1
    else:
        assert freed.views is start and freed.sigma == LENS_SIGMA


def test_points_behind_a_camera_are_not_seen():
    truth, problem = exact_problem(2, 10)
    poses = truth.camera_from_world.copy()
    poses[1, 2, 3] = -100.0
    off = residuals_px(problem, replace(truth, camera_from_world=poses))
    assert np.isinf(off[0][problem.target[0] == 1]).all()
    assert np.isfinite(cost_of(problem, replace(truth, camera_from_world=poses), 1.0, "geman"))


@pytest.mark.parametrize("robust", ["geman", "cauchy"])
def test_depths_are_those_of_a_search(robust):
    truth, problem = exact_problem(3, 30, dtype=np.float32)
    rng = np.random.default_rng(3)
    prior = truth.log_depth + 0.15 * rng.normal(size=truth.log_depth.shape)
    problem = replace(problem, prior_log_depth=prior)
    plan = Plan(iterations=25, first_px=8.0, last_px=1.0, robust=robust)
    found = solve_depths(problem, replace(truth, log_depth=prior), plan)
    for frame, pixel in ((0, 3), (1, 7), (2, 20)):
        tried = np.linspace(-0.6, 0.6, 2401) + truth.log_depth[frame, pixel]
        costs = []
        for value in tried:
            log_depth = prior.copy()
            log_depth[frame, pixel] = value
            at = replace(truth, log_depth=log_depth)
            costs.append(cost_of(problem, at, 1.0, robust))
        assert abs(found.log_depth[frame, pixel] - tried[np.argmin(costs)]) < 2e-3


def test_information_is_the_curvature_of_the_matches():
    truth, problem = exact_problem(3, 30, dtype=np.float32)
    plan = Plan(iterations=3, first_px=1.0, last_px=1.0)
    found = solve_depths(problem, truth, plan)
    step = 1e-3
    there, back = (
        rigid_places(
            replace(truth, log_depth=truth.log_depth + sign * step),
            problem.normal,
            problem.lens,
            problem.target,
        )[0]
        for sign in (1, -1)
    )
    by_depth = ((there - back) / (2 * step)) ** 2
    wanted = (by_depth.sum(axis=-1) * problem.weight).sum(axis=1)
    np.testing.assert_allclose(found.information, wanted, rtol=2e-2)
    bare = replace(problem, weight=np.zeros_like(problem.weight))
    assert not solve_depths(bare, truth, plan).information.any()


def test_pixels_without_matches_keep_their_prior():
    truth, problem = exact_problem(3, 30, dtype=np.float32)
    bare = replace(problem, weight=np.zeros_like(problem.weight))
    found = solve_depths(bare, truth, Plan(iterations=5, first_px=4.0, last_px=1.0))
    np.testing.assert_allclose(found.log_depth, truth.log_depth, atol=1e-6)
    alone = replace(problem, target=np.tile(np.arange(3)[:, None], (1, 4)))
    found = solve_depths(alone, truth, Plan(iterations=2, first_px=2.0, last_px=1.0))
    np.testing.assert_allclose(found.log_depth, truth.log_depth, atol=1e-6)
