"""Sequences of people, in the form of the TUM RGB-D benchmark."""

import numpy as np
from scipy.spatial.transform import Rotation

from miniatures.tum_format import write_folder

NAMES = ("sitting_rpy", "sitting_xyz", "walking_halfsphere", "walking_static")


def write_miniature(root, clip, *, sequences=1):
    """The world is the motion capture's, not the clip's; the first picture has no pose."""
    motion_capture_from_clip = np.eye(4)
    motion_capture_from_clip[:3, :3] = Rotation.from_rotvec([1.1, 0.4, -0.9]).as_matrix()
    motion_capture_from_clip[:3, 3] = 1.3, -0.6, 1.6
    poses = motion_capture_from_clip @ clip.world_from_camera
    for name in NAMES[:sequences]:
        folder = root / f"rgbd_dataset_freiburg3_{name}"
        write_folder(folder, clip, poses, picture_before=True)
