"""Waymo's range images as points.

Formulas of the Waymo Open Dataset's public code (Sun et al. 2020; waymo-research/
waymo-open-dataset: `utils/range_image_utils.py`, `v2/perception/utils/lidar_utils.py`,
`v2/perception/lidar.py`, `utils/transform_utils.py`): row 0 has the highest inclination, columns go
from +pi to -pi around the sensor's z axis less the sensor's own yaw in the vehicle.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, kw_only=True, eq=False)
class Laser:
    """One LiDAR.

    Attributes:
        name: Its number; 1 is the one on the roof.
        vehicle_from_laser: Its pose in the vehicle.
        inclinations: In rad, lowest first as they are stored; None where they are uniform.
        lowest, highest: In rad, of all rows, where they are uniform.
    """

    name: int
    vehicle_from_laser: Float64[np.ndarray, "4 4"]
    inclinations: Float64[np.ndarray, " row"] | None
    lowest: float
    highest: float

    def of_rows(self, rows: int) -> Float64[np.ndarray, " row"]:
        """The inclination of each row of a range image.

        Raises:
            ValueError: Another number of rows was calibrated.
        """
        if self.inclinations is None:
            share = (np.arange(rows) + 0.5) / rows
            return (self.lowest + share * (self.highest - self.lowest))[::-1]
        if len(self.inclinations) != rows:
            raise ValueError(f"{rows} rows, {len(self.inclinations)} inclinations")
        return self.inclinations[::-1]


def points_in_vehicle(
    ranges: Float[np.ndarray, "row column"], laser: Laser
) -> Float64[np.ndarray, "row column xyz=3"]:
    """Points in the vehicle at the time of each pixel; ranges of 0 or less give no real point.

    Raises:
        ValueError: The range image has another number of rows than the calibration.
    """
    rows, columns = ranges.shape
    inclination = laser.of_rows(rows)[:, None]
    pose = laser.vehicle_from_laser
    share = (np.arange(columns, 0, -1) - 0.5) / columns
    azimuth = (2 * share - 1) * np.pi - np.arctan2(pose[1, 0], pose[0, 0])
    directions = np.stack(
        [
            np.cos(azimuth) * np.cos(inclination),
            np.sin(azimuth) * np.cos(inclination),
            np.broadcast_to(np.sin(inclination), ranges.shape),
        ],
        axis=-1,
    )
    return directions * ranges.astype(np.float64)[..., None] @ pose[:3, :3].T + pose[:3, 3]


def moved_by_pixel_poses(
    points: Float64[np.ndarray, "point xyz=3"], poses: Float[np.ndarray, "point pose=6"]
) -> Float64[np.ndarray, "point xyz=3"]:
    """Points of the vehicle in the global frame; a pose is roll, pitch, yaw (rad), x, y, z (m).

    The rotation is first about x, then y, then z.
    """
    turns = Rotation.from_euler("ZYX", poses[:, [2, 1, 0]].astype(np.float64))
    return turns.apply(points) + poses[:, 3:]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedBoxes:
    """The labelled boxes of a segment.

    Attributes:
        world_from_box: Poses; NaN where a box is not labelled.
        sizes: Along the box's own axes, in metres.
    """

    world_from_box: Float64[np.ndarray, "box frame 4 4"]
    sizes: Float64[np.ndarray, "box frame xyz=3"]

    def holding(
        self, points: Float64[np.ndarray, "point xyz=3"], frame: int, shell: float
    ) -> tuple[Int64[np.ndarray, " point"], Bool[np.ndarray, " point"]]:
        """Which box each point lies in at a frame, -1 for none, and whether it lies near one.

        Near are points outside of all boxes, by at most `shell` metres. Of several boxes the one
        counts in which a point lies deepest.
        """
        box, deepest = np.full(len(points), -1), np.full(len(points), np.inf)
        for index in range(len(self.sizes)):
            pose = self.world_from_box[index, frame]
            if np.isnan(pose).any():
                continue
            inside = (points - pose[:3, 3]) @ pose[:3, :3]
            outside_by = (np.abs(inside) - self.sizes[index, frame] / 2).max(axis=1)
            box[outside_by < np.minimum(deepest, 0)] = index
            deepest = np.minimum(deepest, outside_by)
        return box, (box < 0) & (deepest <= shell)

    def carried(
        self,
        points: Float64[np.ndarray, "point xyz=3"],
        box: Int64[np.ndarray, " point"],
        frame: int,
        time: int,
    ) -> Float64[np.ndarray, "point xyz=3"]:
        """Where points are at another time that lie in boxes at a frame; NaN without a box then."""
        moved = points.copy()
        for index in np.unique(box[box >= 0]):
            held = box == index
            now, then = self.world_from_box[index, [frame, time]]
            inside = (points[held] - now[:3, 3]) @ now[:3, :3]
            moved[held] = inside @ then[:3, :3].T + then[:3, 3]
        return moved
