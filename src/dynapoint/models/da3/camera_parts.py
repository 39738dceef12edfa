"""Cameras in and out of Depth Anything 3."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.da3.config import CAMERA_ENCODER_DEPTH, CAMERA_ENCODER_HEADS
from dynapoint.models.layers.blocks import Block, Mlp
from dynapoint.models.layers.pose_encoding import encode_cameras

LEAST_TAN, LEAST_DISTANCE = 1e-6, 0.1


class CameraDecoder(nn.Module):
    """A camera token of the last layer as a pose encoding, world from camera."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, tokens: Float[Tensor, "batch view width"]) -> Float[Tensor, "batch view 9"]:
        """Position, quaternion (x, y, z, w) and two fields of view, height first."""
        x = self.backbone(tokens)
        return torch.cat([self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)], dim=-1)


class CameraEncoder(nn.Module):
    """Known cameras as tokens, which stand in for the camera tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pose_branch = Mlp(9, width // 2, width)
        self.token_norm = nn.LayerNorm(width)
        self.trunk = nn.ModuleList(
            Block(width, CAMERA_ENCODER_HEADS, mlp_ratio=4.0, scale_init=1.0, qk_norm=False)
            for _ in range(CAMERA_ENCODER_DEPTH)
        )
        self.trunk_norm = nn.LayerNorm(width)

    def forward(
        self, encodings: Float[Tensor, "batch view 9"]
    ) -> Float[Tensor, "batch view width"]:
        """One token for each camera."""
        x = self.token_norm(self.pose_branch(encodings))
        for block in self.trunk:
            x = block(x)
        return self.trunk_norm(x)


def normalised_cameras(
    camera_from_world: Float[Tensor, "batch view 4 4"],
) -> Float[Tensor, "batch view 4 4"]:
    """Cameras with the first one as the world, in units of their median distance from it.

    The first one's own distance of 0 counts, and of two middle ones the smaller: two cameras are in
    units of a tenth.
    """
    moved = camera_from_world @ invert_rigid(camera_from_world[:, :1])
    distance = invert_rigid(moved)[..., :3, 3].norm(dim=-1)
    unit = distance.median(dim=1).values.clamp_min(LEAST_DISTANCE)
    scaled = moved.clone()
    scaled[..., :3, 3] /= unit[:, None, None]
    return scaled


def encoded_cameras(
    camera_from_world: Float[Tensor, "batch view 4 4"],
    intrinsics: Float[Tensor, "batch view 3 3"],
    image_hw: tuple[int, int],
) -> Float[Tensor, "batch view 9"]:
    """What the encoder is told of cameras: the encoding of world from camera."""
    return encode_cameras(invert_rigid(camera_from_world), intrinsics, image_hw)


def intrinsics_of(
    encoding: Float[Tensor, "*batch 9"], image_hw: tuple[int, int]
) -> Float[Tensor, "*batch 3 3"]:
    """Pinhole intrinsics with a centred principal point, in pixels of the images."""
    height, width = image_hw
    tangents = torch.tan(encoding[..., 7:] / 2).clamp_min(LEAST_TAN)
    fy, fx = height / 2 / tangents[..., 0], width / 2 / tangents[..., 1]
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = [fx, zero, one * (width / 2), zero, fy, one * (height / 2), zero, zero, one]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
