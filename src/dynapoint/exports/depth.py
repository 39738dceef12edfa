"""Depth maps: 16-bit PNG with the scale in a JSON beside them, or float32 OpenEXR."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from dynapoint.exports.clouds import units
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_folder, require
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.progress import steps
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.sampling import pixel_sampler, surface_cells
from dynapoint.results.thinning import even_choice

SCALE_FILE = "depth.json"
# Depth beyond so many medians is not held by PNGs, or the steps between near depths were coarse.
_FARTHEST_MEDIANS = 64.0
_LARGEST_VALUE = 2**16 - 1
# Pixels that are sampled at a time, which bounds memory for large pictures.
_BAND = 2**20


def write_depth(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a folder of `frame_0000.png` and so on: depth along the axis of each frame's camera.

    Each at its own picture's original resolution, 16 bits without sign; value times `scale` of
    `depth.json` is the depth in scene units, to within half a `scale`; 0 where there is none. With
    `options.time`, of that frame only.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    import cv2  # noqa: PLC0415 - only exports of pictures need it.

    frames = options.times(rec)
    farthest = _farthest(rec, frames, options)
    scale = farthest / _LARGEST_VALUE
    about = _about(rec, frames) | {
        "scale": scale,
        "depth": "value * scale, in units of the scene; 0 where there is none",
        "largest_depth": farthest,
    }
    with export_folder(path, "depth", overwrite=options.overwrite, note=rec.frames.note) as folder:
        (folder / SCALE_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        for frame, depth in _image_depths(rec, frames, options):
            value = np.round(depth.astype(np.float64) / scale)
            # What is nearer than one step is still there; what is beyond the last is not held.
            value = np.where(depth > 0, np.maximum(value, 1), 0)
            value[value > _LARGEST_VALUE] = 0
            png = cv2.imencode(".png", value.astype(np.uint16))[1].tobytes()
            (folder / f"frame_{frame:04d}.png").write_bytes(png)


def write_depth_exr(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a folder of `frame_0000.exr` and so on: channel Z, float32, in scene units.

    Otherwise as `write_depth`.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written, or OpenEXR is not installed.
    """
    exr = require("OpenEXR", extra="exr", format_name="depth-exr")
    frames = options.times(rec)
    about = _about(rec, frames) | {
        "depth": "channel Z, in units of the scene; 0 where there is none"
    }
    with export_folder(
        path, "depth-exr", overwrite=options.overwrite, note=rec.frames.note
    ) as folder:
        (folder / SCALE_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        for frame, depth in _image_depths(rec, frames, options):
            header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
            target = folder / f"frame_{frame:04d}.exr"
            try:
                exr.File(header, {"Z": depth}).write(str(target))
            except RuntimeError as error:
                raise OSError(f"OpenEXR: {error}") from error


def _about(rec: Reconstruction, frames: list[int]) -> dict[str, Any]:
    """What holds for both kinds of files."""
    bent = rec.distortion
    stamps = [float(stamp) for stamp in rec.timestamps_s[frames]]
    return {
        "image_hw": rec.frames.picture_hw[frames].tolist(),
        "axis": "depth along the camera's optical axis (z), not along the ray",
        "units": units(rec),
        "frames": frames,
        "timestamps_s": [stamp if np.isfinite(stamp) else None for stamp in stamps],
        "intrinsics": rec.intrinsics[frames].tolist(),
        "distortion": None if bent is None else [asdict(bent[frame]) for frame in frames],
        "pixels": "centres at half-integers",
    }


def _map_depth(
    rec: Reconstruction, frame: int, options: ExportOptions
) -> Float32[np.ndarray, "map_height map_width"]:
    """A frame's depth at its own time at the resolution of the maps; 0 where there is none."""
    depth, confidence = rec.depth_of(frame), rec.own_time_confidence[frame]
    known = np.isfinite(depth) & (depth > 0) & (confidence > 0)
    if options.confidence_percentile > 0 and known.any():
        known &= confidence >= np.percentile(confidence[known], options.confidence_percentile)
    return np.where(known, depth, np.float32(0))


def _farthest(rec: Reconstruction, frames: list[int], options: ExportOptions) -> float:
    """The largest depth that is written: at most so many medians (of an even choice of frames)."""
    sample = {frames[place] for place in even_choice(len(frames))}
    largest, seen = 0.0, []
    for frame in frames:
        depth = _map_depth(rec, frame, options)
        largest = max(largest, float(depth.max(initial=0.0)))
        if frame in sample:
            seen.append(depth[depth > 0])
    known = np.concatenate(seen)
    return min(largest, _FARTHEST_MEDIANS * float(np.median(known))) if known.size else 1.0


def _image_depths(
    rec: Reconstruction, frames: list[int], options: ExportOptions
) -> Iterator[tuple[int, Float32[np.ndarray, "height width"]]]:
    """Depth of frames, each of its own picture's size: bilinear on surfaces, sharp at edges."""
    for frame in steps(frames, "depth", wanted=rec.progress):
        height, width = (int(side) for side in rec.frames.picture_hw[frame])
        rows_at_once = max(1, _BAND // width)
        coarse = _map_depth(rec, frame, options)
        # Depth 0 joins no surface, so that a hole's neighbours are read as they are.
        cells = surface_cells(coarse)
        depth = np.zeros((height, width), dtype=np.float32)
        for top in range(0, height, rows_at_once):
            rows = np.arange(top, min(height, top + rows_at_once))
            xy = (pixel_centres((len(rows), width)) + np.array([0, top])).reshape(-1, 2)
            sampler = pixel_sampler(cells, rec.pixel_map.to_map(frame, xy))
            read = np.where(rec.pixel_map.shows(frame, xy), sampler.scores(coarse), 0.0)
            depth[rows] = read.reshape(len(rows), width)
        yield frame, depth
