"""Folders of real pictures with some truth: lenses always, poses and depth where there are any.

A folder holds `cameras.json` with `frames`, each a `file`, `K_fx_fy_cx_cy` (pixel centres at
integers), `T_wc` (camera to world) and, where it was measured, a `depth` PNG of 16 bits in which 0
and 65535 are unknown. A `pose_source` that begins with "none" says that poses are placeholders.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8, UInt16
from PIL import Image

from dynapoint.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class RealClip:
    """Some frames of a folder.

    Attributes:
        images: The pictures, in sRGB.
        intrinsics: In pixels of the pictures, pixel centres at half-integers.
        world_from_camera: The world being the camera of the first of these frames; None where poses
            were not measured.
        depth: z, in units of the folder's own, one scale for all frames; 0 where it is unknown.
            None where it was not measured.
    """

    name: str
    images: UInt8[np.ndarray, "frame height width rgb=3"]
    intrinsics: Float64[np.ndarray, "frame 3 3"]
    world_from_camera: Float64[np.ndarray, "frame 4 4"] | None
    depth: UInt16[np.ndarray, "frame height width"] | None


def check_real_folder(folder: Path) -> None:
    """Refuse a folder that lacks its list of frames or all of these; no picture is read.

    Raises:
        InputError: It does.
    """
    try:
        _frames_there(folder)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise _unreadable(folder, error) from error


def read_real_clip(folder: Path, frames: int) -> RealClip:
    """At most so many evenly spaced frames of a folder.

    Raises:
        InputError: The folder lacks a file, or one cannot be read.
    """
    try:
        told, there = _frames_there(folder)
        places = np.linspace(0, len(there) - 1, min(frames, len(there))).round().astype(int)
        chosen = [there[place] for place in places]
        images = np.stack([_picture(folder / each["file"]) for each in chosen])
        lenses = np.stack([_matrix(each["K_fx_fy_cx_cy"]) for each in chosen])
        poses = np.array([each["T_wc"] for each in chosen], dtype=np.float64).reshape(-1, 4, 4)
        depth = None
        if all("depth" in each for each in chosen):
            depth = np.stack([np.asarray(Image.open(folder / each["depth"])) for each in chosen])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise _unreadable(folder, error) from error
    measured = not str(told.get("pose_source", "none")).startswith("none")
    return RealClip(
        name=folder.name,
        images=images,
        intrinsics=lenses,
        world_from_camera=np.linalg.inv(poses[0]) @ poses if measured else None,
        # 65535 says the same as 0: nothing was measured.
        depth=None if depth is None else np.where(depth == 65535, 0, depth).astype(np.uint16),
    )


def _frames_there(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `cameras.json` says, and the frames in it whose pictures are there."""
    told = json.loads((folder / "cameras.json").read_text(encoding="utf-8"))
    there = [each for each in told["frames"] if (folder / each["file"]).is_file()]
    if not there:
        raise InputError(f"{folder} has none of the pictures that its cameras.json names")
    return told, there


def _unreadable(folder: Path, error: Exception) -> InputError:
    return InputError(
        f"{folder} cannot be read as real pictures with truth ({error}); give a folder with "
        "cameras.json and the pictures that it names"
    )


def _picture(path: Path) -> UInt8[np.ndarray, "height width rgb=3"]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _matrix(numbers: list[float]) -> Float64[np.ndarray, "3 3"]:
    fx, fy, cx, cy = numbers
    # Pixel centres at integers there, at half-integers here.
    return np.array([[fx, 0, cx + 0.5], [0, fy, cy + 0.5], [0, 0, 1]], dtype=np.float64)
