"""Tracks of one frame's pixels, and the trails that they draw behind them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from dynapoint.exports.paths import motion_of_paths
from dynapoint.results.colors import hue_colors
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer.cache import Report
from dynapoint.viewer.space import ViewSpace

# A grid of at most so many pixels is followed, from which tracks are chosen.
_GRID_PIXELS = 20_000
TRACKS = 400
_FADED = 0.2
# The region's borders, as shares of the picture: left, right, top, bottom.
Region = tuple[float, float, float, float]
WHOLE: Region = (0.0, 1.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class FrameTrails:
    """A grid of one frame's pixels at all times.

    Attributes:
        frame: Whose pixels.
        place: Where they are in the picture, in shares of its width and height.
        points: In units of the view.
        usable: Where a point's position at a time means something.
        moving: Probability that each moves.
    """

    frame: int
    place: Float32[np.ndarray, "track xy=2"]
    points: Float32[np.ndarray, "time track xyz=3"]
    usable: Bool[np.ndarray, "time track"]
    moving: Float32[np.ndarray, " track"]

    def choose(self, region: Region, *, only_moving: bool) -> Int64[np.ndarray, " chosen"]:
        """At most 400 tracks that start in a region, spread at random but always the same."""
        left, right, top, bottom = region
        x, y = self.place.T
        inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
        inside &= self.usable[self.frame]
        if only_moving:
            inside &= self.moving > 0.5
        order = np.random.default_rng(0).permutation(len(inside))
        return np.sort(order[inside[order]][:TRACKS])

    def colors(self, chosen: Int64[np.ndarray, " chosen"]) -> UInt8[np.ndarray, "chosen rgb=3"]:
        """A hue for each, by where it starts: the order of their heights in the picture."""
        rank = np.argsort(np.argsort(self.place[chosen, 1], kind="stable"), kind="stable")
        return hue_colors(0.8 * rank / max(1, len(chosen)))

    def heads(
        self, chosen: Int64[np.ndarray, " chosen"], time: int
    ) -> tuple[Float32[np.ndarray, "chosen xyz=3"], Bool[np.ndarray, " chosen"]]:
        """Where tracks are at a time, and whether that means something."""
        return self.points[time, chosen], self.usable[time, chosen]

    def segments(
        self, chosen: Int64[np.ndarray, " chosen"], time: int, length: int
    ) -> Float32[np.ndarray, "segment end=2 xyz=3"]:
        """Each track's last `length` steps, the oldest first.

        Always as many segments: those before the first time, or at places that mean nothing, have
        no length.
        """
        times = np.clip(np.arange(time - length, time + 1), 0, None)
        path, usable = self.points[times][:, chosen], self.usable[times][:, chosen]
        ends = np.stack([path[:-1], path[1:]], axis=2)
        whole = usable[:-1] & usable[1:]
        # Nothing is drawn where a segment ends where it starts: at its head, or aside of all.
        rest = np.where(usable[-1][:, None], path[-1], np.float32(0))
        ends = np.where(whole[..., None, None], ends, rest[None, :, None])
        return np.ascontiguousarray(ends.transpose(1, 0, 2, 3).reshape(-1, 2, 3))

    def segment_colors(
        self, chosen: Int64[np.ndarray, " chosen"], length: int
    ) -> UInt8[np.ndarray, "segment end=2 rgb=3"]:
        """The tracks' colours, darker where they are older; the same at all times."""
        light = np.linspace(_FADED, 1.0, length + 1, dtype=np.float32)
        light = np.stack([light[:-1], light[1:]], axis=1)
        mixed = self.colors(chosen)[:, None, None] * light[None, :, :, None]
        return mixed.round().astype(np.uint8).reshape(-1, 2, 3)


def frame_trails(rec: Reconstruction, space: ViewSpace, frame: int, report: Report) -> FrameTrails:
    """Follow a grid of one frame's pixels.

    Raises:
        DynapointError: The network is needed and cannot be had.
    """
    height, width = rec.map_hw
    step = int(np.ceil((height * width / _GRID_PIXELS) ** 0.5))
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step].reshape(2, -1)
    points = np.empty((rec.frame_count, len(rows), 3), dtype=np.float32)
    usable = np.empty((rec.frame_count, len(rows)), dtype=bool)
    # A pixel without a point at its own time has none at any.
    own = rec.own_time_confidence[frame, rows, columns] > 0
    for time in range(rec.frame_count):
        if time == frame:
            now, confidence = rec.own_time_points[frame], rec.own_time_confidence[frame]
        else:
            now, confidence = rec.decoder.decode([frame], time, keep=False)[0]
        points[time] = space.scaled(now[rows, columns])
        usable[time] = own & (confidence[rows, columns] > 0) & np.isfinite(points[time]).all(axis=1)
        report((time + 1) / rec.frame_count)
    xy = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=-1)
    image_from_map = np.linalg.inv(rec.pixel_map.map_from_image[frame])
    size = rec.frames.picture_hw[frame][::-1]
    return FrameTrails(
        frame=frame,
        place=((xy @ image_from_map.T)[:, :2] / size).astype(np.float32),
        points=points,
        usable=usable,
        moving=motion_of_paths(points, usable, own_time=frame, world_from_camera=np.eye(4)),
    )
