"""The two kinds of clouds: a frame's own pixels, and all frames frozen at one time."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int64, UInt8

from dynapoint.exports.clouds import moving_cloud, shown_weight
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.paths import motion_of_paths
from dynapoint.results.asking import map_pictures
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.store import read_arrays
from dynapoint.viewer.cache import Report, cached
from dynapoint.viewer.space import ViewSpace, packed

# What is drawn while time moves: browsers without a graphics card draw no more in time.
COARSE_POINTS = 40_000
# With what is added once time rests; 9 bytes each, about 1.2 MB.
OWN_TIME_POINTS = 130_000
# 6 bytes each, as their colours stay: about 1.2 MB a step.
FROZEN_POINTS = 200_000
# All points of a cloud are drawn equally large, so that all but the farthest surfaces close.
SPACING_PERCENTILE = 75


class OwnTimeClouds:
    """The pixels of each frame at its own time; the same pixels, and so as many, of every frame.

    Their order is random, so that the first ones are a cloud of their own.
    """

    def __init__(self, rec: Reconstruction, space: ViewSpace) -> None:
        self._rec = rec
        self._space = space
        pixels = int(np.prod(rec.map_hw))
        order = np.random.default_rng(0).permutation(pixels)[:OWN_TIME_POINTS]
        self.pixel: Int64[np.ndarray, " point"] = order

    @cached_property
    def spacing(self) -> float:
        """How far apart neighbours of all points are at the depth of rather far things (view)."""
        rec = self._rec
        points, shown = rec.own_time_points[0], rec.own_time_confidence[0] > 0
        depth = points[..., 2][shown & np.isfinite(points).all(axis=-1)] / self._space.unit
        far = float(np.percentile(depth, SPACING_PERCENTILE)) if depth.size else 1.0
        thinned = float(np.prod(rec.map_hw) / len(self.pixel)) ** 0.5
        return max(far, 0.1) * thinned / float(rec.map_intrinsics[0, 0, 0])

    @cached_property
    def _stored_colors(self) -> np.ndarray | None:
        """The frames at the maps' resolution, if a stored scene holds them."""
        folder = self._rec.folder
        return None if folder is None else read_arrays(folder).arrays["images"]

    @cached_property
    def _colors(self) -> dict[int, UInt8[np.ndarray, "point rgb=3"]]:
        return {}

    def colors(self, frame: int) -> UInt8[np.ndarray, "point rgb=3"]:
        """Colours (sRGB) of a frame's points."""
        if frame not in self._colors:
            stored = self._stored_colors
            picture = map_pictures(self._rec, [frame])[0] if stored is None else stored[frame]
            self._colors[frame] = np.ascontiguousarray(picture.reshape(-1, 3)[self.pixel])
        return self._colors[frame]

    def points(self, frame: int, options: ExportOptions) -> Float16[np.ndarray, "point xyz=3"]:
        """Where a frame's points are at its own time (view); what the options hide lies aside."""
        points = self._rec.own_time_points[frame].reshape(-1, 3)[self.pixel]
        confidence = self._rec.own_time_confidence[frame].reshape(-1)[self.pixel]
        weight = shown_weight(points, confidence, self.colors(frame), options)
        return packed(self._space.scaled(points), weight > 0)


@dataclass(frozen=True, kw_only=True)
class FrozenClouds:
    """All frames fused: each point with its path over all times (view, half floats).

    Points that mean nothing at a time lie aside at it. Their order is random.
    """

    paths: Float16[np.ndarray, "time point xyz=3"]
    usable: Bool[np.ndarray, "time point"]
    colors: UInt8[np.ndarray, "point rgb=3"]
    confidence: Float32[np.ndarray, " point"]
    spacing: Float32[np.ndarray, " point"]
    moving: Float32[np.ndarray, " point"]

    def points(self, time: int, options: ExportOptions) -> Float16[np.ndarray, "point xyz=3"]:
        """Where all points are at one time; what the options hide lies aside."""
        weight = self._weight(options)
        return packed(self.paths[time].astype(np.float32), self.usable[time] & (weight > 0))

    def _weight(self, options: ExportOptions) -> Float32[np.ndarray, " point"]:
        """What the options show, whatever the time."""
        return shown_weight(
            np.zeros((len(self.colors), 3), dtype=np.float32), self.confidence, self.colors, options
        )


def frozen_clouds(rec: Reconstruction, space: ViewSpace, report: Report) -> FrozenClouds:
    """Fuse all frames and follow every point; once for each scene.

    Raises:
        DynapointError: The network is needed and cannot be had.
    """

    def make() -> dict[str, np.ndarray]:
        moving = moving_cloud(rec, ExportOptions(), max_points=FROZEN_POINTS, report=report)
        paths = space.scaled(moving.points)
        middle = len(moving.times) // 2
        share = motion_of_paths(paths, moving.usable, own_time=middle, world_from_camera=np.eye(4))
        order = np.random.default_rng(0).permutation(len(moving.colors))
        return {
            "paths": packed(paths, moving.usable)[:, order],
            "usable": moving.usable[:, order],
            "colors": moving.colors[order],
            "confidence": moving.confidence[order],
            "spacing": space.scaled(moving.spacing)[order],
            "moving": share[order],
        }

    return FrozenClouds(**cached(rec, "frozen", make))
