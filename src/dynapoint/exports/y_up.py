"""What glTF, USD and OpenGL share: y is up, cameras look along -z, and colours are light."""

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.spatial.transform import Rotation

from dynapoint.results.reconstruction import Reconstruction

# OpenCV's cameras look along z with y down, and so does our world. Its own inverse.
Y_UP_FROM_OPENCV = np.diag([1.0, -1.0, -1.0])


def y_up_cameras(
    rec: Reconstruction, times: list[int]
) -> tuple[Float64[np.ndarray, "time xyz=3"], Float64[np.ndarray, "time xyzw=4"]]:
    """Positions of the cameras of some times, and their turns as quaternions to go between."""
    positions = rec.world_from_camera[times, :3, 3] @ Y_UP_FROM_OPENCV
    turns = Y_UP_FROM_OPENCV @ rec.world_from_camera[times, :3, :3] @ Y_UP_FROM_OPENCV
    return positions, nearest_quaternions(turns)


def nearest_quaternions(
    rotations: Float64[np.ndarray, "time 3 3"],
) -> Float64[np.ndarray, "time xyzw=4"]:
    """Quaternions of rotations, of whose two each is the nearer to the one before.

    Between others a viewer goes the long way round.
    """
    quaternion_xyzw = Rotation.from_matrix(rotations).as_quat()
    for index in range(1, len(rotations)):
        if quaternion_xyzw[index] @ quaternion_xyzw[index - 1] < 0:
            quaternion_xyzw[index] *= -1
    return quaternion_xyzw


def linear_from_srgb(srgb: UInt8[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Light in [0, 1] of sRGB values (IEC 61966-2-1)."""
    share = srgb.astype(np.float64) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
