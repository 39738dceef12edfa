"""Folders of real pictures with some truth: lenses always, poses and depth where there are any.

`datasets.told_folders` says what such a folder holds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8, UInt16

from dynapoint.datasets.files import read_picture, read_png16
from dynapoint.datasets.told_folders import read_told
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
    read_told(folder)


def read_real_clip(folder: Path, frames: int) -> RealClip:
    """At most so many evenly spaced frames of a folder.

    Raises:
        InputError: The folder lacks a file, or one cannot be read.
    """
    told = read_told(folder)
    count = min(frames, len(told.frames))
    places = np.linspace(0, len(told.frames) - 1, count).round().astype(int)
    chosen = [told.frames[place] for place in places]
    images = [read_picture(each.picture) for each in chosen]
    depths = [read_png16(each.depth) for each in chosen if each.depth is not None]
    if len({picture.shape for picture in images}) > 1 or len({z.shape for z in depths}) > 1:
        raise InputError(
            f"{folder}: its pictures or its depths differ in size; give a folder of one size"
        )
    depth = np.stack(depths) if len(depths) == len(chosen) else None
    poses = None
    if told.poses_measured:
        measured = np.stack([each.world_from_camera for each in chosen])
        poses = np.linalg.inv(measured[0]) @ measured
    return RealClip(
        name=folder.name,
        images=np.stack(images),
        intrinsics=np.stack([each.intrinsics for each in chosen]),
        world_from_camera=poses,
        # 65535 says the same as 0: nothing was measured.
        depth=None if depth is None else np.where(depth == 65535, 0, depth).astype(np.uint16),
    )
