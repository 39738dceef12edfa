"""A clip as it comes: what each window says as soon as it is there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from dynapoint.inference.long.joining import Joiner
from dynapoint.inference.long.window_files import FinishedWindow
from dynapoint.windows.placing import camera_of
from dynapoint.windows.registration import Registration


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrectedCameras:
    """Cameras that turned out to be elsewhere than was said.

    Attributes:
        frames: Indices of their frames in the clip.
        world_from_camera: Where they are, in the world of their segment.
    """

    frames: tuple[int, ...]
    world_from_camera: Float64[np.ndarray, "frame 4 4"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What one window of a clip adds; the last one brings corrections and no frames.

    Attributes:
        index: Of the window, from 0.
        frames: The frames that no window before held.
        world_from_camera: Of these, in the world of their segment: the camera of its first frame,
            in the unit of its first window.
        segment: Index of the segment; a new one is a new world.
        window: What it says of all of its frames, in a world of its own; None in the last part.
        world_from_window: The similarity from there to the segment's world.
        seam: How it was registered with the window before; None where a segment begins.
        corrected: Cameras of earlier frames that are elsewhere now; None for none.
    """

    index: int
    frames: tuple[int, ...]
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    segment: int
    window: FinishedWindow | None
    world_from_window: Float64[np.ndarray, "4 4"]
    seam: Registration | None = None
    corrected: CorrectedCameras | None = None


def parts_of(windows: Iterator[FinishedWindow], joiner: Joiner) -> Iterator[Part]:
    """Register windows as they are finished.

    Args:
        windows: Those of a `LongRun`.
        joiner: Registers them, and holds them for what comes in the end.
    """
    seen = 0
    for index, window in enumerate(windows):
        seam = joiner.add(window)
        placed = joiner.world_from_window[-1]
        new = tuple(frame for frame in window.window.frames if frame >= seen)
        seen = max(seen, window.window.stop)
        places = [window.frames.index(frame) for frame in new]
        cameras = [camera_of(placed, window.world_from_camera[place]) for place in places]
        yield Part(
            index=index,
            frames=new,
            world_from_camera=np.stack(cameras) if cameras else np.zeros((0, 4, 4)),
            segment=window.window.segment,
            window=window,
            world_from_window=placed,
            seam=None if seam is None else seam.found,
        )


def correction(index: int, world_from_camera: Float64[np.ndarray, "frame 4 4"]) -> Part:
    """The last part: where all cameras are in the end."""
    frames = tuple(range(len(world_from_camera)))
    return Part(
        index=index,
        frames=(),
        world_from_camera=np.zeros((0, 4, 4)),
        segment=0,
        window=None,
        world_from_window=np.eye(4),
        corrected=CorrectedCameras(frames=frames, world_from_camera=world_from_camera),
    )
