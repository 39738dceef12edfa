"""What is solved for: cameras, one lens and the depth of grid pixels; and where it puts them.

Pixels are counted from the principal point of their frame in units of the focal length that the
lens started from, so that frames may have lenses of their own; `log_lens` is the logarithm of what
all focal lengths are multiplied by. Poses are camera-from-world here, as they are solved for.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64, Int64

# In units of the depth at the pixel: what comes nearer to a camera than this is not seen by it.
NEAREST = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Lens:
    """Pinhole lenses of the frames.

    Attributes:
        focal_px: Focal lengths that the lens started from, (x, y).
        centre_px: Principal points.
    """

    focal_px: Float64[np.ndarray, "frame xy=2"]
    centre_px: Float64[np.ndarray, "frame xy=2"]

    def normal(
        self, xy_px: Float[np.ndarray, "pixel xy=2"]
    ) -> Float64[np.ndarray, "frame pixel xy=2"]:
        """Places of pixels, the same in all frames, in units of the focal length."""
        return (xy_px - self.centre_px[:, None]) / self.focal_px[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Cameras, lens and depths of the same pixels of all frames."""

    camera_from_world: Float64[np.ndarray, "frame 4 4"]
    log_lens: float
    log_depth: Float64[np.ndarray, "frame pixel"]

    def with_depth(self, log_depth: Float64[np.ndarray, "frame other"]) -> "Views":
        """The same cameras with depths of other pixels."""
        return replace(self, log_depth=log_depth)


def relative_poses(
    camera_from_world: Float64[np.ndarray, "frame 4 4"], target: Int64[np.ndarray, "frame slot"]
) -> tuple[Float64[np.ndarray, "frame slot 3 3"], Float64[np.ndarray, "frame slot 3"]]:
    """Rotation and translation of target-from-source for every frame and each of its targets."""
    source_rotation, source_shift = camera_from_world[:, :3, :3], camera_from_world[:, :3, 3]
    rotation = source_rotation[target] @ source_rotation.transpose(0, 2, 1)[:, None]
    carried = (rotation @ source_shift[:, None, :, None])[..., 0]
    return rotation, source_shift[target] - carried


def rigid_places(
    views: Views,
    normal: Float64[np.ndarray, "frame pixel xy=2"],
    lens: Lens,
    target: Int64[np.ndarray, "frame slot"],
) -> tuple[Float64[np.ndarray, "frame slot pixel xy=2"], Float64[np.ndarray, "frame slot pixel"]]:
    """Where pixels lie in their targets if nothing moves, in pixels, and their depth there."""
    rotation, shift = relative_poses(views.camera_from_world, target)
    zoom = np.exp(views.log_lens)
    ray = np.concatenate([normal / zoom, np.ones((*normal.shape[:2], 1))], axis=-1)
    # Divided by the depth at home, in which unit translations are multiplied by its inverse.
    inverse = np.exp(-views.log_depth)
    there = ray[:, None] @ rotation.transpose(0, 1, 3, 2)
    there = there + inverse[:, None, :, None] * shift[:, :, None]
    ahead = np.maximum(there[..., 2], NEAREST)
    focal = (lens.focal_px * zoom)[target]
    places = (
        there[..., :2] / ahead[..., None] * focal[:, :, None] + lens.centre_px[target][:, :, None]
    )
    return places, there[..., 2] / inverse[:, None]


def rotation_from_vector(
    turn: Float64[np.ndarray, "*batch xyz=3"],
) -> Float64[np.ndarray, "*batch 3 3"]:
    """The rotation about an axis by the length of a vector, in radians (Rodrigues)."""
    angle = np.linalg.norm(turn, axis=-1)[..., None, None]
    cross = cross_matrix(turn)
    safe = np.maximum(angle, 1e-12)
    first = np.where(angle > 1e-8, np.sin(safe) / safe, 1.0)
    second = np.where(angle > 1e-4, (1 - np.cos(safe)) / safe**2, 0.5)
    return np.eye(3) + first * cross + second * (cross @ cross)


def cross_matrix(vector: Float64[np.ndarray, "*batch xyz=3"]) -> Float64[np.ndarray, "*batch 3 3"]:
    """The matrices that cross other vectors with these."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
