"""Making a network's output safe to hand on: finite points, proper cameras, doubt marked."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64

from dynapoint.geometry.pinhole import pixel_centres, unproject
from dynapoint.results.pixel_map import PixelMap

# Beyond this, sums and products of coordinates overflow float32.
_LARGEST = 1e15


def clean_own_time(
    points: Float32[np.ndarray, "frame height width xyz=3"],
    confidence: Float32[np.ndarray, "frame height width"],
    *,
    world_from_camera: Float64[np.ndarray, "frame 4 4"],
    intrinsics: Float64[np.ndarray, "frame 3 3"],
    pixel_map: PixelMap,
) -> tuple[
    Float32[np.ndarray, "frame height width xyz=3"], Float32[np.ndarray, "frame height width"]
]:
    """Own-time maps as `clean_maps` leaves them, `ray_fallback` standing in for bad points.

    Pixels that show nothing of the frame's picture get confidence 0 too. Where nothing is to be
    changed the results are the arrays given, which may be large.
    """
    cleaned, trust = points, confidence
    for index in range(len(points)):
        good, trusted = _faultless(points[index], confidence[index])
        trusted &= pixel_map.shown_pixels(index)
        if not good.all():
            stand_in = ray_fallback(points[index], world_from_camera[index], intrinsics[index])
            cleaned = points.copy() if cleaned is points else cleaned
            cleaned[index][~good] = stand_in[~good]
        if not trusted.all():
            trust = confidence.copy() if trust is confidence else trust
            trust[index][~trusted] = 0.0
    return cleaned, trust


def clean_maps(
    points: Float32[np.ndarray, "height width xyz=3"],
    confidence: Float32[np.ndarray, "height width"],
    fallback: Float[np.ndarray, "height width xyz=3"],
) -> tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]:
    """Replace points that are not finite by the fallback's and give them the lowest confidence, 0.

    Confidence that is negative or not finite becomes 0 too.
    """
    good, trusted = _faultless(points, confidence)
    cleaned = np.where(good[..., None], points, fallback)
    return np.asarray(cleaned, np.float32), np.where(trusted, confidence, np.float32(0))


def _faultless(
    points: Float32[np.ndarray, "height width xyz=3"],
    confidence: Float32[np.ndarray, "height width"],
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Which points are finite, and at which of them the confidence makes sense as well."""
    with np.errstate(invalid="ignore"):
        good = (np.abs(points) < _LARGEST).all(axis=-1)
        return good, good & np.isfinite(confidence) & (confidence > 0)


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
    points: Float32[np.ndarray, "height width xyz=3"],
    world_from_camera: Float64[np.ndarray, "4 4"],
    intrinsics: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, "height width xyz=3"]:
    """A stand-in for an own-time map: every pixel's ray at the median depth of the frame.

    The median is over finite points in front of the camera; 1 where there is none.
    """
    rotation, position = world_from_camera[:3, :3], world_from_camera[:3, 3]
    with np.errstate(invalid="ignore", over="ignore"):
        depth = (points.astype(np.float64) - position) @ rotation[:, 2]
        usable = depth[np.isfinite(depth) & (depth > 0) & (depth < _LARGEST)]
    distance = float(np.median(usable)) if usable.size else 1.0
    height, width = points.shape[:2]
    xy = pixel_centres((height, width), dtype=torch.float64).flatten(0, 1)
    depths = torch.full((height * width,), distance, dtype=torch.float64)
    camera = unproject(xy, depths, torch.from_numpy(intrinsics)).numpy()
    return (camera @ rotation.T + position).reshape(height, width, 3)
