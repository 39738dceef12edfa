"""True windows of a long clip with known noise, in the place of a network.

What joins windows can be measured without a network: each window says where its pixels are, as a
network's would, in a world and a unit of its own, with errors of a stated kind and size.

The errors of one frame in one window (drawn anew in every other window):

- its depths, as its camera sees them, are multiplied by exp(σ·g + `pixel`·σ·n): g is a random
  field of the six monomials 1, x, y, x², xy, y² over the image with a root mean square of 1 over
  frames and pixels; n is white;
- its camera is turned by a rotation vector and moved by a vector of white noise, whose standard
  deviations along each axis are `jitter`·σ radians and `jitter`·σ median depths: an error of depth
  that tilts across the picture is about such a motion, and networks mix up the two. The camera of
  the window's first frame is the window's world, and has no error;
- points lie where the noisy camera sees them, so that maps and cameras fit together exactly;
- blotches of pixels are wrong: their depth is off by 15 to 40 %, and every second blotch is as
  confident as the rest. As many pixels are right and not confident.

A decoder moves points from their own time by the true displacement, with noise of σ of its length
and of `leak`·σ of the depth (white), so that still points stay almost still.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.spatial.transform import Rotation

from dynapoint.geometry.arrays import points_in_camera, transform_points
from dynapoint.synthetic.long_clip import LongClip
from dynapoint.windows.window_maps import WindowMaps

_KEPT = 64  # frames whose true maps are kept
_SKY_DEPTHS = 5.0  # where a pixel without truth is said to be, in median depths
_BLOTCH = 0.08  # radius of a wrong blotch, in image widths
_SURE, _UNSURE = 8.0, 0.3  # typical confidences


@dataclass(frozen=True, kw_only=True)
class WindowNoise:
    """How wrong windows are; the module says what each number is.

    Attributes:
        sigma: Of the logarithm of depth, smooth over a frame.
        pixel: The same, white, as a share of `sigma`.
        jitter: Of cameras, as a share of `sigma`.
        wrong: Share of pixels that are wrong.
        leak: Noise of still points at other times, as a share of `sigma`.
    """

    sigma: float = 0.02
    pixel: float = 0.5
    jitter: float = 0.25
    wrong: float = 0.04
    leak: float = 0.1


EXACT = WindowNoise(sigma=0.0, wrong=0.0)


class TrueWindows:
    """Says of any window of a clip what a network with known noise would.

    The same window is always answered the same: noise is drawn from `seed` and the window's frames.
    """

    def __init__(self, clip: LongClip, noise: WindowNoise | None = None, *, seed: int = 0) -> None:
        self.clip, self.seed = clip, seed
        self.noise = WindowNoise() if noise is None else noise
        self._own: OrderedDict[int, Float32[np.ndarray, "height width xyz=3"]] = OrderedDict()

    def window(self, frames: Sequence[int]) -> WindowMaps:
        """What a window of these frames says.

        Raises:
            ValueError: The frames are not increasing, or belong to several parts of the clip.
        """
        frames = tuple(int(frame) for frame in frames)
        if list(frames) != sorted(set(frames)):
            raise ValueError(f"frames are {frames}; wanted increasing ones.")
        if len({self.clip.part_of(frame) for frame in frames}) != 1:
            raise ValueError(f"frames {frames[0]} to {frames[-1]} belong to several scenes.")
        scaled_window_from_world = np.linalg.inv(self.world_from_window(frames))
        unit = self._unit(frames)
        answers = [self._frame(frames, frame) for frame in frames]
        cameras = scaled_window_from_world @ np.stack([answer.camera for answer in answers])
        cameras[:, :3, :3] /= unit
        cameras[0] = np.eye(4)
        return WindowMaps(
            frames=frames,
            world_from_camera=cameras,
            map_intrinsics=self.clip.intrinsics[list(frames)],
            points=np.stack(
                [
                    transform_points(scaled_window_from_world, answer.points).astype(np.float32)
                    for answer in answers
                ]
            ),
            confidence=np.stack([answer.confidence for answer in answers]),
        )

    def world_from_window(self, frames: Sequence[int]) -> Float64[np.ndarray, "4 4"]:
        """The true similarity [s·R | t] from a window's world to that of its part of the clip."""
        matrix = self.clip.world_from_camera[frames[0]].copy()
        matrix[:3, :3] /= self._unit(frames)
        return matrix

    def decoded(
        self, frames: Sequence[int], frame: int, time: int
    ) -> Float32[np.ndarray, "height width xyz=3"]:
        """Where the pixels of `frame` are at `time`, in the world of a window that holds both."""
        frames = tuple(int(each) for each in frames)
        if frame not in frames or time not in frames:
            raise ValueError(f"the window does not hold frames {frame} and {time}.")
        answer = self._frame(frames, frame)
        points = answer.points
        if time != frame:
            rng = self._rng(frames, 3, frame, time)
            truth = self._true_points(frame)
            moved = np.nan_to_num(self.clip.points(frame, time) - truth)
            length = np.linalg.norm(moved, axis=-1, keepdims=True)
            spread = self.noise.sigma * (length + self.noise.leak * answer.depth[..., None])
            points = points + moved + spread * rng.normal(size=points.shape)
        matrix = np.linalg.inv(self.world_from_window(frames))
        return transform_points(matrix, points).astype(np.float32)

    def _unit(self, frames: Sequence[int]) -> float:
        """Units of the window in a unit of the clip."""
        return float(np.exp(self._rng(frames, 0).uniform(np.log(0.3), np.log(3.0))))

    def _rng(self, frames: Sequence[int], *what: int) -> np.random.Generator:
        return np.random.Generator(
            np.random.PCG64([self.seed, self.clip.seed, *what, len(frames), *frames])
        )

    def _true_points(self, frame: int) -> Float32[np.ndarray, "height width xyz=3"]:
        if frame not in self._own:
            self._own[frame] = self.clip.points(frame, frame)
            if len(self._own) > _KEPT:
                self._own.popitem(last=False)
        self._own.move_to_end(frame)
        return self._own[frame]

    def _frame(self, frames: tuple[int, ...], frame: int) -> "_Answer":
        """What a window says of one of its frames, in the true world."""
        rng, noise = self._rng(frames, 1, frame), self.noise
        pose = self.clip.world_from_camera[frame]
        seen = points_in_camera(self._true_points(frame).astype(np.float64), pose)
        known = np.isfinite(seen).all(axis=-1)
        median = float(np.median(seen[known][:, 2])) if known.any() else 1.0
        if not known.all():
            seen = np.where(known[..., None], seen, self._rays(frame) * _SKY_DEPTHS * median)
        depth = seen[..., 2]
        error = noise.sigma * _low_order_field(rng, depth.shape)
        error += noise.sigma * noise.pixel * rng.normal(size=depth.shape)
        wrong, hides_it = _blotches(rng, depth.shape, noise.wrong)
        error += wrong * np.log1p(rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.4))
        camera = pose.copy()
        jitter = noise.jitter * noise.sigma * rng.normal(size=(2, 3))
        if frame != frames[0]:
            camera[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(jitter[0]).as_matrix()
            camera[:3, 3] = pose[:3, 3] + median * jitter[1]
        typical = np.where(wrong & ~hides_it, _UNSURE, _SURE)
        typical[rng.random(depth.shape) < noise.wrong] = _UNSURE
        confidence = typical * np.exp(0.3 * rng.normal(size=depth.shape))
        return _Answer(
            camera=camera,
            points=transform_points(camera, seen * np.exp(error)[..., None]),
            confidence=np.where(known, confidence, 0.0).astype(np.float32),
            depth=depth,
        )

    def _rays(self, frame: int) -> Float64[np.ndarray, "height width xyz=3"]:
        """Points at depth 1 in the camera."""
        height, width = self.clip.image_hw
        matrix = self.clip.intrinsics[frame]
        x = (np.arange(width) + 0.5 - matrix[0, 2]) / matrix[0, 0]
        y = (np.arange(height)[:, None] + 0.5 - matrix[1, 2]) / matrix[1, 1]
        return np.stack(np.broadcast_arrays(x, y, 1.0), axis=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answer:
    """A frame in the clip's own world and unit."""

    camera: Float64[np.ndarray, "4 4"]
    points: Float64[np.ndarray, "height width xyz=3"]
    confidence: Float32[np.ndarray, "height width"]
    depth: Float64[np.ndarray, "height width"]  # the true one


def _low_order_field(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> Float64[np.ndarray, "height width"]:
    """A random quadratic over the image, with an expected mean square of 1."""
    y = np.linspace(-1.0, 1.0, shape[0])[:, None]
    x = np.linspace(-1.0, 1.0, shape[1])
    terms = np.stack(np.broadcast_arrays(1.0, x, y, x * x, x * y, y * y))
    norm = np.sqrt((terms**2).mean(axis=(1, 2), keepdims=True))
    return np.asarray((rng.normal(size=(6, 1, 1)) * terms / norm).sum(axis=0) / np.sqrt(6.0))


def _blotches(
    rng: np.random.Generator, shape: tuple[int, ...], share: float
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Discs that cover about a share of the image; and which of them nothing gives away."""
    height, width = shape
    radius = _BLOTCH * width
    count = rng.poisson(share * height * width / (np.pi * radius**2))
    y, x = np.arange(height)[:, None], np.arange(width)
    wrong, hidden = np.zeros(shape, bool), np.zeros(shape, bool)
    for index in range(count):
        at = rng.uniform(0.0, [height, width])
        disc = (y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2
        wrong |= disc
        if index % 2:
            hidden |= disc
    return wrong, hidden & wrong
