"""Pose encodings there and back, with SciPy's rotations as the oracle."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.geometry.quaternion import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.layers.pose_encoding import (
    MAX_FIELD_OF_VIEW,
    MIN_FIELD_OF_VIEW,
    camera_from_world,
    encode_cameras,
    intrinsics_px,
)


def rotations(count: int = 300, seed: int = 0) -> Rotation:
    return Rotation.random(count, random_state=seed)


def near_half_turns() -> Rotation:
    """Turns by 180° less very little, about the axes, diagonals and random directions."""
    axes = torch.cat(
        [torch.eye(3), -torch.eye(3), torch.ones(1, 3), torch.tensor([[1.0, -1, 0]]),
         torch.randn(20, 3)]
    ).double()  # fmt: skip
    axes = torch.nn.functional.normalize(axes, dim=-1)
    angles = torch.tensor([math.pi - d for d in (0, 1e-12, 1e-9, 1e-6, 1e-3)], dtype=torch.float64)
    return Rotation.from_rotvec((axes[:, None] * angles[:, None]).flatten(0, 1).numpy())


@pytest.mark.parametrize("turns", [rotations(), near_half_turns()], ids=["random", "half turns"])
def test_quaternions_agree_with_scipy(turns):
    matrix = torch.from_numpy(turns.as_matrix())
    quaternion = torch.from_numpy(turns.as_quat())
    assert torch.allclose(matrix_from_quaternion_xyzw(quaternion), matrix, atol=1e-14)
    # Any length and either sign stand for the same rotation.
    assert torch.allclose(matrix_from_quaternion_xyzw(-3.7 * quaternion), matrix, atol=1e-14)
    ours = quaternion_xyzw_from_matrix(matrix)
    same = (ours * quaternion).sum(-1).abs()
    assert torch.allclose(same, torch.ones_like(same), atol=1e-14)
    assert torch.allclose(matrix_from_quaternion_xyzw(ours), matrix, atol=1e-14)
    assert (ours[:, 3] >= 0).all()


def test_identity_and_zero_are_borne():
    assert torch.equal(quaternion_xyzw_from_matrix(torch.eye(3)), torch.tensor([0.0, 0, 0, 1]))
    assert torch.equal(matrix_from_quaternion_xyzw(torch.tensor([0.0, 0, 0, 2])), torch.eye(3))
    assert torch.isfinite(matrix_from_quaternion_xyzw(torch.zeros(4))).all()


def test_inverse_of_rigid_transforms():
    pose = torch.eye(4, dtype=torch.float64).repeat(300, 1, 1)
    pose[:, :3, :3] = torch.from_numpy(rotations().as_matrix())
    pose[:, :3, 3] = torch.randn(300, 3, dtype=torch.float64) * 10
    assert torch.allclose(invert_rigid(pose), pose.inverse(), atol=1e-12)


@pytest.mark.parametrize("image_hw", [(96, 128), (128, 72)])
def test_cameras_survive_encoding(image_hw):
    pose = torch.eye(4, dtype=torch.float64).repeat(2, 150, 1, 1)
    pose[..., :3, :3] = torch.from_numpy(rotations().as_matrix()).view(2, 150, 3, 3)
    pose[..., :3, 3] = torch.randn(2, 150, 3, dtype=torch.float64)
    height, width = image_hw
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(2, 150, 1, 1)
    intrinsics[..., 0, 0] = width * (0.4 + torch.rand(2, 150))
    intrinsics[..., 1, 1] = height * (0.4 + torch.rand(2, 150))
    intrinsics[..., 0, 2], intrinsics[..., 1, 2] = width / 2, height / 2
    encoding = encode_cameras(pose, intrinsics, image_hw)
    assert torch.allclose(camera_from_world(encoding), pose, atol=1e-12)
    assert torch.allclose(intrinsics_px(encoding, image_hw), intrinsics, rtol=1e-12)


def test_encodings_survive_cameras():
    encoding = torch.randn(100, 9, dtype=torch.float64)
    quaternion = torch.nn.functional.normalize(encoding[:, 3:7], dim=-1)
    encoding[:, 3:7] = quaternion * torch.where(quaternion[:, 3:] < 0, -1.0, 1.0)
    encoding[:, 7:] = 0.2 + 2.3 * torch.rand(100, 2)
    back = encode_cameras(camera_from_world(encoding), intrinsics_px(encoding, (64, 96)), (64, 96))
    assert torch.allclose(back, encoding, atol=1e-12)


def test_right_angle_has_a_focal_length_of_half_the_side():
    # tan 45° = 1, so f = (side / 2) / 1; fov_h belongs to the height, fov_w to the width.
    encoding = torch.tensor([0, 0, 0, 0, 0, 0, 1, math.pi / 2, 2 * math.atan(0.5)])
    expected = torch.tensor([[120.0, 0, 60], [0, 40, 40], [0, 0, 1]])
    assert torch.allclose(intrinsics_px(encoding, (80, 120)), expected)


def test_absurd_fields_of_view_are_limited():
    encoding = torch.zeros(2, 9)
    encoding[:, 6] = 1
    encoding[0, 7:], encoding[1, 7:] = 0.0, 10.0
    focal = intrinsics_px(encoding, (100, 100))[:, 0, 0]
    limits = torch.tensor([MIN_FIELD_OF_VIEW, MAX_FIELD_OF_VIEW])
    assert torch.allclose(focal, 50 / torch.tan(limits / 2))
    assert (focal > 0).all()
