"""Long clips of rectangles in closed form, cut into windows with worlds and units of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from dynapoint.inference.windowed_decoder import ClipMaps, WindowCameras, WindowedDecoder
from dynapoint.windows.spans import Segment, Window


@dataclass(frozen=True)
class Rectangle:
    """Points (x, y, 0) with |x| <= half[0], |y| <= half[1], moved by a pose that time changes."""

    place: np.ndarray
    turn: np.ndarray
    half: tuple[float, float]
    velocity: np.ndarray
    spin: np.ndarray

    def pose(self, time: float) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(self.turn + self.spin * time).as_matrix()
        pose[:3, 3] = self.place + self.velocity * time
        return pose


def rectangle(place, half, *, turn=(0, 0, 0), velocity=(0, 0, 0), spin=(0, 0, 0)) -> Rectangle:
    arrays = (np.array(each, dtype=float) for each in (place, turn, velocity, spin))
    place, turn, velocity, spin = arrays
    return Rectangle(place=place, turn=turn, half=half, velocity=velocity, spin=spin)


@dataclass(frozen=True)
class LongClip:
    """Rectangles, and a camera that sees them: points of every pixel at every time, and truth."""

    shapes: Sequence[Rectangle]
    poses: np.ndarray
    lens: np.ndarray
    map_hw: tuple[int, int]
    seen_at: dict = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.poses)

    def hit(self, start, rays, time):
        """Which shape rays meet first, and at how many times their length; -1 and inf: none."""
        nearest, which = np.full(len(rays), np.inf), np.full(len(rays), -1)
        for index, shape in enumerate(self.shapes):
            pose = np.linalg.inv(shape.pose(time))
            origin, way = pose[:3, :3] @ start + pose[:3, 3], rays @ pose[:3, :3].T
            with np.errstate(all="ignore"):
                far = -origin[2] / way[:, 2]
                there = origin[:2] + far[:, None] * way[:, :2]
                good = (far > 1e-9) & (np.abs(there) <= shape.half).all(axis=1) & (far < nearest)
            nearest[good], which[good] = far[good], index
        return which, nearest

    def own(self, frame):
        """Points (h*w, 3) and shapes of a frame's pixels at its own time."""
        if frame not in self.seen_at:
            self.seen_at[frame] = self._own(frame)
        return self.seen_at[frame]

    def _own(self, frame):
        height, width = self.map_hw
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        pixels = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
        pose = self.poses[frame]
        rays = pixels @ np.linalg.inv(self.lens).T @ pose[:3, :3].T
        which, far = self.hit(pose[:3, 3], rays, frame)
        assert (which >= 0).all(), "the farthest shape has to fill the view"
        return pose[:3, 3] + rays * far[:, None], which

    def at(self, frame, time):
        """Points (h*w, 3) of a frame's pixels at a time."""
        points, which = self.own(frame)
        moved = points.copy()
        for index, shape in enumerate(self.shapes):
            step = shape.pose(time) @ np.linalg.inv(shape.pose(frame))
            if not np.array_equal(shape.pose(time), shape.pose(frame)):
                on = which == index
                moved[on] = points[on] @ step[:3, :3].T + step[:3, 3]
        return moved

    def seen(self, points, time):
        """Whether the camera of a time sees points, exactly."""
        pose = self.poses[time]
        camera = (points - pose[:3, 3]) @ pose[:3, :3]
        xy = camera @ self.lens.T
        with np.errstate(all="ignore"):
            xy = xy[:, :2] / xy[:, 2:]
        height, width = self.map_hw
        inside = (camera[:, 2] > 0) & ((xy > 0) & (xy < [width, height])).all(axis=1)
        _, far = self.hit(pose[:3, 3], points - pose[:3, 3], time)
        return inside & (far > 1 - 1e-6)


class TrueWindow:
    """Decodes what is true of one window, in its world, with noise where it moves."""

    def __init__(self, clip, window, rng, *, noise=0.0, still_noise=0.0):
        self.clip, self.frames = clip, window.frames
        self.noise, self.still_noise = noise, still_noise
        self.seed = int(rng.integers(1 << 30))
        self.unit = float(np.exp(rng.normal(0, 0.7)))
        self.ratio = np.exp(rng.normal(0, 0.05, (len(self.frames), *clip.map_hw)))
        world = np.eye(4)
        world[:3, :3] = Rotation.random(rng=rng).as_matrix()
        world[:3, 3] = rng.normal(size=3)
        self.poses = np.stack([world @ clip.poses[frame] for frame in self.frames])
        self.poses[:, :3, 3] *= self.unit
        self.lens = np.tile(clip.lens, (len(self.frames), 1, 1))
        self.lens[:, [0, 1], [0, 1]] *= np.exp(rng.normal(0, 0.1))
        self.asked: list[tuple[int, int]] = []

    def decode(self, frames, time, *, keep=True):
        return [self._one(frame, time) for frame in frames]

    def _one(self, local, time):
        clip, frame = self.clip, self.frames[local]
        if local != time:
            self.asked.append((frame, self.frames[time]))
        points = clip.at(frame, self.frames[time])
        camera = (points - clip.poses[frame][:3, 3]) @ clip.poses[frame][:3, :3]
        if local != time:
            rng = np.random.default_rng([self.seed, local, time])
            moves = (points != clip.own(frame)[0]).any(axis=1)
            by = np.where(moves, self.noise, self.still_noise)
            camera = camera * (1 + by * rng.normal(size=len(camera)))[:, None]
        across = clip.lens[[0, 1], [0, 1]] / self.lens[local][[0, 1], [0, 1]]
        camera = camera * np.append(across, 1.0) * self.ratio[local].reshape(-1, 1) * self.unit
        pose = self.poses[local]
        told = (camera @ pose[:3, :3].T + pose[:3, 3]).reshape(*clip.map_hw, 3)
        # Float32 would round differently what is still in the clip's world.
        if local != time:
            still = (points == clip.own(frame)[0]).all(axis=1).reshape(clip.map_hw)
            if not self.still_noise:
                told[still] = self._one(local, local)[0][still]
        return told.astype(np.float32), np.full(clip.map_hw, 1.0 + local, dtype=np.float32)


def windows_of(count, size, overlap, *, segment=0, start=0):
    """Windows over frames; the last one ends with them."""
    starts = list(range(0, max(1, count - size), size - overlap)) if count > size else [0]
    if count > size and starts[-1] + size < count:
        starts.append(count - size)
    return [
        Window(frames=tuple(range(start + s, start + min(s + size, count))), segment=segment)
        for s in starts
    ]


def windowed(clip, rng, *, size=24, overlap=8, noise=0.0, own_noise=0.0, still_noise=0.0):
    """A decoder over windows of a clip of one segment, and the windows that it asks."""
    windows = windows_of(clip.count, size, overlap)
    told = [TrueWindow(clip, w, rng, noise=noise, still_noise=still_noise) for w in windows]
    return decoder_over(clip, windows, told, (), rng, own_noise=own_noise), told


def decoder_over(clip, windows, told, segments: Sequence[Segment], rng, *, own_noise=0.0):
    own = np.stack([clip.own(frame)[0] for frame in range(clip.count)])
    if own_noise:
        by = 1 + own_noise * rng.normal(size=own.shape[:2])[..., None]
        own = clip.poses[:, None, :3, 3] + (own - clip.poses[:, None, :3, 3]) * by
    maps = ClipMaps(
        world_from_camera=clip.poses,
        map_intrinsics=np.tile(clip.lens, (clip.count, 1, 1)),
        points=own.reshape(clip.count, *clip.map_hw, 3).astype(np.float32),
        confidence=np.full((clip.count, *clip.map_hw), 3.0, dtype=np.float32),
        target_of_frame=np.arange(clip.count),
    )
    cameras = [
        WindowCameras(window=w, world_from_camera=t.poses, map_intrinsics=t.lens)
        for w, t in zip(windows, told, strict=True)
    ]
    return WindowedDecoder(maps, cameras, segments, lambda k: told[k])


def moving_clip(rng, *, count=80, map_hw=(30, 40), speed=1.0, occluder=True, back=False):
    """A wall, something that moves before it and turns, and a post that hides it for a while.

    Args:
        rng: Of the generator.
        count: Frames.
        map_hw: Size of the maps.
        speed: Of what moves.
        occluder: Whether the post stands there.
        back: Whether the camera goes back to its start.
    """
    wall = rectangle((0, 0, 6), (40, 40), turn=rng.normal(0, 0.1, 3))
    mover = rectangle(
        (-1.2, 0.1, 3.5),
        (0.5, 0.6),
        turn=rng.normal(0, 0.15, 3),
        velocity=np.array([2.4 / 80, 0.0, 0.004]) * speed,
        spin=rng.normal(0, 0.002, 3),
    )
    post = rectangle((0.1, 0, 2.5), (0.22, 3.0))
    phase = np.arange(count) / 80
    if back:
        phase = np.minimum(phase, phase[-1] - phase)
    poses = np.tile(np.eye(4), (count, 1, 1))
    turn = phase[:, None] * rng.normal(0, 0.06, 3)
    poses[:, :3, :3] = Rotation.from_rotvec(turn).as_matrix()
    poses[:, :3, 3] = phase[:, None] * rng.normal(0, 0.15, 3)
    height, width = map_hw
    lens = np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1.0]])
    shapes = [wall, mover, *([post] if occluder else [])]
    return LongClip(shapes=shapes, poses=poses, lens=lens, map_hw=map_hw)
