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
from dynapoint.geometry.distortion import COEFFICIENTS
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.undistorted import as_pinholes

_SEEDS, _DEPTH = "sparse_pc.ply", "depth"
# By what nerfstudio multiplies depth unless it is told otherwise.
_UNIT = 1e-3
# The world is turned so that z is up, as in files that nerfstudio's own converters write.
_SAVED_FROM_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def write_nerfstudio(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write `transforms.json`, `images/`, `masks/` (white = keep), `depth/`, `sparse_pc.ply`.

    Depth is .npy of the maps' size in thousandths of a scene unit, which is what nerfstudio takes
    it for, and only where maps show whole pictures, which they do not where lenses distort. A lens
    that all frames share stands once. It is PINHOLE, OPENCV or OPENCV_FISHEYE; with lenses of other
    kinds, or of several, images are undistorted.

    Poses and cloud are in a world with z up, which `applied_transform` leads to from ours. The
    cloud is what stands still, thinned to `max_points` (100000); without points where
    everything moves. With `options.time`, of that frame only.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    if _camera_model(rec) is None:
        rec = as_pinholes(rec)
    with export_folder(
        path, "nerfstudio", overwrite=options.overwrite, note=rec.frames.note
    ) as folder:
        scene = still_scene(rec, options)
        write_pictures(rec, scene, folder)
        _write_depth(rec, scene.frames, folder)
        sizes, lenses = rec.frames.picture_hw[scene.frames], rec.intrinsics[scene.frames]
        shared = bool((sizes == sizes[0]).all() and (lenses == lenses[0]).all())
        shared &= rec.distortion is None or len(set(rec.distortion)) == 1
        about = {
            "camera_model": _camera_model(rec),
            **(_lens(rec, scene.frames[0]) if shared else {}),
            "applied_transform": _SAVED_FROM_WORLD[:3].tolist(),
            "ply_file_path": _SEEDS,
            "frames": [_frame(rec, frame, lens=not shared) for frame in scene.frames],
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


def _frame(rec: Reconstruction, frame: int, *, lens: bool) -> dict[str, Any]:
    """What is said of one frame, with its lens or without."""
    pose = _SAVED_FROM_WORLD @ rec.world_from_camera[frame]
    pose[:3, :3] = pose[:3, :3] @ Y_UP_FROM_OPENCV
    told: dict[str, Any] = {
        "file_path": f"{IMAGES}/{image_name(frame)}",
        "mask_path": f"{MASKS}/{image_name(frame)}.png",
        "transform_matrix": pose.tolist(),
    }
    if _shows_all(rec, frame):
        told["depth_file_path"] = _depth_name(frame)
    return told | _lens(rec, frame) if lens else told


def _lens(rec: Reconstruction, frame: int) -> dict[str, Any]:
    """A frame's lens and size."""
    height, width = rec.frames.picture_hw[frame].tolist()
    intrinsics = rec.intrinsics[frame].tolist()
    coefficients = {}
    if rec.distortion is not None:
        bent = rec.distortion[frame]
        named = zip(COEFFICIENTS[bent.model], bent.coefficients, strict=True)
        # Its k4 to k6 are none of a lens of OpenCV's, which are 0 here.
        coefficients = dict(list(named)[:5])
    return {
        "fl_x": intrinsics[0][0],
        "fl_y": intrinsics[1][1],
        "cx": intrinsics[0][2],
        "cy": intrinsics[1][2],
        "w": width,
        "h": height,
        **coefficients,
    }


def _camera_model(rec: Reconstruction) -> str | None:
    """The name that nerfstudio has for the lenses; None where it has none."""
    if rec.distortion is None:
        return "PINHOLE"
    if all(bent.model == "fisheye" for bent in rec.distortion):
        return "OPENCV_FISHEYE"
    plain = all(
        bent.model == "opencv" and not any(bent.coefficients[5:]) for bent in rec.distortion
    )
    return "OPENCV" if plain else None


def _shows_all(rec: Reconstruction, frame: int) -> bool:
    """Whether a frame's map shows its whole picture and nothing else, as nerfstudio takes it to."""
    if rec.distortion is not None:
        return False
    low, high = rec.pixel_map.picture_box(frame)
    whole = not low.any() and np.array_equal(high, rec.frames.picture_hw[frame, ::-1])
    return bool(whole and rec.pixel_map.shown_pixels(frame).all())


def _depth_name(frame: int) -> str:
    return f"{_DEPTH}/{image_name(frame).removesuffix('.png')}.npy"


def _write_depth(rec: Reconstruction, frames: list[int], folder: Path) -> None:
    """Depth along the axis, 0 where it is not to be trusted; readers bring it to size."""
    (folder / _DEPTH).mkdir()
    for frame in frames:
        if _shows_all(rec, frame):
            trusted = rec.own_time_confidence[frame] > 0
            depth = np.where(trusted, rec.depth_of(frame), np.float32(0)).clip(min=0)
            np.save(folder / _depth_name(frame), depth / np.float32(_UNIT))
