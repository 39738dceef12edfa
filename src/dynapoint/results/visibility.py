"""Whether a point is seen by a camera: a depth test, as a smooth probability."""

import numpy as np
from jaxtyping import Float, Float32

# A point this much (as a share of depth) behind the surface in front of it is as likely hidden as
# seen; the softness is of the order of a small network's error in depth.
_HALF_WAY = 0.06
_SOFTNESS = 0.02


def points_in_camera(
    points: Float[np.ndarray, "*points xyz=3"],
    world_from_camera: Float[np.ndarray, "4 4"],
) -> Float[np.ndarray, "*points xyz=3"]:
    """Move points from the world into a camera."""
    rotation, position = world_from_camera[:3, :3], world_from_camera[:3, 3]
    return (points - position) @ rotation


def project(
    camera_points: Float[np.ndarray, "*points xyz=3"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "*points xy=2"]:
    """Pixels of points in a camera; NaN for points not in front of it."""
    z = camera_points[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scaled = np.where(z > 0, camera_points[..., :2] / z, np.nan)
    focal = np.array([intrinsics[0, 0], intrinsics[1, 1]])
    return scaled * focal + intrinsics[:2, 2]


def visibility(
    camera_points: Float[np.ndarray, "*points xyz=3"],
    map_intrinsics: Float[np.ndarray, "3 3"],
    own_depth: Float[np.ndarray, "height width"],
) -> Float32[np.ndarray, "*points"]:
    """Probability in [0, 1] that points are seen by a camera, from its own-time depth map.

    A point is taken for hidden if it lies behind all four map pixels around its projection, so a
    projection that is one pixel off at an outline does not hide it. Points behind the camera or
    outside its image have probability 0.

    Args:
        camera_points: Points in the camera.
        map_intrinsics: The camera's intrinsics in pixels of the depth map.
        own_depth: Depth along the axis at the camera's own time.
    """
    height, width = own_depth.shape
    xy = project(camera_points, map_intrinsics)
    inside = (xy >= 0).all(axis=-1) & (xy[..., 0] <= width) & (xy[..., 1] <= height)
    corner = np.floor(np.where(inside[..., None], xy, 1.0) - 0.5).astype(np.int64)
    column = np.clip(corner[..., 0], 0, width - 2)
    row = np.clip(corner[..., 1], 0, height - 2)
    farthest = np.maximum(
        np.maximum(own_depth[row, column], own_depth[row, column + 1]),
        np.maximum(own_depth[row + 1, column], own_depth[row + 1, column + 1]),
    )
    with np.errstate(divide="ignore", over="ignore"):
        behind = camera_points[..., 2] / np.maximum(farthest, 1e-12) - 1.0
    exponent = np.clip((behind - _HALF_WAY) / _SOFTNESS, -30.0, 30.0)
    return np.where(inside, 1.0 / (1.0 + np.exp(exponent)), 0.0).astype(np.float32)
