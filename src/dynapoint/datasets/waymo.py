"""Waymo Open Dataset, perception, version 2: LiDAR points seen by the front camera.

Known from the data set's public code (Sun et al. 2020; waymo-research/waymo-open-dataset,
`src/waymo_open_dataset/v2`). A segment is one Parquet file in each component's folder; read are
`camera_image`, `camera_calibration`, `lidar`, `lidar_calibration`, `lidar_camera_projection`,
`lidar_pose`, `lidar_box` and `vehicle_pose`. What is used of them:

- The **camera** is FRONT (1). Its axes are x forward, y left, z up; here they are turned to
  OpenCV's. Matrices are row by row. The pose of a picture is that of the vehicle at the picture's
  own time (`pose`) times the camera's place in the vehicle (`extrinsic`).
- The **lens** bends rays (OpenCV's k1, k2, p1, p2, k3). Pictures are undistorted here, with the
  calibrated pinhole matrix, and so are the pixels of points: picture, lens and points agree.
  (DUSt3R's and DPM's preparation leaves pictures as they are.) Pixel 0 begins at the picture's left
  edge, says the code of the projections; UNCONFIRMED: that the principal point counts so too.
- **Points** are the first returns of all LiDARs. The one on the roof moves while it turns: a pose
  for every pixel leads to the global frame; the others have the vehicle's pose of the frame.
- The **pixel** of a point is the one that `lidar_camera_projection` gives, which knows the rolling
  shutter. Of several points in a pixel the nearest one counts. A point that the LiDAR sees past an
  edge and the camera does not can still stand in front of what the camera sees.
- **Motion**: a point in a labelled box moves with the box (DPM, Sucar et al. 2025, does the same);
  where the box is not labelled at a time, it is NaN. A point in no box stands still. Unknown at
  other times (NaN) are points up to 0.1 m outside of a box, and those in zones without labels
  (channel 3 of a range image is 1). People in boxes are taken as rigid.
- The **world** is the vehicle at frame 0, in metres: the set's own global frame has coordinates of
  many kilometres, which float32 would round to millimetres.
- Depth is z of these points. Pixels without one, nearly all of 1920 x 1280, are NaN.

UNCONFIRMED, because no real segment but a `vehicle_pose` file has been read: how the large files
are cut into row groups (a file with one group is read anew for each frame, correctly but slowly);
value 1 of channel 3 (from public converters).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, listed
from dynapoint.datasets.parquet import read_columns
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.datasets.waymo_lidar import Laser, moved_by_pixel_poses, points_in_vehicle
from dynapoint.datasets.waymo_segment import (
    CAMERA,
    FRONT,
    LASER,
    PICTURE,
    ROOF,
    TIME,
    Segment,
    component_file,
    read_range_image,
    read_segment,
    undistorted,
    undistorted_pixels,
)
from dynapoint.geometry.arrays import points_in_camera, transform_points

KEY = "waymo"
LAYOUT = "SPLIT/{camera_image,lidar,...}/SEGMENT.parquet (version 2)"
_SHELL_M = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sweep:
    """The points of a frame that the camera shows, one for a pixel.

    Attributes:
        box: Which box each lies in, or -1.
        unknown: Whether nothing is known of it at other times.
    """

    row: Int64[np.ndarray, " point"]
    column: Int64[np.ndarray, " point"]
    xyz: Float64[np.ndarray, "point xyz=3"]
    box: Int64[np.ndarray, " point"]
    unknown: Bool[np.ndarray, " point"]


class WaymoSequence(TruthSequence):
    """One segment, seen by the front camera."""

    dataset = KEY
    holds = Holds(lens=True, poses=True, depth=True, motion="sparse", metric=True)

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.name = name

    # Attributes of the interface that are looked for when they are asked for.
    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames have a picture of the front camera."""
        return len(self._segment.times)

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of its pictures."""
        return self._segment.image_hw

    @cached_property
    def _segment(self) -> Segment:
        return read_segment(self._folder, self.name)

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB, undistorted."""
        path = component_file(self._folder, "camera_image", self.name)
        table = read_columns(
            path, [PICTURE + "image"], {TIME: int(self._segment.times[frame]), CAMERA: FRONT}
        )
        try:
            with Image.open(BytesIO(table[PICTURE + "image"][0].as_py())) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (IndexError, TypeError, OSError, SyntaxError, ValueError) as error:
            raise damaged(path, f"the picture of frame {frame}: {error}") from error
        if pixels.shape != (*self.image_hw, 3):
            raise damaged(path, f"frame {frame} is {pixels.shape}, not {(*self.image_hw, 3)}")
        return undistorted(pixels, self._segment)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the undistorted picture, pixel centres at half-integers."""
        return self._segment.intrinsics.copy()

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose at the time of the picture; the world is the vehicle at frame 0."""
        return self._segment.world_from_camera[frame].copy()

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Give z of the LiDAR's points; NaN at all other pixels."""
        sweep = _sweep(self, frame)
        depth = np.full(self.image_hw, np.nan, np.float32)
        camera = points_in_camera(sweep.xyz, self._segment.world_from_camera[frame])
        depth[sweep.row, sweep.column] = camera[:, 2]
        return depth

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """Where the LiDAR's points of `frame` are at `time`, in the world; NaN at other pixels."""
        sweep, boxes = _sweep(self, frame), self._segment.boxes
        xyz = sweep.xyz
        if time != frame:
            xyz = boxes.carried(xyz, sweep.box, frame, time)
            xyz[sweep.unknown] = np.nan
        points = np.full((*self.image_hw, 3), np.nan, np.float32)
        points[sweep.row, sweep.column] = xyz
        return points

    def sweep(self, frame: int) -> _Sweep:
        """The points of a frame, freshly read."""
        segment = self._segment
        parts = []
        for laser in segment.lasers:
            parts.append(_laser_points(self._folder, self.name, segment, laser, frame))
        xyz, xy, unlabelled = (np.concatenate(part) for part in zip(*parts, strict=True))
        column, row = np.floor(undistorted_pixels(xy, segment)).astype(np.int64).T
        height, width = segment.image_hw
        z = points_in_camera(xyz, segment.world_from_camera[frame])[:, 2]
        order = np.flatnonzero((row >= 0) & (row < height) & (column >= 0) & (column < width))
        order = order[np.argsort(z[order], kind="stable")]
        _, nearest = np.unique(row[order] * width + column[order], return_index=True)
        kept = order[nearest]
        box, near = segment.boxes.holding(xyz[kept], frame, _SHELL_M)
        return _Sweep(
            row=row[kept],
            column=column[kept],
            xyz=xyz[kept],
            box=box,
            unknown=near | (unlabelled[kept] & (box < 0)),
        )


@lru_cache(maxsize=4)
def _sweep(sequence: WaymoSequence, frame: int) -> _Sweep:
    return sequence.sweep(frame)


def _laser_points(
    folder: Path, name: str, segment: Segment, laser: Laser, frame: int
) -> tuple[
    Float64[np.ndarray, "point xyz=3"],
    Float64[np.ndarray, "point xy=2"],
    Bool[np.ndarray, " point"],
]:
    """A LiDAR's points that the front camera shows: places, pixels, and whether unlabelled."""
    row = {TIME: int(segment.times[frame]), LASER: laser.name}
    path = component_file(folder, "lidar", name)
    image = read_range_image(path, "[LiDARComponent]", row, 4)
    projected = read_range_image(
        component_file(folder, "lidar_camera_projection", name),
        "[LiDARCameraProjectionComponent]",
        row,
        6,
    )
    if image.shape[:2] != projected.shape[:2]:
        raise damaged(path, f"frame {frame} is {image.shape[:2]}, projected {projected.shape[:2]}")
    first, second = projected[..., 0] == FRONT, projected[..., 3] == FRONT
    used = (image[..., 0] > 0) & (first | second)
    xy = np.where(first[..., None], projected[..., 1:3], projected[..., 4:6])[used]
    try:
        points = points_in_vehicle(image[..., 0], laser)[used]
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if laser.name == ROOF:
        path = component_file(folder, "lidar_pose", name)
        poses = read_range_image(path, "[LiDARPoseComponent]", row, 6)
        if poses.shape[:2] != image.shape[:2]:
            raise damaged(path, f"frame {frame} is {poses.shape[:2]}, not {image.shape[:2]}")
        points = transform_points(
            segment.world_from_global, moved_by_pixel_poses(points, poses[used])
        )
    else:
        points = transform_points(segment.world_from_vehicle[frame], points)
    return points, xy.astype(np.float64), image[..., 3][used] == 1


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The segments of a split in the order of their names.

    Raises:
        InputError: There is no picture file of the split.
    """
    folder = root / split
    pictures: Sequence[Path] = listed(folder / "camera_image", "*.parquet", LAYOUT)
    return [WaymoSequence(folder, path.stem) for path in pictures]


CARD = DatasetCard(
    key=KEY,
    title="Waymo Open",
    source="Sun et al. 2020, Waymo Open Dataset, perception, version 2 (Parquet)",
    licence="Waymo Dataset License, not commercial",
    splits=("validation", "training"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
    extra="datasets",
)
