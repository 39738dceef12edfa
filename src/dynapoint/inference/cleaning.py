"""Making a network's output safe to hand on: finite points, proper cameras, doubt marked."""

import numpy as np
from jaxtyping import Float, Float32, Float64

# Beyond this, sums and products of coordinates overflow float32.
_LARGEST = 1e15


def clean_maps(
    points: Float[np.ndarray, "*map xyz=3"],
    confidence: Float[np.ndarray, "*map"],
    fallback: Float[np.ndarray, "*map xyz=3"],
) -> tuple[Float32[np.ndarray, "*map xyz=3"], Float32[np.ndarray, "*map"]]:
    """Replace points that are not finite by the fallback's and give them the lowest confidence, 0.

    Confidence that is negative or not finite becomes 0 too.
    """
    with np.errstate(invalid="ignore"):
        good = (np.abs(points) < _LARGEST).all(axis=-1)
        trusted = good & np.isfinite(confidence) & (confidence > 0)
    cleaned = np.where(good[..., None], points, fallback)
    return cleaned.astype(np.float32), np.where(trusted, confidence, 0.0).astype(np.float32)


def clean_poses(
    world_from_camera: Float[np.ndarray, "frame 4 4"],
) -> Float64[np.ndarray, "frame 4 4"]:
    """Rigid poses relative to frame 0, whose own is exactly the identity.

    Rotations are replaced by the nearest proper ones (singular values); a pose that is not finite
    becomes the pose before it.
    """
    given = world_from_camera.astype(np.float64)
    poses = np.tile(np.eye(4), (len(given), 1, 1))
    for index, pose in enumerate(given):
        if np.isfinite(pose).all():
            left, _, right = np.linalg.svd(pose[:3, :3])
            left[:, -1] *= np.sign(np.linalg.det(left @ right))
            poses[index, :3, :3] = left @ right
            poses[index, :3, 3] = pose[:3, 3]
        elif index:
            poses[index] = poses[index - 1]
    first_rotation, first_position = poses[0, :3, :3].copy(), poses[0, :3, 3].copy()
    poses[:, :3, 3] = (poses[:, :3, 3] - first_position) @ first_rotation
    poses[:, :3, :3] = first_rotation.T @ poses[:, :3, :3]
    poses[0] = np.eye(4)
    return poses


def clean_intrinsics(
    intrinsics: Float[np.ndarray, "frame 3 3"], network_hw: tuple[int, int]
) -> Float64[np.ndarray, "frame 3 3"]:
    """Intrinsics that are finite with positive focal lengths; others become a plain guess.

    The guess is a focal length of the longer side (a field of view of 53 degrees along it) and a
    central principal point.
    """
    height, width = network_hw
    side = float(max(network_hw))
    guess = np.array([[side, 0.0, width / 2], [0.0, side, height / 2], [0.0, 0.0, 1.0]])
    good = np.isfinite(intrinsics).all(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        good &= (intrinsics[:, 0, 0] > 0) & (intrinsics[:, 1, 1] > 0)
    return np.where(good[:, None, None], intrinsics, guess).astype(np.float64)


def ray_fallback(
    points: Float[np.ndarray, "frame height width xyz=3"],
    world_from_camera: Float64[np.ndarray, "frame 4 4"],
    intrinsics: Float64[np.ndarray, "frame 3 3"],
) -> Float64[np.ndarray, "frame height width xyz=3"]:
    """A stand-in for own-time maps: every pixel's ray at the median depth of its frame.

    The median is over finite points in front of the camera; 1 where there is none.
    """
    count, height, width = points.shape[:3]
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    stand_in = np.empty((count, height, width, 3))
    for index in range(count):
        camera, pose = intrinsics[index], world_from_camera[index]
        ray = np.stack(
            [
                (columns - camera[0, 2]) / camera[0, 0],
                (rows - camera[1, 2]) / camera[1, 1],
                np.ones_like(columns),
            ],
            axis=-1,
        )
        with np.errstate(invalid="ignore", over="ignore"):
            depth = (points[index].astype(np.float64) - pose[:3, 3]) @ pose[:3, 2]
            usable = depth[np.isfinite(depth) & (depth > 0) & (depth < _LARGEST)]
        distance = float(np.median(usable)) if usable.size else 1.0
        stand_in[index] = (ray * distance) @ pose[:3, :3].T + pose[:3, 3]
    return stand_in
