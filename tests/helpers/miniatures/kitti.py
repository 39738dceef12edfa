"""Drives of KITTI: annotated depth, pictures, calibration and packets of the navigation unit."""

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

DATE = "2011_09_26"
DRIVES = tuple(f"{DATE}_drive_{number:04d}_sync" for number in (2, 5, 13, 20))
# Frames before this one have no truth, as laser points of later scans are not gathered yet.
FIRST = 5
LATITUDE, LONGITUDE, ALTITUDE = 49.011212804408, 8.4228850417969, 112.83492279053
EARTH_M = 6378137.0


def _rigid(rotvec, place):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix()
    matrix[:3, 3] = place
    return matrix


def _line(key, values):
    return f"{key}: " + " ".join(f"{value:.12e}" for value in np.ravel(values)) + "\n"


def _write_calibration(folder, clip):
    """The three files; the left colour camera from the navigation unit is what they amount to."""
    shift = np.array([0.06, -0.0003, 0.0027])
    lens = clip.intrinsics[0] - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    height, width = clip.image_hw
    rectified = _rigid([0.004, -0.007, 0.01], [0, 0, 0])
    laser = _rigid([1.21, -1.2, 1.2], [-0.004, -0.076, -0.27])
    unit = _rigid([0.0002, -0.0015, 0.0148], [-0.81, 0.32, -0.8])
    (folder / "calib_cam_to_cam.txt").write_text(
        "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\n"
        + _line("R_02", np.eye(3))
        + _line("R_rect_00", rectified[:3, :3])
        + _line("S_rect_02", [width, height])
        + _line("R_rect_02", np.eye(3))
        + _line("P_rect_02", lens @ np.column_stack([np.eye(3), shift]))
        + _line("P_rect_03", lens @ np.column_stack([np.eye(3), -shift]))
    )
    for name, matrix in (("velo_to_cam", laser), ("imu_to_velo", unit)):
        (folder / f"calib_{name}.txt").write_text(
            "calib_time: 15-Mar-2012 11:37:16\n"
            + _line("R", matrix[:3, :3])
            + _line("T", matrix[:3, 3])
        )
    return _rigid([0, 0, 0], shift) @ rectified @ laser @ unit


def _packet(world_from_unit):
    """Latitude and longitude of a place some metres from the first one, by Mercator's formulas."""
    scale = np.cos(np.radians(LATITUDE))
    east, north, up = world_from_unit[:3, 3]
    longitude = LONGITUDE + np.degrees(east / (scale * EARTH_M))
    # The isometric latitude is the inverse Gudermannian of the latitude.
    isometric = np.arctanh(np.sin(np.radians(LATITUDE))) + north / (scale * EARTH_M)
    latitude = np.degrees(np.arcsin(np.tanh(isometric)))
    yaw, pitch, roll = Rotation.from_matrix(world_from_unit[:3, :3]).as_euler("ZYX")
    numbers = [latitude, longitude, ALTITUDE + up, roll, pitch, yaw]
    return " ".join(f"{value:.15g}" for value in numbers) + " 0" * 19 + " 4 11 6 6 6\n"


def write_miniature(root, clip, *, sequences=1):
    """The world is east, north, up; the first packet is metres away from the first frame."""
    day = root / DATE
    day.mkdir(parents=True)
    camera_from_unit = _write_calibration(day, clip)
    world_from_clip = _rigid([-1.3, 0.5, -0.4], [2.5, -1.5, 0.7])
    for drive in DRIVES[:sequences]:
        truth = root / "val" / drive / "proj_depth" / "groundtruth" / "image_02"
        pictures = day / drive / "image_02" / "data"
        packets = day / drive / "oxts" / "data"
        for folder in (truth, pictures, packets):
            folder.mkdir(parents=True)
        for number in range(FIRST + clip.frame_count):
            frame = number - FIRST
            name = f"{number:010d}"
            picture = clip.images[max(frame, 0)]
            Image.fromarray(picture if frame >= 0 else 255 - picture).save(pictures / f"{name}.png")
            unit = np.eye(4)
            if frame >= 0:
                unit = world_from_clip @ clip.world_from_camera[frame] @ camera_from_unit
                units = np.nan_to_num(clip.depth[frame] * 256).clip(0, 65535).round()
                Image.fromarray(units.astype(np.uint16)).save(truth / f"{name}.png")
            (packets / f"{name}.txt").write_text(_packet(unit))
