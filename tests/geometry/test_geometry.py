"""Pinhole cameras and rigid transforms against SciPy, written-out formulas and their inverses."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dynapoint.geometry import arrays
from dynapoint.geometry.pinhole import mixing_step, pixel_centres, project, unproject
from dynapoint.geometry.rigid import invert_rigid, rotation_angle_rad, transform_points


def random_poses(rng: np.random.Generator, *batch: int) -> torch.Tensor:
    count = int(np.prod(batch))
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, random_state=rng).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(count, 3))
    return torch.from_numpy(poses.reshape(*batch, 4, 4))


def test_rigid_transforms_are_matrix_products():
    rng = np.random.default_rng(0)
    poses = random_poses(rng, 2, 3)
    points = torch.from_numpy(rng.normal(size=(2, 3, 5, 3)))
    homogeneous = torch.cat([points, torch.ones(2, 3, 5, 1)], dim=-1).double()
    expected = torch.einsum("abij,abnj->abni", poses, homogeneous)[..., :3]
    torch.testing.assert_close(transform_points(poses, points), expected)
    torch.testing.assert_close(invert_rigid(poses), torch.linalg.inv(poses))
    assert transform_points(poses.float(), points.float()).dtype == torch.float32


def test_rotation_angles_near_zero_and_near_a_half_turn():
    rng = np.random.default_rng(1)
    for angle in (0.0, 1e-9, 1e-4, 1.0, 3.0, np.pi - 1e-7, np.pi):
        axis = rng.normal(size=3)
        turn = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
        base = Rotation.random(random_state=rng)
        first, second = (torch.from_numpy(r.as_matrix().copy()) for r in (base, base * turn))
        assert abs(float(rotation_angle_rad(first, second)) - angle) < 1e-9
        pair = first.numpy()[None], second.numpy()[None]
        assert abs(arrays.rotation_angle_rad(*pair)[0] - angle) < 1e-9


def test_rotation_angles_of_arrays_in_batches():
    rng = np.random.default_rng(3)
    first, second = Rotation.random(7, random_state=rng), Rotation.random(7, random_state=rng)
    found = arrays.rotation_angle_rad(first.as_matrix(), second.as_matrix())
    np.testing.assert_allclose(found, (first.inv() * second).magnitude(), atol=1e-12)
    found = arrays.rotation_angle_rad(first.as_matrix()[:1], second.as_matrix())
    np.testing.assert_allclose(found, (first[0].inv() * second).magnitude(), atol=1e-12)


def test_projection_is_undone_by_unprojection():
    rng = np.random.default_rng(2)
    intrinsics = torch.tensor([[50.0, 0, 11.5], [0, 47.0, 8.25], [0, 0, 1]]).double()
    points = torch.from_numpy(rng.normal([0, 0, 5], 1, size=(3, 20, 3)))
    xy = project(points, intrinsics.expand(3, 3, 3))
    homogeneous = points @ intrinsics.T
    torch.testing.assert_close(xy, homogeneous[..., :2] / homogeneous[..., 2:])
    torch.testing.assert_close(unproject(xy, points[..., 2], intrinsics.expand(3, 3, 3)), points)


def test_nothing_behind_the_camera_has_a_pixel():
    points = torch.tensor([[0.1, 0.2, 0.0], [0.1, 0.2, -1.0], [0.1, 0.2, 1.0]])
    finite = project(points, torch.eye(3)).isfinite().all(dim=-1)
    assert finite.tolist() == [False, False, True]


def test_a_least_depth_gives_every_point_a_pixel():
    intrinsics = torch.tensor([[100.0, 0, 50], [0, 80.0, 40], [0, 0, 1]])
    points = torch.tensor([[1.0, 2.0, -3.0], [1.0, 2.0, 0.0], [0.5, 1.0, 2.0], [0.5, 1.0, 0.25]])
    xy = project(points, intrinsics, least_depth=0.5)
    # 100 · 1 / 0.5 + 50 and 80 · 2 / 0.5 + 40; from that depth on, the depth itself.
    expected = [[250.0, 360.0], [250.0, 360.0], [75.0, 80.0], [150.0, 200.0]]
    torch.testing.assert_close(xy, torch.tensor(expected))


def test_arrays_are_placed_and_projected_like_tensors():
    rng = np.random.default_rng(4)
    pose = random_poses(rng, 1)[0]
    intrinsics = torch.tensor([[50.0, 0, 11.5], [0, 47, 8], [0, 0, 1]])
    points = torch.from_numpy(rng.normal(size=(60, 3)))
    seen = transform_points(invert_rigid(pose), points)
    assert 10 < (seen[:, 2] > 0).sum() < 50
    found = arrays.points_in_camera(points.numpy().reshape(4, 15, 3), pose.numpy())
    np.testing.assert_allclose(found.reshape(60, 3), seen, atol=1e-12)
    xy = arrays.project(found, intrinsics.double().numpy()).reshape(60, 2)
    np.testing.assert_allclose(xy, project(seen, intrinsics.double()), rtol=1e-9)


def test_typical_depth_is_the_median_of_what_lies_before_the_camera():
    assert arrays.typical_depth(np.array([[3.0, -9, 0, np.nan], [1, 5, 2, -1]])) == 2.5
    assert arrays.typical_depth(np.array([0.0, -2, np.nan])) == 1


def test_sparse_pixels_fall_on_all_columns():
    for width in (5, 37, 84, 112, 518):
        step = mixing_step(37, width)
        assert 37 <= step < 37 + width
        assert len(set(np.arange(0, step * width, step) % width)) == width
    assert mixing_step(0, 64) == 1


def test_pixel_centres_are_at_half_integers():
    centres = pixel_centres((2, 3), dtype=torch.float64)
    assert centres[0, 0].tolist() == [0.5, 0.5] and centres[1, 2].tolist() == [2.5, 1.5]
    np.testing.assert_array_equal(arrays.pixel_centres((2, 3)), centres)
