"""Ordinary windows whose cameras wide ones contradict, and the cameras that they should have.

In a window of less than a second a large mover may fill the picture: cameras that follow it explain
the pictures as well as the true ones. A wide window, which sees the background go by for longer,
tells them apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from dynapoint.geometry.arrays import points_in_camera, rotation_angle_rad
from dynapoint.geometry.sim3 import exp_sim3, invert_similarity, log_sim3
from dynapoint.windows.window_maps import WindowMaps

# Relative rotations of two windows that differ by more in the median contradict each other; those
# of two wide windows that are to be believed differ by less.
_CONTRADICTS_DEG, _BELIEVED_DEG = 2.0, 1.5
_FEWEST_SHARED = 4


@runtime_checkable
class SeesFrames(Protocol):
    """Cameras of some frames of a clip, such as those of `window_maps.WindowMaps`."""

    @property
    def frames(self) -> tuple[int, ...]:
        """Indices of the frames, increasing."""
        ...

    @property
    def world_from_camera(self) -> Float64[np.ndarray, "frame 4 4"]:
        """Their cameras, in a world of their own."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Overruled:
    """A window whose cameras are to be others.

    Attributes:
        window: Its index.
        by: Index of the wide window that says so.
        by_deg: By how much their relative rotations differ, in the median.
        world_from_camera: Of its frames, `[0]` the identity, in the window's unit.
    """

    window: int
    by: int
    by_deg: float
    world_from_camera: Float64[np.ndarray, "frame 4 4"]


def overruled_windows(
    plain: Sequence[SeesFrames],
    wide: Sequence[SeesFrames],
    log_unit: Callable[[int, int], float],
) -> list[Overruled]:
    """The ordinary windows that wide ones contradict; `by` counts in `wide`.

    A wide window counts that another one bears out, and none contradicts, where both see the same.

    Args:
        plain: Cameras of the ordinary windows.
        wide: Cameras of the wide ones.
        log_unit: What `log_unit_of` says of an ordinary window and a wide one, by their indices.
    """
    believed = [k for k, each in enumerate(wide) if _is_believed(each, k, wide)]
    found = []
    for index, mine in enumerate(plain):
        shared = {k: len(_shared(mine, wide[k])) for k in believed}
        # What spans more of the window says more of it.
        order = sorted(shared, key=lambda k: (shared[k], -k), reverse=True)
        if not order or shared[order[0]] < _FEWEST_SHARED:
            continue
        by = order[0]
        differ = disagreement_deg(mine, wide[by])
        if differ > _CONTRADICTS_DEG:
            cameras = cameras_by(mine, wide[by], log_unit(index, by))
            found.append(Overruled(window=index, by=by, by_deg=differ, world_from_camera=cameras))
    return found


def disagreement_deg(first: SeesFrames, second: SeesFrames) -> float:
    """By how much rotations between shared frames differ: the median over pairs; 0 if few."""
    frames = _shared(first, second)
    if len(frames) < 2:
        return 0.0
    one, other = (
        each.world_from_camera[_local(each, frames)][:, :3, :3] for each in (first, second)
    )
    rows, columns = np.triu_indices(len(frames), 1)
    turns = [poses[rows].swapaxes(1, 2) @ poses[columns] for poses in (one, other)]
    return float(np.degrees(np.median(rotation_angle_rad(*turns))))


def cameras_by(
    window: SeesFrames, wide: SeesFrames, log_unit: float
) -> Float64[np.ndarray, "frame 4 4"]:
    """Cameras of a window that go as a wide one says, and between its frames as the window says.

    What the two differ by is spread evenly over the frames between.

    Args:
        window: The window.
        wide: What is believed.
        log_unit: The logarithm of how many times larger the window has everything.
    """
    frames = _shared(window, wide)
    own = _local(window, frames)
    known = np.array(wide.world_from_camera[_local(wide, frames)])
    known[:, :3, 3] *= np.exp(log_unit)
    mine = np.array(window.world_from_camera)
    cameras = np.empty_like(mine)
    for frame in range(len(mine)):
        behind = int(np.searchsorted(own, frame, side="right")) - 1
        start = min(max(behind, 0), len(own) - 1)
        step = np.linalg.inv(mine[own[start]]) @ mine[frame]
        cameras[frame] = known[start] @ step
        if 0 <= behind < len(own) - 1:
            share = (frame - own[start]) / (own[start + 1] - own[start])
            said = np.linalg.inv(known[start]) @ known[start + 1]
            meant = np.linalg.inv(mine[own[start]]) @ mine[own[start + 1]]
            missing = log_sim3(invert_similarity(meant[None]) @ said[None])
            cameras[frame] = cameras[frame] @ exp_sim3(share * missing)[0]
    return np.linalg.inv(cameras[0]) @ cameras


def _is_believed(window: SeesFrames, index: int, wide: Sequence[SeesFrames]) -> bool:
    """Whether another wide window bears one out and none contradicts it."""
    others = [
        other
        for k, other in enumerate(wide)
        if k != index and len(_shared(window, other)) >= _FEWEST_SHARED
    ]
    return bool(others) and all(disagreement_deg(window, other) < _BELIEVED_DEG for other in others)


def _shared(first: SeesFrames, second: SeesFrames) -> list[int]:
    """The frames that both see, increasing."""
    return sorted(set(first.frames) & set(second.frames))


def _local(window: SeesFrames, frames: Sequence[int]) -> list[int]:
    """Where frames stand in a window."""
    return [window.frames.index(frame) for frame in frames]


def log_unit_of(maps: WindowMaps, wide: WindowMaps) -> float:
    """The logarithm of how many times larger a window's depths are than a wide one's.

    The median over pixels, and over the frames that both see; 0 where nothing tells.
    """
    frames = maps.shared_with(wide)
    ratios = []
    for one, other in zip(maps.local(frames), wide.local(frames), strict=True):
        depths = [
            points_in_camera(each.points[k].astype(np.float64), each.world_from_camera[k])[..., 2]
            for each, k in ((maps, one), (wide, other))
        ]
        sure = (maps.confidence[one] > 0) & (wide.confidence[other] > 0)
        sure &= (depths[0] > 0) & (depths[1] > 0)
        if sure.any():
            ratios.append(float(np.median(np.log(depths[0][sure] / depths[1][sure]))))
    return float(np.median(ratios)) if ratios else 0.0
