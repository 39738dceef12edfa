"""KITTI's drives with annotated depth: streets seen from a car.

From the depth benchmark ("data_depth_annotated"): ROOT/PART/DRIVE/proj_depth/groundtruth/image_02/
NUMBER.png with PART `val` or `train` and DRIVE such as 2011_09_26_drive_0002_sync. From the raw
data: ROOT/DATE/DRIVE/image_02/data/NUMBER.png, ROOT/DATE/DRIVE/oxts/data/NUMBER.txt and
ROOT/DATE/calib_{cam_to_cam,velo_to_cam,imu_to_velo}.txt with DATE the first ten letters of DRIVE.
Frames are the pictures of the left colour camera that have truth, in their order (the first and
last few of a drive have none); split "val" has the first 110 of each drive, as MonST3R's
`datasets_preprocess/prepare_kitti.py` does; "val_whole" and "train" have all.

Lenses and poses need files that depth alone does not: where calib_cam_to_cam.txt is not there,
`holds.lens` is False; where one of the three or oxts is not there, `holds.poses` is.

Conventions (Geiger et al., Vision meets Robotics, IJRR 2013, its development kit, and Uhrig et al.,
Sparsity Invariant CNNs, 3DV 2017): pictures are rectified; depth is z in metres, 256 a metre in 16
bits, 0 where it is unknown (most of a picture: laser points of 11 scans that stereo agrees with).
P_rect_02 is K [I | t], t moving points of the rectified first camera into this one; the first
camera is R_rect_00 (R T of velo_to_cam) (R T of imu_to_velo) from the navigation unit. A packet of
oxts begins with latitude, longitude in degrees, altitude in metres, roll, pitch and yaw in radians;
the unit's place is its Mercator projection, scaled at the latitude of the drive's first packet with
an Earth of 6378137 m, and its rotation Rz(yaw) Ry(pitch) Rx(roll). The world is east, north, up
from the first packet's place.

UNCONFIRMED: that pixel centres are at integers in K, as in OpenCV. Depth of moving things is
blurred by the 11 scans in spite of the check. Poses are of GPS and inertia: good to some
centimetres.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from scipy.spatial.transform import Rotation

from dynapoint.data.images import image_size
from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import (
    damaged,
    depth_map,
    listed,
    listed_folders,
    need_file,
    read_numbers,
    read_picture,
    read_png16,
)
from dynapoint.datasets.sequence import Holds, TruthSequence

_LAYOUT = "ROOT/{val,train}/DRIVE/proj_depth/groundtruth/image_02 and ROOT/DATE/DRIVE/image_02/data"
_UNITS_PER_METRE = 256
_FIRST_OF_VAL = 110
_EARTH_RADIUS_M = 6378137.0
_CALIBRATIONS = ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "calib_imu_to_velo.txt")
_PACKET_LENGTH = 30


class _Drive(TruthSequence):
    """The frames of one drive that have truth, at most `limit` of them."""

    dataset = "kitti"

    def __init__(self, root: Path, part: str, drive: str, limit: int | None) -> None:
        self.name = drive
        self._truth = root / part / drive / "proj_depth" / "groundtruth" / "image_02"
        self._day = root / drive[:10]
        self._raw = self._day / drive
        self._limit = limit

    @cached_property
    def holds(self) -> Holds:  # type: ignore[override]
        """Which truth there is."""
        there = [(self._day / name).is_file() for name in _CALIBRATIONS]
        poses = all(there) and self._packets.is_dir()
        return Holds(lens=there[0], poses=poses, depth=True, motion="own_time", metric=True)

    @cached_property
    def _depths(self) -> tuple[Path, ...]:
        return tuple(listed(self._truth, "*.png", _LAYOUT)[: self._limit])

    @property
    def _packets(self) -> Path:
        return self._raw / "oxts" / "data"

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames there are."""
        return len(self._depths)

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the pictures."""
        return image_size(need_file(self._picture(0)))

    def _picture(self, frame: int) -> Path:
        return self._raw / "image_02" / "data" / self._depths[frame].name

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture of the left colour camera."""
        return read_picture(self._picture(frame))

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Depth of some pixels."""
        path = self._depths[frame]
        return depth_map(path, read_png16(path) / _UNITS_PER_METRE, self.image_hw)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """The rectified lens."""
        if not self.holds.lens:
            raise self.lacks(f"lens without {self._day / _CALIBRATIONS[0]}")
        lens = self._projection[:, :3].copy()
        lens[:2, 2] += 0.5
        return lens

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The pose, from the packet of oxts of the same number."""
        if not self.holds.poses:
            raise self.lacks("poses without oxts and the three files of calibration")
        unit = self._unit(self._packets / f"{self._depths[frame].stem}.txt")
        unit[:3, 3] -= self._origin
        return unit @ np.linalg.inv(self._camera_from_unit)

    @cached_property
    def _projection(self) -> Float64[np.ndarray, "3 4"]:
        return _calibrated(self._day / _CALIBRATIONS[0], "P_rect_02", 12).reshape(3, 4)

    @cached_property
    def _camera_from_unit(self) -> Float64[np.ndarray, "4 4"]:
        """The rectified left colour camera from the navigation unit."""
        cameras, laser, unit = (self._day / name for name in _CALIBRATIONS)
        camera_from_first = np.eye(4)
        camera_from_first[:3, 3] = np.linalg.solve(self._projection[:, :3], self._projection[:, 3])
        rectified = np.eye(4)
        rectified[:3, :3] = _calibrated(cameras, "R_rect_00", 9).reshape(3, 3)
        return camera_from_first @ rectified @ _transform(laser) @ _transform(unit)

    @cached_property
    def _first_packet(self) -> Path:
        return listed(self._packets, "*.txt", _LAYOUT)[0]

    @cached_property
    def _scale(self) -> float:
        return float(np.cos(np.radians(_packet(self._first_packet)[0])))

    @cached_property
    def _origin(self) -> Float64[np.ndarray, "xyz=3"]:
        return self._unit(self._first_packet)[:3, 3]

    def _unit(self, path: Path) -> Float64[np.ndarray, "4 4"]:
        """The navigation unit's pose; its place is that of the projection."""
        latitude, longitude, altitude, roll, pitch, yaw = _packet(path)[:6]
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix()
        pose[:3, 3] = (
            self._scale * _EARTH_RADIUS_M * np.radians(longitude),
            self._scale * _EARTH_RADIUS_M * np.log(np.tan(np.radians(90 + latitude) / 2)),
            altitude,
        )
        return pose


def _packet(path: Path) -> Float64[np.ndarray, " number"]:
    rows = read_numbers(path, columns=_PACKET_LENGTH)
    if len(rows) != 1 or not np.isfinite(rows).all():
        raise damaged(path, f"it is not one row of {_PACKET_LENGTH} numbers")
    return rows[0]


def _transform(path: Path) -> Float64[np.ndarray, "4 4"]:
    """The rigid transform R, T of a file of calibration."""
    matrix = np.eye(4)
    matrix[:3, :3] = _calibrated(path, "R", 9).reshape(3, 3)
    matrix[:3, 3] = _calibrated(path, "T", 3)
    return matrix


def _calibrated(path: Path, key: str, count: int) -> Float64[np.ndarray, " number"]:
    """The numbers of one line "key: numbers" of a file of calibration."""
    try:
        lines = need_file(path).read_text(encoding="utf-8").splitlines()
        found = next((line for line in lines if line.startswith(f"{key}:")), "")
        values = np.array(found.partition(":")[2].split(), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise damaged(path, f"{key}: {error}") from error
    if len(values) != count or not np.isfinite(values).all():
        raise damaged(path, f"{key} has {len(values)} numbers, not {count}")
    return values


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The drives of a split.

    Raises:
        InputError: There is none.
    """
    part = "train" if split == "train" else "val"
    limit = _FIRST_OF_VAL if split == "val" else None
    drives = listed_folders(root / part, "*_drive_*", _LAYOUT)
    return [_Drive(root, part, drive.name, limit) for drive in drives]


CARD = DatasetCard(
    key="kitti",
    title="KITTI",
    source="Geiger et al., Vision meets Robotics (IJRR 2013); Uhrig et al., 3DV 2017 (depth)",
    licence="CC BY-NC-SA 3.0",
    splits=("val", "val_whole", "train"),
    layout=_LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
