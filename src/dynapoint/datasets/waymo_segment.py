"""A segment of Waymo's data set, version 2: what holds for all of its frames, and range images.

Names of columns are those of the public code (waymo-research/waymo-open-dataset,
`v2/component.py`: `[Component].field.subfield`); what they mean is told in `waymo`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from dynapoint.datasets.files import damaged
from dynapoint.datasets.parquet import read_columns
from dynapoint.datasets.waymo_lidar import Laser, TrackedBoxes

if TYPE_CHECKING:
    import pyarrow

FRONT, ROOF = 1, 1
TIME, CAMERA, LASER = "key.frame_timestamp_micros", "key.camera_name", "key.laser_name"
PICTURE = "[CameraImageComponent]."
_BOX_ID = "key.laser_object_id"
_CALIBRATION = "[CameraCalibrationComponent]."
_LIDAR_CALIBRATION = "[LiDARCalibrationComponent]."
_BOX = "[LiDARBoxComponent].box."
_VEHICLE = "[VehiclePoseComponent].world_from_vehicle.transform"
_LENS = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
_OPENCV_FROM_CAMERA = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """What is the same for all frames, and what is small.

    Attributes:
        times: Of the frames, in microseconds.
        distortion: k1, k2, p1, p2, k3.
        world_from_vehicle: The world is the vehicle at frame 0.
        world_from_global: Leads there from the data set's own frame.
    """

    times: Int64[np.ndarray, " frame"]
    image_hw: tuple[int, int]
    intrinsics: Float64[np.ndarray, "3 3"]
    distortion: Float64[np.ndarray, "coefficient=5"]
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    world_from_vehicle: Float64[np.ndarray, "frame 4 4"]
    world_from_global: Float64[np.ndarray, "4 4"]
    lasers: tuple[Laser, ...]
    boxes: TrackedBoxes


def component_file(folder: Path, component: str, name: str) -> Path:
    """Where a component of a segment is stored."""
    return folder / component / f"{name}.parquet"


def read_segment(folder: Path, name: str) -> Segment:
    """All of a segment but its pictures and range images.

    Raises:
        InputError: A file is missing or damaged.
    """
    path = component_file(folder, "camera_image", name)
    shown = read_columns(path, [TIME, PICTURE + "pose.transform"], {CAMERA: FRONT})
    if not len(shown):
        raise damaged(path, "it has no picture of the front camera")
    times = np.asarray(shown[TIME])
    order = np.argsort(times, kind="stable")
    global_from_own = _matrices(path, shown, PICTURE + "pose.transform")[order]
    times = times[order]
    path = component_file(folder, "vehicle_pose", name)
    driven = read_columns(path, [TIME, _VEHICLE])
    global_from_vehicle = _matrices(path, driven, _VEHICLE)[
        _positions(path, np.asarray(driven[TIME]), times)
    ]
    path = component_file(folder, "camera_calibration", name)
    lens = [f"{_CALIBRATION}intrinsic.{key}" for key in _LENS]
    about = [f"{_CALIBRATION}{key}" for key in ("height", "width")]
    place = _CALIBRATION + "extrinsic.transform"
    camera = read_columns(path, [*lens, *about, place], {CAMERA: FRONT})
    if len(camera) != 1:
        raise damaged(path, f"it has {len(camera)} calibrations of the front camera")
    f_u, f_v, c_u, c_v, *distortion = (_column(path, camera, key)[0] for key in lens)
    height, width = (int(_column(path, camera, key)[0]) for key in about)
    vehicle_from_camera = _matrices(path, camera, place)[0]
    vehicle_from_camera[:3, :3] = vehicle_from_camera[:3, :3] @ _OPENCV_FROM_CAMERA.T
    world_from_global = np.linalg.inv(global_from_vehicle[0])
    world_from_vehicle = world_from_global @ global_from_vehicle
    return Segment(
        times=times,
        image_hw=(height, width),
        intrinsics=np.array([[f_u, 0, c_u], [0, f_v, c_v], [0, 0, 1]]),
        distortion=np.array(distortion),
        world_from_camera=world_from_global @ global_from_own @ vehicle_from_camera,
        world_from_vehicle=world_from_vehicle,
        world_from_global=world_from_global,
        lasers=_read_lasers(component_file(folder, "lidar_calibration", name)),
        boxes=_read_boxes(component_file(folder, "lidar_box", name), times, world_from_vehicle),
    )


def _read_lasers(path: Path) -> tuple[Laser, ...]:
    keys = [f"{_LIDAR_CALIBRATION}beam_inclination.{key}" for key in ("min", "max", "values")]
    place = _LIDAR_CALIBRATION + "extrinsic.transform"
    table = read_columns(path, [LASER, place, *keys])
    lowest, highest = (_column(path, table, key) for key in keys[:2])
    poses = _matrices(path, table, place)
    rows = [values.as_py() for values in table[keys[2]]]
    if not rows:
        raise damaged(path, "it has no LiDAR")
    return tuple(
        Laser(
            name=int(name),
            vehicle_from_laser=poses[index],
            inclinations=np.array(rows[index], np.float64) if rows[index] else None,
            lowest=float(lowest[index]),
            highest=float(highest[index]),
        )
        for index, name in enumerate(np.asarray(table[LASER]))
    )


def _read_boxes(
    path: Path,
    times: Int64[np.ndarray, " frame"],
    world_from_vehicle: Float64[np.ndarray, "frame 4 4"],
) -> TrackedBoxes:
    keys = [f"{_BOX}{part}.{axis}" for part in ("center", "size") for axis in "xyz"]
    table = read_columns(path, [TIME, _BOX_ID, *keys, _BOX + "heading"])
    numbers = np.stack([_column(path, table, key) for key in keys], axis=-1)
    heading = _column(path, table, _BOX + "heading")
    names, box = np.unique(np.array(table[_BOX_ID].to_pylist(), np.str_), return_inverse=True)
    at = np.asarray(table[TIME])
    # Frames without a picture of the front camera have labels too.
    frame = np.searchsorted(times, at).clip(0, len(times) - 1)
    used = times[frame] == at
    pose = np.zeros((len(at), 4, 4))
    pose[:, 0, 0] = pose[:, 1, 1] = np.cos(heading)
    pose[:, 1, 0], pose[:, 0, 1] = np.sin(heading), -np.sin(heading)
    pose[:, 2, 2] = pose[:, 3, 3] = 1
    pose[:, :3, 3] = numbers[:, :3]
    poses = np.full((len(names), len(times), 4, 4), np.nan)
    sizes = np.full((len(names), len(times), 3), np.nan)
    poses[box[used], frame[used]] = world_from_vehicle[frame[used]] @ pose[used]
    sizes[box[used], frame[used]] = numbers[used, 3:]
    return TrackedBoxes(world_from_box=poses, sizes=sizes)


def read_range_image(
    path: Path, component: str, row: dict[str, int], channels: int
) -> Float32[np.ndarray, "row column channel"]:
    """The first return in the row of a time and a LiDAR.

    Raises:
        InputError: The file is missing or damaged, or has no such row.
    """
    keys = [f"{component}.range_image_return1.{key}" for key in ("values", "shape")]
    table = read_columns(path, keys, row)
    said = ", ".join(f"{key.split('.')[-1]} {value}" for key, value in row.items())
    if len(table) != 1 or not table[keys[0]][0].is_valid or not table[keys[1]][0].is_valid:
        raise damaged(path, f"it has {len(table)} range images of {said}, not 1")
    values = np.asarray(table[keys[0]][0].values, np.float32)
    shape = tuple(table[keys[1]][0].as_py())
    if len(shape) != 3 or shape[2] != channels or values.size != np.prod(shape):
        raise damaged(path, f"{values.size} values of shape {shape} at {said}")
    return values.reshape(shape)


def _column(path: Path, table: "pyarrow.Table", key: str) -> Float64[np.ndarray, " row"]:
    numbers = np.asarray(table[key].to_pylist(), np.float64)
    if np.isnan(numbers).any():
        raise damaged(path, f"{key} has missing values")
    return numbers


def _matrices(path: Path, table: "pyarrow.Table", key: str) -> Float64[np.ndarray, "row 4 4"]:
    try:
        return np.array(table[key].to_pylist(), np.float64).reshape(len(table), 4, 4)
    except (TypeError, ValueError) as error:
        raise damaged(path, f"{key} is no list of 4 x 4 matrices") from error


def _positions(
    path: Path, there: Int64[np.ndarray, " row"], wanted: Int64[np.ndarray, " frame"]
) -> Int64[np.ndarray, " frame"]:
    """Which row has each of the times."""
    if not len(there):
        raise damaged(path, "it has no rows")
    order = np.argsort(there, kind="stable")
    found = order[np.searchsorted(there[order], wanted).clip(0, len(there) - 1)]
    if not (there[found] == wanted).all():
        missing = wanted[there[found] != wanted]
        raise damaged(path, f"it has nothing at time {missing[0]} and {len(missing) - 1} others")
    return found


def undistorted(
    picture: UInt8[np.ndarray, "height width rgb=3"], segment: Segment
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """The picture as a pinhole camera with the same matrix would have taken it."""
    if not segment.distortion.any():
        return picture
    import cv2  # noqa: PLC0415

    return cv2.undistort(picture, _opencv_lens(segment), segment.distortion).astype(np.uint8)


def undistorted_pixels(
    xy: Float64[np.ndarray, "point xy=2"], segment: Segment
) -> Float64[np.ndarray, "point xy=2"]:
    """Where the centres of pixels of the picture as it was taken are in the undistorted one."""
    if not segment.distortion.any() or not len(xy):
        return np.floor(xy) + 0.5
    import cv2  # noqa: PLC0415

    lens = _opencv_lens(segment)
    bent = cv2.undistortPoints(np.floor(xy)[:, None], lens, segment.distortion, None, None, lens)
    return bent[:, 0].astype(np.float64) + 0.5


def _opencv_lens(segment: Segment) -> Float64[np.ndarray, "3 3"]:
    """The pinhole matrix for pixel centres at whole numbers."""
    lens = segment.intrinsics.copy()
    lens[:2, 2] -= 0.5
    return lens
