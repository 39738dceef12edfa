"""The parts of a step towards a pose, against differences, SciPy's rotations and its solver."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from dynapoint.geometry import arrays
from dynapoint.geometry.pinhole import project
from dynapoint.geometry.pose_from_points import (
    cauchy_weight,
    cross_matrix,
    moved_by,
    pose_equations,
)
from dynapoint.geometry.rigid import transform_points

POINTS = 40


def problem(seed: int, *batch: int) -> tuple[torch.Tensor, ...]:
    """Random poses (turned by up to 180 degrees), points before the cameras, pixels, weights."""
    rng = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (*batch, 1, 1))
    count = int(np.prod(batch))
    pose[..., :3, :3] = Rotation.random(count, random_state=seed).as_matrix().reshape(*batch, 3, 3)
    pose[..., :3, 3] = rng.normal(size=(*batch, 3))
    camera = rng.normal(size=(*batch, POINTS, 3))
    camera[..., 2] = 2 + rng.uniform(size=(*batch, POINTS)) * 3
    lens = np.tile(np.eye(3), (*batch, 1, 1))
    lens[..., 0, 0], lens[..., 1, 1] = 90 + rng.uniform(size=batch), 70 + rng.uniform(size=batch)
    lens[..., :2, 2] = rng.normal(size=(*batch, 2)) + 40
    world = (camera - pose[..., None, :3, 3]) @ pose[..., :3, :3]
    xy = rng.normal(size=(*batch, POINTS, 2)) * 20 + 40
    weight = rng.uniform(size=(*batch, POINTS))
    return tuple(torch.from_numpy(np.asarray(v)) for v in (pose, world, xy, weight, lens))


@pytest.mark.parametrize("seed", range(3))
def test_equations_are_those_of_the_derivatives(seed):
    pose, world, xy, weight, lens = problem(seed)

    def shown(motion: torch.Tensor) -> torch.Tensor:
        return project(transform_points(moved_by(motion, pose), world), lens)

    zero = torch.zeros(6, dtype=torch.float64)
    # Central differences: the formula of a turn has no derivative by autograd at no turn.
    steps = torch.eye(6, dtype=torch.float64) * 1e-5
    jacobian = torch.stack([(shown(s) - shown(-s)) / 2e-5 for s in steps], dim=-1).flatten(0, 1)
    weights = weight.repeat_interleave(2)[:, None]
    found = pose_equations(pose, world, xy, weight, lens)
    torch.testing.assert_close(
        found.normal, jacobian.T @ (weights * jacobian), rtol=1e-7, atol=1e-5
    )
    residual = (xy - shown(zero)).flatten()
    gradient = jacobian.T @ (weights[:, 0] * residual)
    torch.testing.assert_close(found.gradient, gradient, rtol=1e-7, atol=1e-4)


def test_batches_are_apart_and_what_is_not_before_the_camera_does_not_count():
    pose, world, xy, weight, lens = problem(5, 2, 3)
    found = pose_equations(pose, world, xy, weight, lens)
    one = pose_equations(pose[1, 2], world[1, 2], xy[1, 2], weight[1, 2], lens[1, 2])
    torch.testing.assert_close(found.normal[1, 2], one.normal, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(found.gradient[1, 2], one.gradient, rtol=1e-12, atol=1e-9)
    depth = transform_points(pose, world)[..., 2]
    near = depth < 3
    assert 0.1 < near.double().mean() < 0.9
    cut = pose_equations(pose, world, xy, weight, lens, least_depth=3.0)
    without = pose_equations(pose, world, xy, weight * ~near, lens)
    torch.testing.assert_close(cut.normal, without.normal)
    behind = pose.clone()
    behind[..., 2, :] *= -1
    assert not pose_equations(behind, world, xy, weight, lens).normal.any()


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.3, 3.0])
def test_motions_are_scipys_rotations(angle):
    rng = np.random.default_rng(7)
    axis = rng.normal(size=(4, 3))
    turn = axis / np.linalg.norm(axis, axis=1, keepdims=True) * angle
    shift = rng.normal(size=(4, 3))
    pose = problem(8, 4)[0].numpy()
    found = moved_by(
        torch.from_numpy(np.concatenate([turn, shift], axis=1)), torch.from_numpy(pose)
    )
    wanted = pose.copy()
    wanted[:, :3] = Rotation.from_rotvec(turn).as_matrix() @ pose[:, :3]
    wanted[:, :3, 3] += shift
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-14)
    v, w = axis[0], shift[1]
    np.testing.assert_allclose(
        cross_matrix(torch.from_numpy(v)).numpy() @ w, np.cross(v, w), atol=1e-15
    )


@pytest.mark.parametrize("seed", range(3))
def test_repeated_steps_end_where_scipys_solver_does(seed):
    pose, world, _, weight, lens = problem(seed)
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(POINTS, 2)))
    xy = project(transform_points(pose, world), lens) + noise
    found = moved_by(torch.tensor([0.05, -0.04, 0.03, 0.1, -0.1, 0.1]).double(), pose)
    for _ in range(20):
        equations = pose_equations(found, world, xy, weight, lens)
        found = moved_by(torch.linalg.solve(equations.normal, equations.gradient), found)

    def residuals(values: np.ndarray) -> np.ndarray:
        camera = world.numpy() @ Rotation.from_rotvec(values[:3]).as_matrix().T + values[3:]
        seen = camera @ lens.numpy().T
        off = seen[:, :2] / seen[:, 2:] - xy.numpy()
        return (np.sqrt(weight.numpy())[:, None] * off).ravel()

    turn = Rotation.from_matrix(pose[:3, :3].numpy()).as_rotvec()
    start = np.concatenate([turn, pose[:3, 3].numpy()])
    best = least_squares(residuals, start, xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    np.testing.assert_allclose(found[:3, :3], Rotation.from_rotvec(best[:3]).as_matrix(), atol=1e-8)
    np.testing.assert_allclose(found[:3, 3], best[3:], atol=1e-7)


def test_cauchy_weights_are_the_slope_of_their_cost():
    generator = torch.Generator().manual_seed(2)
    squared = torch.rand(3, 9, generator=generator, dtype=torch.float64) * 30
    prior = torch.rand(3, 9, generator=generator, dtype=torch.float64)
    scale = torch.rand(3, 1, generator=generator, dtype=torch.float64) + 0.5
    squared.requires_grad_()
    cost = (prior * scale**2 * torch.log1p(squared / scale**2)).sum()
    (slope,) = torch.autograd.grad(cost, squared)
    found = cauchy_weight(squared.detach().sqrt(), scale, prior)
    torch.testing.assert_close(found, slope, rtol=1e-12, atol=0)


def test_arrays_are_transformed_as_tensors_are():
    pose, world, *_ = problem(4)
    wanted = transform_points(pose, world).numpy()
    found = arrays.transform_points(pose.numpy(), world.numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-14)
    assert arrays.transform_points(pose.numpy(), world.float().numpy()).dtype == np.float64
