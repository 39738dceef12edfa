"""Sequences of the Bonn RGB-D Dynamic Dataset, with poses of the markers on the sensor."""

import numpy as np
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from miniatures.tum_format import write_folder

NAMES = ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous")
# From the set's page: how the motion capture names axes, and where the markers are.
T_ROS = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
T_M = np.array(
    [
        [1.0157, 0.1828, -0.2389, 0.0113],
        [0.0009, -0.8431, -0.6413, -0.0098],
        [-0.3009, 0.6147, -0.8085, 0.0111],
        [0, 0, 0, 1],
    ]
)


def markers(world_from_camera):
    """What the motion capture writes of cameras: T in camera = T_ROS^-1 T T_ROS T_m."""
    rigid = T_M.copy()
    rigid[:3, :3] = polar(T_M[:3, :3])[0]
    return T_ROS @ world_from_camera @ np.linalg.inv(rigid) @ np.linalg.inv(T_ROS)


def write_miniature(root, clip, *, sequences=1):
    room_from_clip = np.eye(4)
    room_from_clip[:3, :3] = Rotation.from_rotvec([-0.7, 1.2, 0.3]).as_matrix()
    room_from_clip[:3, 3] = 0.2, -1.5, 1.9
    poses = markers(room_from_clip @ clip.world_from_camera)
    for name in NAMES[:sequences]:
        write_folder(root / f"rgbd_bonn_{name}", clip, poses)
