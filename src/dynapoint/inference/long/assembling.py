"""From placed windows to one scene: arrays of all frames, written one frame after another."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from dynapoint.geometry.arrays import points_on_rays
from dynapoint.inference.long.window_files import FinishedWindow
from dynapoint.progress import steps
from dynapoint.results.on_disk.large_arrays import GrowingArray, let_go
from dynapoint.windows.placing import Placements, placed_points
from dynapoint.windows.spans import Segment


@dataclass(frozen=True, kw_only=True, eq=False)
class Assembled:
    """The large arrays of a clip, memory-mapped.

    Attributes:
        own_time_points: In each segment's world.
        own_time_confidence: 0 where there is nothing to see.
        pictures: Grey, to measure in, if windows have them.
    """

    own_time_points: Float32[np.ndarray, "frame map_height map_width xyz=3"]
    own_time_confidence: Float32[np.ndarray, "frame map_height map_width"]
    pictures: UInt8[np.ndarray, "frame tall wide"] | None


def assemble(
    windows: Sequence[FinishedWindow],
    placements: Placements,
    segments: Sequence[Segment],
    folder: Path,
) -> Assembled:
    """Write the large arrays of a clip into a folder and map them.

    Every frame takes the maps of its owner. A frozen segment's frames all take those of its first;
    of a black one nothing is known.

    Raises:
        OSError: They cannot be written.
        SceneError: A window's files are damaged.
    """
    count = len(placements.owner)
    shape = windows[0].maps.confidence.shape[1:]
    first_pictures = windows[0].pictures()
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "own_time_points": ((count, *shape, 3), "<f4"),
        "own_time_confidence": ((count, *shape), "<f4"),
    }
    if first_pictures is not None:
        shapes["pictures"] = ((count, *first_pictures.shape[1:]), "u1")
    with ExitStack() as files:
        growing = {
            name: files.enter_context(GrowingArray(folder / f"{name}.npy", size, dtype))
            for name, (size, dtype) in shapes.items()
        }
        for frame in steps(range(count), "frame"):
            shown = shown_frame(frame, segments)
            window = int(placements.owner[shown])
            if window < 0:
                rows = _nothing(frame, placements, {n: s[1:] for n, (s, _) in shapes.items()})
            else:
                rows = _of_window(windows[window], window, shown, placements)
            for name, array in growing.items():
                array.append(rows[name])
    mapped: dict[str, Any] = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r") for name in shapes
    }
    return Assembled(**{"pictures": None, **mapped})


def shown_frame(frame: int, segments: Sequence[Segment]) -> int:
    """The frame whose maps stand for a frame: of a frozen segment the first one."""
    for segment in segments:
        if segment.kind == "frozen" and segment.start <= frame < segment.stop:
            return segment.start
    return frame


def _of_window(
    window: FinishedWindow, index: int, frame: int, placements: Placements
) -> dict[str, np.ndarray]:
    """What a window says of one of its frames, placed."""
    local, maps = window.frames.index(frame), window.maps
    pictures = window.pictures()
    rows: dict[str, np.ndarray] = {
        "own_time_points": placed_points(maps, frame, placements, index),
        "own_time_confidence": np.array(maps.confidence[local]),
    }
    if pictures is not None:
        rows["pictures"] = np.array(pictures[local])
    let_go(pictures, maps.points, maps.confidence)
    return rows


def _nothing(
    frame: int, placements: Placements, shapes: dict[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """A black frame: a wall at distance 1 of which nothing is known."""
    rows = {name: np.zeros(shape, dtype=np.uint8) for name, shape in shapes.items()}
    rows["own_time_points"] = points_on_rays(
        np.ones(shapes["own_time_confidence"]),
        placements.map_intrinsics[frame],
        placements.world_from_camera[frame],
    )
    return rows
