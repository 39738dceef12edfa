"""What windows of a long clip say, from a truth: exact, or with errors such as networks make."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from dynapoint.windows.placing import Placements, camera_of
from dynapoint.windows.plan import owners
from dynapoint.windows.spans import Window
from dynapoint.windows.window_maps import WindowMaps


@dataclass
class WindowTruth:
    """A camera that goes round and round, and depths that change from frame to frame at random.

    Nothing stands still, which does no harm: maps show every frame at its own time.

    Attributes:
        depth_noise: Standard deviation of the logarithm of depth, smooth over each map and drawn
            for every frame of every window.
        turn_noise_deg: Of every camera of every window, the first excepted.
        shift_noise: The same in depths.
    """

    frames: int
    windows: list[Window]
    seed: int = 0
    map_hw: tuple[int, int] = (18, 24)
    round_trip: int = 400
    depth_noise: float = 0.0
    turn_noise_deg: float = 0.0
    shift_noise: float = 0.0
    read_order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        angle = 2 * np.pi * np.arange(self.frames) / self.round_trip
        self.poses = np.tile(np.eye(4), (self.frames, 1, 1))
        turns = np.stack([0.05 * np.sin(3 * angle), angle, 0.03 * np.cos(2 * angle)], axis=1)
        rotation = Rotation.from_rotvec(turns[:1]).inv() * Rotation.from_rotvec(turns)
        self.poses[:, :3, :3] = rotation.as_matrix()
        place = np.stack([np.sin(angle), 0.1 * np.sin(5 * angle), 1 - np.cos(angle)], axis=1)
        self.poses[:, :3, 3] = 3 * (place - place[0])
        height, width = self.map_hw
        self.lens = np.array(
            [[0.9 * width, 0, 0.5 * width], [0, 0.9 * width, 0.5 * height], [0, 0, 1]]
        )
        rng = np.random.default_rng(self.seed)
        self.scale = np.exp(rng.normal(scale=0.4, size=len(self.windows)))
        self.scale[0] = 1.0

    def depth(self, frame: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 1, frame])
        return np.exp(0.3 * self._smooth(rng) + 0.05 * rng.normal(size=self.map_hw)) + 0.3

    def _smooth(self, rng: np.random.Generator) -> np.ndarray:
        return cv2.resize(rng.normal(size=(3, 4)), self.map_hw[::-1], interpolation=cv2.INTER_CUBIC)

    def points_in_camera(self, depth: np.ndarray) -> np.ndarray:
        height, width = self.map_hw
        y, x = np.mgrid[:height, :width] + 0.5
        rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(self.lens).T
        return rays * depth[..., None]

    def world_from_window(self) -> np.ndarray:
        """True similarities."""
        matrices = self.poses[[window.start for window in self.windows]].copy()
        matrices[:, :3, :3] *= self.scale[:, None, None]
        return matrices

    def read(self, index: int) -> WindowMaps:
        self.read_order.append(index)
        frames = self.windows[index].frames
        rng = np.random.default_rng([self.seed, 2, index])
        poses = np.linalg.inv(self.poses[frames[0]]) @ self.poses[list(frames)]
        turn = np.radians(self.turn_noise_deg) * rng.normal(size=(len(frames), 3))
        turn[0] = 0
        poses[:, :3, :3] = poses[:, :3, :3] @ Rotation.from_rotvec(turn).as_matrix()
        poses[1:, :3, 3] += self.shift_noise * rng.normal(size=(len(frames) - 1, 3))
        poses[:, :3, 3] /= self.scale[index]
        points = np.empty((len(frames), *self.map_hw, 3))
        for k, frame in enumerate(frames):
            error = np.exp(self.depth_noise * self._smooth(rng)) if self.depth_noise else 1.0
            inside = self.points_in_camera(self.depth(frame) * error) / self.scale[index]
            points[k] = inside @ poses[k, :3, :3].T + poses[k, :3, 3]
        return WindowMaps(
            frames=frames,
            world_from_camera=poses,
            map_intrinsics=np.tile(self.lens, (len(frames), 1, 1)),
            points=points.astype(np.float32),
            confidence=np.full(points.shape[:-1], 2.0, dtype=np.float32),
        )

    def placements(self, world_from_window: np.ndarray) -> Placements:
        """Cameras of the windows that own them."""
        owner = owners(self.windows, self.frames)
        cameras = np.tile(np.eye(4), (self.frames, 1, 1))
        for index, window in enumerate(self.windows):
            maps = self.read(index)
            for frame in window.frames:
                if owner[frame] == index:
                    [local] = maps.local([frame])
                    cameras[frame] = camera_of(
                        world_from_window[index], maps.world_from_camera[local]
                    )
        self.read_order.clear()
        return Placements(
            world_from_window=world_from_window,
            world_from_camera=cameras,
            map_intrinsics=np.tile(self.lens, (self.frames, 1, 1)),
            owner=owner,
        )


def overlapping(frames: int, size: int, step: int) -> list[Window]:
    """Windows of so many frames, each so many frames after the one before it."""
    starts = range(0, max(frames - size, 0) + step, step)
    return [
        Window(frames=tuple(range(min(start, frames - size), min(start, frames - size) + size)))
        for start in starts
        if start < frames - size + step
    ]
