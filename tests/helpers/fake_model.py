"""A stand-in for a network: a wall with a nearer box that moves, before cameras that move and turn.

Cameras step to the right and roll about their axes, which keeps the wall at one depth in all of
them and makes a rotation that is transposed, or left out, show.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dynapoint.models.protocol import PLAIN, EncodeRequest, ModelInfo
from dynapoint.types import Cameras, PointMaps

WALL_DEPTH, BOX_DEPTH = 4.0, 2.0
VELOCITY = torch.tensor([0.25, 0.0, 0.05])
CAMERA_STEP = 0.1
ROLL_STEP_RAD = 0.1


@dataclass(frozen=True, kw_only=True)
class FakeEncoded:
    own_time: PointMaps
    cameras: Cameras
    moving: torch.Tensor


class FakeModel:
    """Depth and motion in closed form; `broken` makes a share of its points NaN or infinite.

    It has the minimum that a model must have, and nothing else.
    """

    patch_size = 8

    def __init__(
        self,
        image_side: int = 64,
        *,
        broken: bool = False,
        roll_step_rad: float = ROLL_STEP_RAD,
    ) -> None:
        self.image_side = image_side
        self.broken = broken
        self.roll_step_rad = roll_step_rad
        self.decoded: list[tuple[int, int]] = []

    def encode(self, images: torch.Tensor) -> FakeEncoded:
        return self._encode(images, pixel_aspect=1.0)

    def _encode(self, images: torch.Tensor, *, pixel_aspect: float) -> FakeEncoded:
        assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
        _, frames, _, height, width = images.shape
        assert height % self.patch_size == 0 and width % self.patch_size == 0
        focal, across = float(max(height, width)), pixel_aspect**0.5
        focal_x, focal_y = focal * across, focal / across
        intrinsics = torch.tensor([[focal_x, 0, width / 2], [0, focal_y, height / 2], [0, 0, 1.0]])
        rows, columns = torch.meshgrid(
            torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
        )
        ray = torch.stack(
            [(columns - width / 2) / focal_x, (rows - height / 2) / focal_y, torch.ones_like(rows)],
            -1,
        )
        box = ((columns / width - 0.4).abs() < 0.15) & ((rows / height - 0.5).abs() < 0.2)
        depth = torch.where(box, BOX_DEPTH, WALL_DEPTH)
        poses = torch.eye(4).repeat(frames, 1, 1)
        poses[:, 0, 3] = CAMERA_STEP * torch.arange(frames)
        poses[:, :3, :3] = rolls(self.roll_step_rad * torch.arange(frames))
        in_camera = ray * depth[..., None]
        points = torch.einsum("fij,hwj->fhwi", poses[:, :3, :3], in_camera)
        points += poses[:, None, None, :3, 3]
        confidence = (1.0 / depth).expand(frames, -1, -1).clone()
        if self.broken:
            points[:, 0, 0] = torch.nan
            points[:, 1, 1, 2] = torch.inf
            confidence[:, 2, 2] = torch.nan
        return FakeEncoded(
            own_time=PointMaps(points=points[None], confidence=confidence[None]),
            cameras=Cameras(
                world_from_camera=poses[None], intrinsics=intrinsics.repeat(1, frames, 1, 1)
            ),
            moving=box,
        )

    def decode(self, encoded: FakeEncoded, *, time: int, frames: Sequence[int]) -> PointMaps:
        self.decoded += [(frame, time) for frame in frames]
        own = encoded.own_time
        moved = [
            own.points[:, frame] + encoded.moving[..., None] * VELOCITY * (time - frame)
            for frame in frames
        ]
        return PointMaps(
            points=torch.stack(moved, dim=1), confidence=own.confidence[:, list(frames)]
        )


def rolls(angle_rad: torch.Tensor) -> torch.Tensor:
    """Rotations of a camera about its optical axis, from x towards y."""
    matrix = torch.eye(3).repeat(len(angle_rad), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle_rad.cos()
    matrix[:, 1, 0] = angle_rad.sin()
    matrix[:, 0, 1] = -angle_rad.sin()
    return matrix


def seen_from(world_from_camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) of the world in a camera's axes, in float64, by the inverse of its matrix."""
    matrix = np.linalg.inv(world_from_camera.astype(np.float64))
    return np.einsum("ij,...j->...i", matrix[:3, :3], points.astype(np.float64)) + matrix[:3, 3]


class SquareFake(FakeModel):
    """The same, told how pictures were stretched: their lens has square pixels and stays as it is.

    With the plain one, whose lens is square in the maps, what moves is stretched with its picture.
    """

    info = ModelInfo(name="fake")

    def encode(self, images: torch.Tensor, request: EncodeRequest = PLAIN) -> FakeEncoded:
        return self._encode(images, pixel_aspect=request.pixel_aspect)


def picture_array(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth moving pictures, uint8 (frame, height, width, 3)."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, 3)
    y, x = np.mgrid[:height, :width]
    time = np.arange(frames)[:, None, None, None]
    wave = np.sin(x[None, ..., None] / 17 + y[None, ..., None] / 23 + phase + 0.3 * time)
    return np.round(127.5 * (1 + wave)).astype(np.uint8)
