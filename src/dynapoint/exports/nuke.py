"""Nuke's `.chan`: the camera as a line of numbers per frame, which other compositors read too."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial.transform import Rotation

from dynapoint.exports.clouds import play_times_s
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file
from dynapoint.exports.y_up import y_up_cameras
from dynapoint.results.reconstruction import Reconstruction


def write_nuke(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write `frame tx ty tz rx ry rz vfov` per frame, as Nuke's Camera reads it (File > chan).

    Y is up and the camera looks along -z, as in Nuke. Rotations are degrees in Nuke's usual order
    ZXY: about z first, then x, then y. The last number is the vertical field of view in degrees;
    the format has no place for a principal point off the middle. Frames count from 1, in the order
    of time; where times are uneven, a frame has the number nearest to its time at the median rate.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    times = options.times(rec)
    positions, quaternion_xyzw = y_up_cameras(rec, times)
    rotations_deg = nuke_rotations_deg(Rotation.from_quat(quaternion_xyzw).as_matrix())
    height = rec.frames.picture_hw[times, 0]
    view_deg = 2 * np.degrees(np.arctan(height / 2 / rec.intrinsics[times, 1, 1]))
    frames = frame_numbers(play_times_s(rec, options))
    rows = np.column_stack([positions, rotations_deg, view_deg])
    lines = [
        f"{frame} " + " ".join(f"{value:.9f}" for value in row)
        for frame, row in zip(frames, rows, strict=True)
    ]
    with export_file(path, ".chan", overwrite=options.overwrite) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="ascii")


def nuke_rotations_deg(
    rotations: Float64[np.ndarray, "time 3 3"],
) -> Float64[np.ndarray, "time xyz=3"]:
    """Angles about x, y and z for Nuke's order ZXY, none of which jumps by a whole turn."""
    # A rotation about z, then x, then y is the product of those about y, x and z.
    about_yxz = np.unwrap(Rotation.from_matrix(rotations).as_euler("YXZ"), axis=0)
    return np.degrees(about_yxz[:, [1, 0, 2]])


def frame_numbers(begins_s: Float64[np.ndarray, " moment"]) -> Int64[np.ndarray, " time"]:
    """Whole numbers from 1 that count the median step, a larger one for every later time."""
    numbers = np.round(begins_s[:-1] / np.median(np.diff(begins_s))).astype(np.int64)
    # What is left of each number beyond its place never falls, so that no number comes twice.
    places = np.arange(len(numbers))
    return 1 + places + np.maximum.accumulate(numbers - places)
