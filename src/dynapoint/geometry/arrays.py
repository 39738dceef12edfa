"""`rigid` and `pinhole` for NumPy arrays: opening a scene must not wait for torch."""

import numpy as np
from jaxtyping import Float, Float64


def rotation_angle_rad(
    first: Float[np.ndarray, "#pair 3 3"], second: Float[np.ndarray, "#pair 3 3"]
) -> Float[np.ndarray, "#pair"]:
    """The angle between two rotations in [0, pi], accurate for small and for large angles.

    The skew part of the relative rotation holds the sine, its trace the cosine.
    """
    relative = np.swapaxes(first, -1, -2) @ second
    skew = relative[..., [2, 0, 1], [1, 2, 0]] - relative[..., [1, 2, 0], [2, 0, 1]]
    trace = np.trace(relative, axis1=-2, axis2=-1)
    return np.arctan2(np.linalg.norm(skew, axis=-1), trace - 1)


def transform_points(
    target_from_source: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "*points xyz=3"]
) -> Float64[np.ndarray, "*points xyz=3"]:
    """Points of the source frame in the target frame, in float64."""
    matrix = target_from_source
    return np.asarray(points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3])


def points_in_camera(
    points: Float[np.ndarray, "*points xyz=3"],
    world_from_camera: Float[np.ndarray, "4 4"],
) -> Float[np.ndarray, "*points xyz=3"]:
    """Move points from the world into a camera."""
    rotation, position = world_from_camera[:3, :3], world_from_camera[:3, 3]
    return (points - position) @ rotation


def project(
    points_camera: Float[np.ndarray, "*points xyz=3"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "*points xy=2"]:
    """Pixels of points in camera coordinates; NaN for points that are not in front of it."""
    depth = points_camera[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = np.where(depth > 0, points_camera[..., :2] / depth, np.nan)
    focal = np.array([intrinsics[0, 0], intrinsics[1, 1]])
    return slope * focal + intrinsics[:2, 2]


def typical_depth(depth: Float[np.ndarray, "*pixels"]) -> float:
    """The median of the depths before the camera; 1 if nothing lies before it."""
    before = depth[depth > 0]
    return float(np.median(before)) if before.size else 1.0


def pixel_centres(image_hw: tuple[int, int]) -> Float64[np.ndarray, "height width xy=2"]:
    """(column, row) of every pixel's centre: the top-left one is (0.5, 0.5)."""
    height, width = image_hw
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


def points_on_rays(
    depth: Float64[np.ndarray, "height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    world_from_camera: Float64[np.ndarray, "4 4"],
) -> Float64[np.ndarray, "height width xyz=3"]:
    """Points of the world that pixels show at a depth along the camera's axis."""
    height, width = depth.shape
    slope = (pixel_centres((height, width)) - intrinsics[:2, 2]) / intrinsics[[0, 1], [0, 1]]
    ray = np.concatenate([slope, np.ones((height, width, 1))], axis=-1)
    turn, place = world_from_camera[:3, :3], world_from_camera[:3, 3]
    return np.asarray((ray * depth[..., None]) @ turn.T + place)
