"""Scenes in closed form whose cameras turn and whose pixels are no squares; some of it moves."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from dynapoint.data.frames import Frames
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction
from exported_scenes import coloured_images

MAP_HW = {"landscape": (24, 32), "portrait": (32, 24)}
IMAGE_HW = {"landscape": (60, 80), "portrait": (80, 60)}
VELOCITY = np.array([0.15, -0.1, 0.05])
# The wall: normal @ point = 4, nearer at the bottom.
NORMAL = np.array([0.1, 0.25, 1.0])


class Wall:
    """A tilted wall, and a nearer box in the middle of each frame's view that moves."""

    def __init__(self, points: np.ndarray, confidence: np.ndarray, moving: np.ndarray, size: float):
        self.points, self.confidence, self.moving, self.size = points, confidence, moving, size

    def decode(
        self, frames: Sequence[int], time: int, *, keep: bool = True
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        step = self.moving[..., None] * VELOCITY * self.size
        return [
            (
                (self.points[frame] + step[frame] * (time - frame)).astype(np.float32),
                self.confidence[frame],
            )
            for frame in frames
        ]


def exact_scene(
    shape: str = "landscape",
    *,
    frames: int = 4,
    moving: str = "box",
    size: float = 1.0,
    images=coloured_images,
    crop_px: float = 0.0,
) -> Reconstruction:
    """Maps and cameras that agree exactly.

    Args:
        shape: Of images and maps.
        frames: How many.
        moving: "box"; "nothing", where there is no box; "flat box", as far as the wall; or "still
            box", which goes with the camera but does not move as far as the maps say.
        size: All lengths are multiplied by it.
        images: Makes them.
        crop_px: Map pixels by which the pictures reach beyond the maps on both sides.
    """
    map_h, map_w = MAP_HW[shape]
    height, width = IMAGE_HW[shape]
    scale = np.array([(map_w + 2 * crop_px) / width, map_h / height])
    intrinsics = np.array([[90.0, 0, width * 0.48], [0, 84.0, height * 0.53], [0, 0, 1]])
    intrinsics = np.tile(intrinsics, (frames, 1, 1))
    intrinsics[:, 0, 0] += np.arange(frames)
    angle = np.arange(frames)[:, None] * np.array([0.03, -0.06, 0.05])
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(angle).as_matrix()
    poses[:, :3, 3] = np.arange(frames)[:, None] * np.array([0.2, 0.05, -0.1]) * size
    pixel_map = PixelMap(
        scale=np.tile(scale, (frames, 1)),
        offset=np.tile([-crop_px, 0.0], (frames, 1)),
        picture_hw=np.tile(np.array([height, width]), (frames, 1)),
        map_hw=(map_h, map_w),
    )
    columns, rows = np.meshgrid(np.arange(map_w) + 0.5, np.arange(map_h) + 0.5)
    box = (abs(columns / map_w - 0.5) < 0.2) & (abs(rows / map_h - 0.5) < 0.2)
    points = np.empty((frames, map_h, map_w, 3))
    for frame in range(frames):
        xy = (np.stack([columns, rows], -1) - pixel_map.offset[frame]) / scale
        ray = np.concatenate([xy, np.ones((map_h, map_w, 1))], -1)
        ray = ray @ np.linalg.inv(intrinsics[frame]).T @ poses[frame, :3, :3].T
        start = poses[frame, :3, 3]
        depth = (4.0 * size - NORMAL @ start) / (ray @ NORMAL)
        if moving in ("box", "still box"):
            depth = np.where(box, 0.5 * depth, depth)
        points[frame] = start + ray * depth[..., None]
    confidence = np.ones((frames, map_h, map_w), dtype=np.float32)
    stamps = np.arange(frames) / 10.0
    return Reconstruction(
        frames=Frames(
            images=images(frames, height, width),
            timestamps_s=stamps,
            source_frame_index=np.arange(frames),
            name="exact",
        ),
        world_from_camera=poses,
        intrinsics=intrinsics,
        own_time_points=points.astype(np.float32),
        own_time_confidence=confidence,
        pixel_map=pixel_map,
        decoder=Wall(
            points, confidence, np.tile(box & (moving in ("box", "flat box")), (frames, 1, 1)), size
        ),
        model_name="exact",
    )
