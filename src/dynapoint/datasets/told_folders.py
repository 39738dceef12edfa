"""`cameras.json`: what a folder of real pictures says of its frames.

The file holds `frames`, each a `file`, `K_fx_fy_cx_cy` (pixel centres at integers), `T_wc` (camera
to world, OpenCV axes) and, where they were measured, `depth` (a PNG of 16 bits in which 0 and 65535
are unknown), `lidar` (an .npz) and `boxes`. For the whole folder, `depth` says the unit of these
PNGs ("… value/5000 …" metres), and a `pose_source` that begins with "none" that poses are
placeholders.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from dynapoint.errors import InputError

FRAMES_FILE = "cameras.json"
_UNIT = re.compile(r"value\s*/\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, eq=False)
class ToldBox:
    """An object at the time of a frame: which one, and world_from_object."""

    instance: int
    world_from_object: Float64[np.ndarray, "4 4"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ToldFrame:
    """A frame of a folder.

    Attributes:
        picture, depth, lidar: Files; the last two may be None.
        intrinsics: In pixels of the picture, pixel centres at half-integers.
        world_from_camera: None, or maybe a placeholder, unless `ToldFolder.poses_measured`.
        boxes: Objects; none is told of most folders.
    """

    picture: Path
    intrinsics: Float64[np.ndarray, "3 3"]
    world_from_camera: Float64[np.ndarray, "4 4"] | None
    depth: Path | None
    lidar: Path | None
    boxes: tuple[ToldBox, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ToldFolder:
    """The frames whose pictures are there, at least one, in their order.

    Attributes:
        poses_measured: Whether all frames have poses that are more than placeholders.
        metric: Whether lengths are metres.
        depth_unit: What a value of 1 in a depth PNG means; 1 where it is not said.
    """

    frames: tuple[ToldFrame, ...]
    poses_measured: bool
    metric: bool
    depth_unit: float


def read_told(folder: Path) -> ToldFolder:
    """Read `cameras.json`; no picture is opened.

    Raises:
        InputError: It is missing or damaged, or none of its pictures is there.
    """
    try:
        told = json.loads((folder / FRAMES_FILE).read_text(encoding="utf-8"))
        there = [each for each in told["frames"] if (folder / each["file"]).is_file()]
        frames = tuple(_frame(folder, each) for each in there)
        unit = _UNIT.search(str(told.get("depth", "")))
        has_depth = any(each.depth is not None for each in frames)
        metric = told.get("units") in ("metres", "meters", "m") and bool(unit or not has_depth)
        measured = not str(told.get("pose_source", "none")).startswith("none")
        measured &= all(each.world_from_camera is not None for each in frames)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _unreadable(folder, error) from error
    if not frames:
        raise InputError(f"{folder} has none of the pictures that its {FRAMES_FILE} names")
    return ToldFolder(
        frames=frames,
        poses_measured=measured,
        metric=metric,
        depth_unit=1 / float(unit.group(1)) if unit else 1.0,
    )


def _frame(folder: Path, told: dict[str, Any]) -> ToldFrame:
    fx, fy, cx, cy = (float(each) for each in told["K_fx_fy_cx_cy"])
    return ToldFrame(
        picture=folder / told["file"],
        # Pixel centres at integers there, at half-integers here.
        intrinsics=np.array([[fx, 0, cx + 0.5], [0, fy, cy + 0.5], [0, 0, 1]]),
        world_from_camera=_pose(told["T_wc"]) if told.get("T_wc") else None,
        depth=folder / told["depth"] if told.get("depth") else None,
        lidar=folder / told["lidar"] if told.get("lidar") else None,
        boxes=tuple(
            ToldBox(instance=int(box["instance"]), world_from_object=_pose(box["T_wo"]))
            for box in told.get("boxes", ())
        ),
    )


def _pose(rows: list[list[float]]) -> Float64[np.ndarray, "4 4"]:
    return np.array(rows, dtype=np.float64).reshape(4, 4)


def _unreadable(folder: Path, error: Exception) -> InputError:
    said = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return InputError(
        f"{folder} cannot be read as real pictures with truth ({said}); give a folder with "
        f"{FRAMES_FILE} and the pictures that it names"
    )
