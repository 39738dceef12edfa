"""nerfstudio's `transforms.json`, with images, masks and a seed cloud."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dynapoint.exports.clouds import Cloud, units
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_folder
from dynapoint.exports.ply import ply_bytes
from dynapoint.exports.splat_training import (
    IMAGES,
    MASKS,
    image_name,
    still_scene,
    write_pictures,
)
from dynapoint.exports.y_up import Y_UP_FROM_OPENCV
from dynapoint.results.reconstruction import Reconstruction

_SEEDS = "sparse_pc.ply"
# The world is turned so that z is up, as in files that nerfstudio's own converters write.
_SAVED_FROM_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def write_nerfstudio(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a folder: `transforms.json`, `images/`, `masks/` (white = keep) and `sparse_pc.ply`.

    Poses and cloud are in a world with z up, which `applied_transform` leads to from ours. The
    cloud is the static background, thinned to `max_points` (100000); without points where
    everything moves. With `options.time`, of that frame only.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    with export_folder(path, "nerfstudio", overwrite=options.overwrite) as folder:
        scene = still_scene(rec, options)
        write_pictures(rec, scene, folder)
        about = {
            "camera_model": "PINHOLE",
            "applied_transform": _SAVED_FROM_WORLD[:3].tolist(),
            "ply_file_path": _SEEDS,
            "frames": [_frame(rec, frame) for frame in scene.frames],
        }
        text = json.dumps(about, indent=2) + "\n"
        (folder / "transforms.json").write_text(text, encoding="utf-8")
        seeds = Cloud(
            points=np.asarray(scene.seeds.points) @ _SAVED_FROM_WORLD[:3, :3].T.astype(np.float32),
            colors=np.asarray(scene.seeds.colors),
            confidence=np.asarray(scene.seeds.confidence),
        )
        axes = "as transforms.json: x right, y forward, z up in frame 0"
        (folder / _SEEDS).write_bytes(
            ply_bytes(seeds, "static background", axes=axes, unit=units(rec))
        )


def _frame(rec: Reconstruction, frame: int) -> dict[str, Any]:
    """What is said of one frame."""
    height, width = rec.frames.picture_hw[frame].tolist()
    intrinsics = rec.intrinsics[frame].tolist()
    pose = _SAVED_FROM_WORLD @ rec.world_from_camera[frame]
    pose[:3, :3] = pose[:3, :3] @ Y_UP_FROM_OPENCV
    return {
        "file_path": f"{IMAGES}/{image_name(frame)}",
        "mask_path": f"{MASKS}/{image_name(frame)}.png",
        "transform_matrix": pose.tolist(),
        "fl_x": intrinsics[0][0],
        "fl_y": intrinsics[1][1],
        "cx": intrinsics[0][2],
        "cy": intrinsics[1][2],
        "w": width,
        "h": height,
    }
