"""Blender: a script that makes the scene there, with the files that it reads beside it.

The numbers are worked out here; the script (`assets/make_scene.py`) sets what it reads.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from dynapoint.exports import web_scene
from dynapoint.exports.clouds import own_spacing, own_time_cloud, play_times_s, units
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_folder, readable_name
from dynapoint.exports.web_page import asset
from dynapoint.exports.y_up import linear_from_srgb, nearest_quaternions
from dynapoint.progress import steps
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.undistorted import as_pinholes

SCRIPT, FACTS, POINTS, PICTURES = "make_scene.py", "scene.json", "points.npz", "pictures"
# Blender's world has z up and y forward; its cameras look along -z with y up.
Z_UP_FROM_OPENCV = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])
# Millimetres of the longer side of a film camera's picture; only its ratio to the lens matters.
_SENSOR_MM = 36.0
_MOST_OWN = 60_000


@dataclass(frozen=True, kw_only=True)
class BlenderLens:
    """A lens as Blender's cameras have it, for pictures shown in one resolution.

    Attributes:
        sensor_fit: Along which side of the resolution `_SENSOR_MM` lies: its longer one.
        lens_mm: Focal length.
        shift: To the right and upwards, as a share of that side.
        pixel_aspect: Width and height of a pixel, the smaller of which is 1; Blender has one for
            all times.
    """

    sensor_fit: str
    lens_mm: Float64[np.ndarray, " time"]
    shift: Float64[np.ndarray, "time xy=2"]
    pixel_aspect: tuple[float, float]


def write_blender(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write `make_scene.py`, which makes the scene in Blender, with what it reads beside it.

    That is `scene.json` (camera, timeline), `points.npz` and `pictures/`. The world has z up and
    frame 0 looks along y. The camera has the place, focal length and principal point of each frame,
    and the frames' pictures behind it, undistorted where lenses distort. What stands still is one
    object, what moves one for each time; each frame's own pixels where the options say so. The
    timeline begins with 1 and has a frame for each time of a video; its rate is that of the times
    or `options.fps`.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    rec = as_pinholes(rec)
    times = options.times(rec)
    begins_s = play_times_s(rec, options)
    rate = float(1 / np.median(np.diff(begins_s)))
    frames = begins_s[:-1] * rate
    frames = 1 + np.where(np.abs(frames - frames.round()) < 1e-3, frames.round(), frames)
    with export_folder(
        path, "blender", overwrite=options.overwrite, note=rec.frames.note
    ) as folder:
        (folder / PICTURES).mkdir()
        pictures = []
        for place, time in enumerate(steps(times, "pictures", wanted=rec.progress), start=1):
            pictures.append(f"{PICTURES}/{place:04d}.png")
            image = Image.fromarray(rec.frames.picture(time))
            image.save(folder / pictures[-1], compress_level=1)
        about = {
            "name": readable_name(rec.frames.name),
            "units": units(rec),
            "fps": max(1, round(rate)),
            "fps_base": max(1, round(rate)) / rate,
            "frames": frames.tolist(),
            "frame_start": 1,
            "frame_end": int(np.ceil(frames[-1])),
            "even": bool(np.array_equal(frames, np.arange(1, len(frames) + 1))),
            "resolution": rec.frames.picture_hw[times[0], ::-1].tolist(),
            "camera": _camera(rec, times),
            "pictures": pictures,
            "points": POINTS,
        }
        (folder / FACTS).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        np.savez(folder / POINTS, allow_pickle=False, **_points(rec, times, options))
        (folder / SCRIPT).write_text(asset(SCRIPT), encoding="utf-8")


def blender_lens(
    intrinsics: Float64[np.ndarray, "time 3 3"],
    picture_hw: Float64[np.ndarray, "time hw=2"],
    resolution_hw: tuple[int, int],
) -> BlenderLens:
    """Lenses of pictures that fill a resolution as far as their aspect lets them, in its middle."""
    high, wide = resolution_hw
    fits = np.minimum(wide / picture_hw[:, 1], high / picture_hw[:, 0])
    focal = intrinsics[:, [0, 1], [0, 1]] * fits[:, None]
    # Where the axis meets the picture, from the middle of the resolution, in its pixels.
    axis = (intrinsics[:, :2, 2] - picture_hw[:, ::-1] / 2) * fits[:, None]
    # Blender measures both ways in widths of a pixel; one is so many widths tall.
    tall = float(np.median(focal[:, 0] / focal[:, 1]))
    across = wide >= high
    side = wide if across else high * tall
    return BlenderLens(
        sensor_fit="HORIZONTAL" if across else "VERTICAL",
        # Where pixels of a frame have another aspect, what is lost one way is gained the other.
        lens_mm=_SENSOR_MM * np.sqrt(focal[:, 0] * focal[:, 1] * tall) / side,
        shift=np.stack([-axis[:, 0], axis[:, 1] * tall], axis=1) / side,
        pixel_aspect=(max(1.0, 1 / tall), max(1.0, tall)),
    )


def _camera(rec: Reconstruction, times: list[int]) -> dict[str, Any]:
    """What is set of the camera, with a value for each time."""
    sizes = rec.frames.picture_hw[times].astype(np.float64)
    height, width = rec.frames.picture_hw[times[0]].tolist()
    lens = blender_lens(rec.intrinsics[times], sizes, (height, width))
    poses = rec.world_from_camera[times]
    quaternion_xyzw = nearest_quaternions(Z_UP_FROM_OPENCV @ poses[:, :3, :3] @ _CAMERA_AXES)
    typical = web_scene.median_distance(rec)
    return {
        "sensor_fit": lens.sensor_fit,
        "sensor": _SENSOR_MM,
        "clip": [0.005 * typical, 500 * typical],
        "display_size": 0.1 * typical,
        "location": (poses[:, :3, 3] @ Z_UP_FROM_OPENCV.T).tolist(),
        "rotation_quaternion": quaternion_xyzw[:, [3, 0, 1, 2]].tolist(),
        "lens": lens.lens_mm.tolist(),
        "shift_x": lens.shift[:, 0].tolist(),
        "shift_y": lens.shift[:, 1].tolist(),
        "pixel_aspect": lens.pixel_aspect,
    }


def _points(rec: Reconstruction, times: list[int], options: ExportOptions) -> dict[str, np.ndarray]:
    """Places, colours (linear light, with opacity) and radii by name of the object."""
    arrays: dict[str, np.ndarray] = {}
    none = np.zeros((0, 3), dtype=np.float32)
    if options.shows_own(rec):
        _add(arrays, "still", none, none.astype(np.uint8), none[:, 0])
        for place, time in enumerate(steps(times, "clouds", wanted=rec.progress)):
            cloud = own_time_cloud(rec, time, options.with_points(_MOST_OWN))
            apart = own_spacing(rec, time, cloud.points)
            _add(arrays, f"time_{place:04d}", cloud.points, cloud.colors, apart)
        return arrays
    most = options.max_points or web_scene.MOST_FUSED
    scene = web_scene.split_cloud(rec, options, max_points=most)
    still = len(scene.still)
    _add(arrays, "still", scene.still, scene.colors[:still], scene.spacing[:still])
    for place in range(len(times)):
        shown = scene.usable[place]
        colors, spacing = scene.colors[still:][shown], scene.spacing[still:][shown]
        _add(arrays, f"time_{place:04d}", scene.paths[place, shown], colors, spacing)
    return arrays


def _add(
    arrays: dict[str, np.ndarray],
    name: str,
    points: Float32[np.ndarray, "point xyz=3"],
    colors: UInt8[np.ndarray, "point rgb=3"],
    spacing: Float32[np.ndarray, " point"],
) -> None:
    """Add one object's arrays."""
    light = np.ones((len(points), 4), dtype=np.float32)
    light[:, :3] = linear_from_srgb(colors)
    arrays[f"{name}_points"] = (points @ Z_UP_FROM_OPENCV.T).astype(np.float32)
    arrays[f"{name}_colors"] = light
    # Discs of this radius about points on a grid leave no gap.
    arrays[f"{name}_radius"] = (0.7 * spacing).astype(np.float32)
