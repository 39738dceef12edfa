"""Two windows of one made-up clip, each in a world and a unit of its own, with known errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from dynapoint.geometry.sim3 import exp_sim3, invert_similarity
from dynapoint.windows.window_maps import WindowMaps

HW = (36, 64)


def smooth(rng: np.random.Generator, hw: tuple[int, int], cells: int) -> np.ndarray:
    """A random field of standard deviation about 1 that changes over a picture `cells` times."""
    coarse = rng.normal(size=(cells, cells + 2))
    return cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Errors:
    """Standard deviations of what a window says wrongly.

    Attributes:
        depth: Of the logarithm, smooth over a picture, of each frame and window by itself.
        cells: How often these change over a picture.
        frame_scale: Of the logarithm, the same for all pixels of a frame.
        turn: Of cameras, with their points, in radians.
        shift: Of cameras, with their points, in units of the typical depth.
    """

    depth: float = 0.0
    cells: int = 5
    frame_scale: float = 0.0
    turn: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True)
class MadeClip:
    """A walk through a place of smooth relief; every frame's map has depths of its own."""

    world_from_camera: np.ndarray
    depth: np.ndarray
    rays: np.ndarray
    intrinsics: np.ndarray = field(repr=False)

    def window(
        self,
        rng: np.random.Generator,
        frames: Sequence[int],
        errors: Errors | None = None,
        *,
        unit: float = 1.0,
    ) -> tuple[WindowMaps, np.ndarray]:
        """What a window says, and the similarity from the clip's world to the window's.

        Errors of the first frame's camera do not count as errors of the world.
        """
        errors = errors or Errors()
        frames = list(frames)
        count, hw = len(frames), self.depth.shape[1:]
        typical = float(np.median(self.depth))
        jitter = rng.normal(size=(count, 7)) * errors.turn
        jitter[:, 3:6] = rng.normal(size=(count, 3)) * errors.shift * typical
        jitter[:, 6] = 0
        cameras = self.world_from_camera[frames] @ exp_sim3(jitter)
        wrong = [
            errors.depth * smooth(rng, hw, errors.cells) + errors.frame_scale * rng.normal()
            for _ in frames
        ]
        window_from_world = np.diag([unit, unit, unit, 1.0]) @ invert_similarity(cameras[0])
        cameras = invert_similarity(cameras[0]) @ cameras
        seen = (self.depth[frames] * np.exp(wrong))[..., None] * self.rays
        points = np.einsum("fij,fhwj->fhwi", cameras[:, :3, :3], seen)
        points += cameras[:, None, None, :3, 3]
        cameras[:, :3, 3] *= unit
        maps = WindowMaps(
            frames=tuple(frames),
            world_from_camera=cameras,
            map_intrinsics=np.tile(self.intrinsics, (count, 1, 1)),
            points=(unit * points).astype(np.float32),
            confidence=rng.uniform(0.8, 1.2, size=points.shape[:3]).astype(np.float32),
        )
        return maps, window_from_world


def made_clip(
    rng: np.random.Generator, count: int = 12, *, hw: tuple[int, int] = HW, relief: float = 0.5
) -> MadeClip:
    """A clip whose cameras turn and walk, and whose depths are about three times e^±relief."""
    height, width = hw
    focal = 0.9 * width
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    poses = np.tile(np.eye(4), (count, 1, 1))
    turn = np.cumsum(0.03 * rng.normal(size=(count, 3)), axis=0)
    poses[:, :3, :3] = Rotation.from_rotvec(turn).as_matrix()
    poses[:, :3, 3] = np.cumsum(0.1 * rng.normal(size=(count, 3)) + [0.08, 0, 0.04], axis=0)
    place = smooth(rng, hw, 6)
    depth = np.stack(
        [3 * np.exp(relief * (place + 0.3 * smooth(rng, hw, 8))) for _ in range(count)]
    )
    return MadeClip(poses, depth, pinhole_rays(hw, intrinsics), intrinsics)


def pinhole_rays(hw: tuple[int, int], intrinsics: np.ndarray) -> np.ndarray:
    """Directions of pixels in the camera, of which z is 1."""
    y, x = np.mgrid[: hw[0], : hw[1]] + 0.5
    homogeneous = np.stack([x, y, np.ones(hw)], axis=-1)
    return homogeneous @ np.linalg.inv(intrinsics).T


def two_windows(
    rng: np.random.Generator,
    errors: Errors | None = None,
    *,
    clip: MadeClip | None = None,
    units: tuple[float, float] = (1.0, 1.0),
) -> tuple[WindowMaps, WindowMaps, np.ndarray]:
    """Windows of the first and the last eight frames of a clip of twelve; and first-from-second."""
    clip = clip or made_clip(rng)
    first, first_from_world = clip.window(rng, range(8), errors, unit=units[0])
    second, second_from_world = clip.window(rng, range(4, 12), errors, unit=units[1])
    return first, second, first_from_world @ invert_similarity(second_from_world)
