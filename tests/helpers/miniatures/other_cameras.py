"""The engine clip as cameras elsewhere would have seen it: pixels and depth the same."""

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from miniatures.engine_clip import engine_clip


@cache
def clip_from_elsewhere():
    """Large motions of the camera and a principal point off the middle, which the clip lacks.

    The first camera is the world, as in the clip. Nothing is known of the surface of a frame at
    other times: `points[t, i]` is that of the frame's own time for all t, as if all kept still.
    """
    clip = engine_clip()
    rng = np.random.default_rng(11)
    height, width = clip.image_hw
    poses = np.tile(np.eye(4), (clip.frame_count, 1, 1))
    poses[1:, :3, :3] = Rotation.from_rotvec(rng.normal(size=(clip.frame_count - 1, 3))).as_matrix()
    poses[1:, :3, 3] = rng.normal(size=(clip.frame_count - 1, 3))
    lens = np.array([[0.8 * width, 0, 0.55 * width], [0, 0.9 * width, 0.4 * height], [0, 0, 1]])
    row, column = np.mgrid[:height, :width] + 0.5
    ray = np.stack(
        [(column - lens[0, 2]) / lens[0, 0], (row - lens[1, 2]) / lens[1, 1], np.ones_like(row)], -1
    )
    own = np.einsum("fab,fhwb->fhwa", poses[:, :3, :3], clip.depth[..., None] * ray)
    own += poses[:, None, None, :3, 3]
    return replace(
        clip,
        world_from_camera=poses,
        intrinsics=np.tile(lens, (clip.frame_count, 1, 1)),
        points=np.broadcast_to(own, (clip.frame_count, *own.shape)),
    )
