"""Long scenes that cost little: small maps, pictures made when they are asked for, true points.

A tilted wall before which a box moves, seen by a camera that goes on and turns; a box's points are
where it is at each time. Segments are worlds of their own: nothing is known across them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from scipy.spatial.transform import Rotation

from dynapoint.data.lazy_frames import LazyFrames
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.windows.spans import Segment

VELOCITY = np.array([0.02, -0.01, 0.005])
NORMAL = np.array([0.1, 0.25, 1.0])
RATE = 30.0


@dataclass(frozen=True, kw_only=True)
class DrawnFrames(LazyFrames):
    """Redder to the right, greener upwards, bluer with time; counts how often it draws."""

    drawn: list[int]

    def made(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        self.drawn.append(index)
        height, width = self.canvas_hw
        picture = np.empty((height, width, 3), dtype=np.uint8)
        picture[..., 0] = np.linspace(30, 220, width).round()
        picture[..., 1] = np.linspace(220, 30, height).round()[:, None]
        picture[..., 2] = 40 + index % 200
        return picture


class TrueDecoder:
    """Points of a frame at a time of its segment; those of another segment have confidence 0."""

    def __init__(self, points, confidence, moving, segment):
        self.points, self.confidence = points, confidence
        self.moving, self.segment = moving, segment
        self.asked = []

    def decode(self, frames, time, *, keep=True):
        self.asked += [(frame, time) for frame in frames]
        maps = []
        for frame in frames:
            step = self.moving[..., None] * VELOCITY * (time - frame)
            known = np.float32(self.segment[frame] == self.segment[time])
            maps.append(
                (
                    (self.points[frame] + known * step).astype(np.float32),
                    self.confidence[frame] * known,
                )
            )
        return maps


def long_scene(
    frames: int,
    segments: tuple[Segment, ...] = (),
    *,
    map_hw: tuple[int, int] = (12, 16),
    image_hw: tuple[int, int] = (30, 40),
    folder=None,
) -> Reconstruction:
    """A scene of many frames; its maps lie in files in `folder`, if one is given."""
    parts = segments or (Segment(start=0, stop=frames),)
    (map_h, map_w), (height, width) = map_hw, image_hw
    shape = (frames, map_h, map_w)
    if folder is None:
        points, confidence = (np.empty((*shape, 3), np.float32), np.empty(shape, np.float32))
    else:
        points = np.memmap(folder / "points.dat", np.float32, "w+", shape=(*shape, 3))
        confidence = np.memmap(folder / "confidence.dat", np.float32, "w+", shape=shape)
    lens = np.array([[width * 1.1, 0, width * 0.48], [0, width * 1.1, height * 0.52], [0, 0, 1]])
    scale = np.array([map_w / width, map_h / height])
    columns, rows = np.meshgrid(np.arange(map_w) + 0.5, np.arange(map_h) + 0.5)
    xy = np.stack([columns, rows], -1) / scale
    ray = np.concatenate([xy, np.ones((map_h, map_w, 1))], -1) @ np.linalg.inv(lens).T
    box = (abs(columns / map_w - 0.5) < 0.2) & (abs(rows / map_h - 0.5) < 0.2)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    segment = np.zeros(frames, dtype=int)
    for number, part in enumerate(parts):
        step = np.arange(part.count)
        segment[part.start : part.stop] = number
        turn = 0.4 * np.sin(step / 60)[:, None] * np.array([0.1, 1.0, 0.05])
        poses[part.start : part.stop, :3, :3] = Rotation.from_rotvec(turn).as_matrix()
        place = np.sin(step / 50)[:, None] * np.array([0.6, 0.1, -0.3])
        poses[part.start : part.stop, :3, 3] = place
    for frame in range(frames):
        along = ray @ poses[frame, :3, :3].T
        depth = (4.0 - NORMAL @ poses[frame, :3, 3]) / (along @ NORMAL)
        depth = np.where(box, 0.5 * depth, depth)
        points[frame] = poses[frame, :3, 3] + along * depth[..., None]
        shows = parts[segment[frame]].kind == "scene"
        confidence[frame] = np.where(shows, 1 + 0.5 * rows / map_h, 0)
    return Reconstruction(
        frames=DrawnFrames(
            timestamps_s=np.arange(frames) / RATE,
            source_frame_index=np.arange(frames),
            name="long",
            canvas_hw=image_hw,
            from_video=True,
            drawn=[],
        ),
        world_from_camera=poses,
        intrinsics=np.tile(lens, (frames, 1, 1)),
        own_time_points=points,
        own_time_confidence=confidence,
        pixel_map=PixelMap(
            scale=np.tile(scale, (frames, 1)),
            offset=np.zeros((frames, 2)),
            picture_hw=np.tile(np.array(image_hw), (frames, 1)),
            map_hw=map_hw,
        ),
        decoder=TrueDecoder(points, confidence, box, segment),
        model_name="true",
        segments=segments,
    )
