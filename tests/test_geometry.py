"""Geometry against SciPy, closed forms and float64."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.geometry import pinhole, se3, so3

_GENERATOR = torch.Generator().manual_seed(3)


def _axis_angles(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    axes = torch.randn(400, 3, generator=_GENERATOR, dtype=torch.float64)
    axes = torch.nn.functional.normalize(axes, dim=1)
    special = [0.0, 1e-12, 1e-8, 1e-5, 1e-4, 1e-3, math.pi - 1e-3, math.pi - 1e-7, math.pi]
    angles = torch.cat(
        [
            torch.tensor(special, dtype=torch.float64),
            torch.rand(391, generator=_GENERATOR).double() * math.pi,
        ]
    )
    return (axes * angles[:, None]).to(dtype)


def test_exponential_agrees_with_scipy() -> None:
    vectors = _axis_angles()
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(so3.matrix_from_axis_angle(vectors), expected, atol=1e-14)
    quaternion = so3.quaternion_wxyz_from_axis_angle(vectors)
    np.testing.assert_allclose(so3.matrix_from_quaternion_wxyz(quaternion), expected, atol=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-8), (torch.float32, 2e-3)])
def test_logarithm_undoes_the_exponential_even_at_zero_and_pi(
    dtype: torch.dtype, tolerance: float
) -> None:
    vectors = _axis_angles(dtype)
    back = so3.axis_angle_from_matrix(so3.matrix_from_axis_angle(vectors))
    assert back.dtype == dtype
    # At pi the axis may come out with the other sign, which is the same rotation.
    error = torch.minimum((back - vectors).norm(dim=1), (back + vectors).norm(dim=1))
    assert error[8] < tolerance
    direct = (back - vectors).norm(dim=1)
    direct[7:9] = error[7:9]
    assert direct.max() < tolerance


def test_quaternions_are_canonical_and_agree_with_scipy() -> None:
    matrices = torch.from_numpy(Rotation.random(500, random_state=1).as_matrix())
    found = so3.quaternion_wxyz_from_matrix(matrices)
    expected = Rotation.from_matrix(matrices.numpy()).as_quat(canonical=True)[:, [3, 0, 1, 2]]
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_gradients_stay_finite_at_zero_and_pi() -> None:
    for angle in (0.0, 1e-9, math.pi):
        vector = torch.tensor([[0.0, angle, 0.0]], dtype=torch.float64, requires_grad=True)
        matrix = so3.matrix_from_axis_angle(vector)
        so3.axis_angle_from_matrix(matrix).sum().backward()
        assert vector.grad is not None
        assert bool(vector.grad.isfinite().all())
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(so3.matrix_from_axis_angle, (zero,))


def test_rotation_angle_keeps_small_angles() -> None:
    first = so3.matrix_from_axis_angle(torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64))
    for angle in (0.0, 1e-7, 0.5, math.pi):
        step = so3.matrix_from_axis_angle(torch.tensor([[0.0, 0.0, angle]], dtype=torch.float64))
        assert so3.rotation_angle(first, first @ step).item() == pytest.approx(angle, abs=1e-14)


def test_rigid_transforms_invert_and_chain() -> None:
    rotation = so3.matrix_from_axis_angle(_axis_angles()[20:30])
    translation = torch.randn(10, 3, dtype=torch.float64, generator=_GENERATOR)
    transform = se3.rigid_transform(rotation, translation)
    np.testing.assert_allclose(se3.invert_rigid(transform), torch.linalg.inv(transform), atol=1e-13)
    points = torch.randn(10, 7, 3, dtype=torch.float64, generator=_GENERATOR)
    expected = torch.einsum("bij,bpj->bpi", rotation, points) + translation[:, None]
    np.testing.assert_allclose(se3.transform_points(transform, points), expected, atol=1e-14)
    relative = se3.relative_to_first(transform)
    assert torch.equal(relative[0], torch.eye(4, dtype=torch.float64))
    np.testing.assert_allclose(transform[0] @ relative[4], transform[4], atol=1e-13)


def test_projection_by_hand_and_back() -> None:
    intrinsics = torch.tensor([[100.0, 0.0, 32.0], [0.0, 120.0, 24.0], [0.0, 0.0, 1.0]])
    xy, depth = pinhole.project(torch.tensor([[1.0, -1.0, 2.0]]), intrinsics)
    assert xy.tolist() == [[82.0, -36.0]]
    assert depth.tolist() == [2.0]
    back = pinhole.unproject(xy, depth, intrinsics)
    assert torch.allclose(back, torch.tensor([[1.0, -1.0, 2.0]]), atol=1e-6)
    grid = pinhole.pixel_centres((2, 3))
    assert grid[1, 2].tolist() == [2.5, 1.5]


def test_field_of_view_goes_round() -> None:
    fov = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    intrinsics = pinhole.intrinsics_from_fov(fov, (48, 64))
    found = pinhole.fov_from_intrinsics(intrinsics, (48, 64))
    np.testing.assert_allclose(found[:, 0], fov, atol=1e-14)
    assert intrinsics[1, 0, 0] == intrinsics[1, 1, 1]
    half = pinhole.resize_intrinsics(intrinsics, from_hw=(48, 64), to_hw=(24, 32))
    np.testing.assert_allclose(pinhole.fov_from_intrinsics(half, (24, 32)), found, atol=1e-14)
