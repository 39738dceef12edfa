"""The robust camera solver on scenes whose camera is known."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.geometry.pinhole import project
from dynapoint.geometry.pose_from_points import cross_matrix
from dynapoint.geometry.rigid import transform_points
from dynapoint.models.nano.ego_motion import solve_ego_motion

PAIRS, POINTS = 6, 200


def scene(seed: int = 0, dtype: torch.dtype = torch.float64):
    """World points seen by camera 0, poses within 6 degrees and .3 of it, intrinsics, pixels."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    depth = 4 + 2 * uniform(PAIRS, POINTS, 1)
    points = torch.cat([uniform(PAIRS, POINTS, 2) * 0.6 * depth, depth], dim=-1)
    turn = uniform(PAIRS, 3) * 0.06
    pose = torch.eye(4, dtype=torch.float64).repeat(PAIRS, 1, 1)
    pose[:, :3, :3] = torch.from_numpy(Rotation.from_rotvec(turn.numpy()).as_matrix())
    pose[:, :3, 3] = uniform(PAIRS, 3) * 0.3
    focal = 90 + 20 * uniform(PAIRS)
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(PAIRS, 1, 1)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = torch.tensor([60.0, 45.0], dtype=torch.float64)
    xy = project(transform_points(pose, points), intrinsics)
    return tuple(value.to(dtype) for value in (points, pose, intrinsics, xy))


def solve(points, xy, intrinsics, *, weight=None, iterations=5, hypotheses=0):
    if weight is None:
        weight = torch.ones_like(points[..., 0])
    return solve_ego_motion(
        points_world=points,
        target_xy=xy,
        weight=weight,
        intrinsics=intrinsics,
        initial=torch.eye(4, dtype=points.dtype).expand(len(points), 4, 4),
        iterations=iterations,
        hypotheses=hypotheses,
    )


def pose_error(found: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    """Largest angle in degrees and largest distance of translations."""
    relative = found[:, :3, :3].double() @ true[:, :3, :3].double().transpose(1, 2)
    angle = Rotation.from_matrix(relative.numpy()).magnitude().max()
    shift = (found[:, :3, 3] - true[:, :3, 3]).norm(dim=-1).max()
    return float(angle) * 57.2958, float(shift)


@pytest.mark.parametrize("seed", range(4))
def test_exact_matches_give_the_exact_camera(seed):
    points, pose, intrinsics, xy = scene(seed)
    ego = solve(points, xy, intrinsics, iterations=12)
    angle, shift = pose_error(ego.camera_from_world, pose)
    assert angle < 1e-6 and shift < 1e-7
    assert torch.allclose(ego.residual_px, torch.full((PAIRS,), 0.5).double())
    assert torch.allclose(ego.inliers, torch.ones(PAIRS).double())


def test_the_network_s_number_of_iterations_is_enough():
    points, pose, intrinsics, xy = scene(1, torch.float32)
    angle, shift = pose_error(solve(points, xy, intrinsics).camera_from_world, pose)
    assert angle < 0.02 and shift < 2e-3


def test_result_is_a_rigid_transform():
    points, _, intrinsics, xy = scene(2)
    found = solve(points, xy + 5 * torch.randn_like(xy), intrinsics).camera_from_world
    rotation = found[:, :3, :3]
    identity = torch.eye(3, dtype=torch.float64).expand_as(rotation)
    assert torch.allclose(rotation @ rotation.transpose(1, 2), identity, atol=1e-9)
    bottom = torch.tensor([0, 0, 0, 1], dtype=torch.float64)
    assert torch.equal(found[:, 3], bottom.expand(PAIRS, 4))


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_a_third_of_outliers_are_borne(seed):
    points, pose, intrinsics, xy = scene(seed)
    xy = xy + 0.5 * torch.randn_like(xy)
    moved = int(0.3 * POINTS)
    # What moves, moves together: the hardest kind of outlier.
    xy[:, :moved] += torch.tensor([15.0, -8.0], dtype=torch.float64)
    ego = solve(points, xy, intrinsics, iterations=10)
    angle, shift = pose_error(ego.camera_from_world, pose)
    assert angle < 0.5 and shift < 0.06
    # Without robust weights the same matches give a far worse camera; the shares must tell.
    assert ((ego.inliers > 0.55) & (ego.inliers < 0.75)).all()


def test_weights_leave_matches_out():
    points, pose, intrinsics, xy = scene(3)
    wrong = torch.rand(PAIRS, POINTS) < 0.45
    xy = torch.where(wrong[..., None], xy + 40 * torch.randn_like(xy), xy)
    ego = solve(points, xy, intrinsics, weight=(~wrong).double(), iterations=12)
    angle, shift = pose_error(ego.camera_from_world, pose)
    assert angle < 1e-6 and shift < 1e-7


def test_pairs_are_independent_and_point_order_does_not_matter():
    points, _, intrinsics, xy = scene(4)
    xy = xy + torch.randn_like(xy)
    every = solve(points, xy, intrinsics).camera_from_world
    alone = solve(points[2:3], xy[2:3], intrinsics[2:3]).camera_from_world
    order = torch.randperm(POINTS)
    shuffled = solve(points[:, order], xy[:, order], intrinsics).camera_from_world
    assert torch.allclose(alone, every[2:3], atol=1e-9)
    assert torch.allclose(shuffled, every, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["one point", "no weight", "behind", "one match", "huge", "far"])
def test_degenerate_matches_give_finite_rigid_cameras(kind, dtype):
    points, _, intrinsics, xy = scene(5, dtype)
    weight = torch.ones_like(points[..., 0])
    if kind == "one point":
        points = points[:, :1].expand(-1, POINTS, -1)
    elif kind == "no weight":
        weight = torch.zeros_like(weight)
    elif kind == "behind":
        points = points * torch.tensor([1, 1, -1], dtype=dtype)
    elif kind == "one match":
        xy = xy[:, :1].expand(-1, POINTS, -1)
    elif kind == "huge":
        xy = xy * 1e4
    else:
        points = points * 150
    ego = solve(points, xy, intrinsics, weight=weight)
    assert torch.isfinite(ego.camera_from_world).all()
    assert torch.isfinite(ego.residual_px).all() and torch.isfinite(ego.inliers).all()
    assert (ego.residual_px >= 0.5).all()
    determinant = torch.linalg.det(ego.camera_from_world[:, :3, :3])
    assert torch.allclose(determinant, torch.ones_like(determinant), atol=1e-4)


def test_no_gradient_flows_through_the_solver():
    points, _, intrinsics, xy = scene(6)
    assert not solve(points.requires_grad_(), xy, intrinsics).camera_from_world.requires_grad


def test_cross_matrix_multiplies_like_the_cross_product():
    v, w = torch.randn(5, 3), torch.randn(5, 3)
    ours = (cross_matrix(v) @ w[..., None]).squeeze(-1)
    assert torch.allclose(ours, torch.linalg.cross(v, w), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_hypotheses_bear_half_of_the_matches_being_wrong(seed):
    """Half of the matches stay about where they were in the image, as a biased matcher says."""
    points, pose, intrinsics, xy = scene(seed)
    pose = pose.clone()
    turn = Rotation.from_rotvec([[0.0, 0.3, 0.0]] * PAIRS).as_matrix()
    pose[:, :3, :3] = torch.from_numpy(turn) @ pose[:, :3, :3]
    seen = project(transform_points(pose, points), intrinsics)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(PAIRS, POINTS, generator=generator) < 0.5
    noise = 20 * torch.randn(PAIRS, POINTS, 2, generator=generator, dtype=xy.dtype)
    matches = torch.where(wrong[..., None], xy + noise, seen)
    alone, _ = pose_error(solve(points, matches, intrinsics).camera_from_world, pose)
    started = solve(points, matches, intrinsics, hypotheses=128)
    angle, shift = pose_error(started.camera_from_world, pose)
    assert angle < 0.5 < alone
    assert shift < 0.05
