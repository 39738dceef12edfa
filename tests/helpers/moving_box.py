"""A box that moves before a wall, behind a pillar, in closed form: maps, flow, where points are."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from dynapoint.models.kept.followed_paths import FollowedPaths

HW = (48, 64)
FOCAL = 60.0
HALF = np.array([0.7, 0.6, 0.4])
WALL = np.array([0.08, -0.05, 1.0]), 7.0
BACKGROUND, BOX, PILLAR = 0, 1, 2


def centres():
    return np.stack(np.meshgrid(np.arange(HW[1]) + 0.5, np.arange(HW[0]) + 0.5), axis=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxScene:
    """World-from-box and world-from-camera at every time; a pillar covers columns of the world.

    `pillar` are the least and greatest x, at a depth of 2, of a still strip; None for none.
    """

    boxes: np.ndarray
    poses: np.ndarray
    pillar: tuple[float, float] | None = None

    @property
    def frames(self) -> int:
        return len(self.poses)

    @property
    def lens(self) -> np.ndarray:
        return np.array([[FOCAL, 0, HW[1] / 2], [0, FOCAL, HW[0] / 2], [0, 0, 1.0]])

    def seen(self, time: int, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points that pixels show, in the world, and of what."""
        pose = self.poses[time]
        ray = np.concatenate([xy, np.ones((*xy.shape[:-1], 1))], axis=-1)
        ray = ray @ np.linalg.inv(self.lens).T @ pose[:3, :3].T
        start = pose[:3, 3]
        depth = (WALL[1] - start @ WALL[0]) / (ray @ WALL[0])
        what = np.full(depth.shape, BACKGROUND)
        turn, place = self.boxes[time, :3, :3], self.boxes[time, :3, 3]
        origin, along = (start - place) @ turn, ray @ turn
        one, other = (-HALF - origin) / along, (HALF - origin) / along
        near = np.minimum(one, other).max(axis=-1)
        hit = (near < np.maximum(one, other).min(axis=-1)) & (near > 0) & (near < depth)
        depth, what = np.where(hit, near, depth), np.where(hit, BOX, what)
        if self.pillar is not None:
            to_pillar = (2 - start[2]) / ray[..., 2]
            x = start[0] + to_pillar * ray[..., 0]
            hit = (x > self.pillar[0]) & (x < self.pillar[1]) & (to_pillar < depth)
            depth, what = np.where(hit, to_pillar, depth), np.where(hit, PILLAR, what)
        return start + ray * depth[..., None], what

    def own(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        return self.seen(frame, centres())

    def at(self, frame: int, time: int) -> np.ndarray:
        """Where the pixels of a frame are at a time."""
        points, what = self.own(frame)
        moved = self.boxes[time] @ np.linalg.inv(self.boxes[frame])
        return np.where((what == BOX)[..., None], points @ moved[:3, :3].T + moved[:3, 3], points)

    def places(self, frame: int, time: int) -> tuple[np.ndarray, np.ndarray]:
        """Where they are seen, and whether they are."""
        points = self.at(frame, time)
        pose = self.poses[time]
        inside = (points - pose[:3, 3]) @ pose[:3, :3]
        xy = inside[..., :2] / inside[..., 2:] * FOCAL + self.lens[:2, 2]
        there, _ = self.seen(time, xy)
        seen = np.linalg.norm(there - points, axis=-1) < 1e-6
        return xy, seen & (xy >= 0).all(axis=-1) & (xy < HW[::-1]).all(axis=-1)

    def picture(self, time: int, *, times: int) -> np.ndarray:
        """What the camera sees, textured, with so many times the maps' rows and columns."""
        fine = np.meshgrid(*(np.arange(times * side) + 0.5 for side in HW[::-1]))
        points, what = self.seen(time, np.stack(fine, axis=-1) / times)
        box = self.boxes[time]
        within = (points - box[:3, 3]) @ box[:3, :3]
        place = np.where((what == BOX)[..., None], within + 20, points)
        rng = np.random.default_rng(7)
        waves = rng.normal(size=(3, 24)) * rng.uniform(3, 12, size=24)
        value = np.cos(place @ waves + rng.uniform(0, 6.3, size=24)) @ rng.normal(size=(24, 3))
        return (128 + 18 * value).clip(0, 255).astype(np.uint8)

    def paths(self) -> FollowedPaths:
        def flow(frame, time):
            xy, seen = self.places(frame, time)
            return xy - centres(), seen.astype(np.float32)

        pairs = [(k, k + 1) for k in range(self.frames - 1)]
        return FollowedPaths.of([flow(a, b) for a, b in pairs], [flow(b, a) for a, b in pairs])


def box_scene(
    *, frames=6, step=(0.25, 0.05, 0.1), turn=(0.0, 0.0, 0.0), pillar=None, start=(-0.9, 0.0, 4.0)
) -> BoxScene:
    """A box that goes and turns by so much from frame to frame, before a camera that does, too."""
    time = np.arange(frames)[:, None]
    boxes, poses = (np.tile(np.eye(4), (frames, 1, 1)) for _ in range(2))
    boxes[:, :3, 3] = np.array(start) + time * step
    boxes[:, :3, :3] = Rotation.from_rotvec(time * turn + [0.1, 0.3, 0.05]).as_matrix()
    poses[:, :3, 3] = time * np.array([0.06, -0.02, 0.03])
    poses[:, :3, :3] = Rotation.from_rotvec(time * np.array([0.004, -0.012, 0.006])).as_matrix()
    return BoxScene(boxes=boxes, poses=poses, pillar=pillar)
