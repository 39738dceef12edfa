"""TUM trajectory text: one line per camera, as evo and the TUM RGB-D tools read it."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.time_order import order_of_times


def write_tum(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write `timestamp tx ty tz qx qy qz qw` per frame: world from camera, OpenCV axes.

    Timestamps are seconds of the source, ascending; where it has none for some frame, indices of
    all frames, ascending. Positions are in scene units, quaternions have the real part last, as
    the format has it.

    Raises:
        OutputError: `path` exists or cannot be written.
    """
    known = np.isfinite(rec.timestamps_s).all()
    stamps = rec.timestamps_s if known else np.arange(rec.frame_count, dtype=np.float64)
    order = order_of_times(stamps)
    poses = rec.world_from_camera[order]
    quaternion_xyzw = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    rows = np.concatenate([poses[:, :3, 3], quaternion_xyzw], axis=1)
    lines = ["# timestamp tx ty tz qx qy qz qw" + ("" if known else " (timestamps: frame indices)")]
    for stamp, row in zip(stamps[order], rows, strict=True):
        lines.append(f"{stamp:.6f} " + " ".join(f"{value:.9f}" for value in row))
    with export_file(path, ".txt", ".tum", overwrite=options.overwrite) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="ascii")
