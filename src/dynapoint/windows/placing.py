"""Where the windows of a clip lie in their segment's world, and with them all frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from dynapoint.geometry.arrays import points_in_camera, transform_points
from dynapoint.windows.spans import Segment, Window
from dynapoint.windows.window_maps import WindowMaps


@dataclass(frozen=True, kw_only=True, eq=False)
class Placements:
    """Where everything of a clip lies.

    The world of a segment is the camera of its first frame, in the unit of its first window.

    Attributes:
        world_from_window: Similarities that take a window's world to its segment's.
        world_from_camera: Of all frames; the identity where there is nothing to see.
        map_intrinsics: Of all frames, in pixels of the maps.
        owner: The window whose maps each frame takes; −1 for none.
        log_depth_change: What is added to the logarithm of the owner's depth, on a coarse grid of
            any size that covers the map; None for nothing.
    """

    world_from_window: Float64[np.ndarray, "window 4 4"]
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    map_intrinsics: Float64[np.ndarray, "frame 3 3"]
    owner: Int64[np.ndarray, " frame"]
    log_depth_change: Float32[np.ndarray, "frame rows columns"] | None = None

    def scaled(
        self,
        of_window: float | Float64[np.ndarray, " window"],
        of_frame: float | Float64[np.ndarray, " frame"],
    ) -> "Placements":
        """The same in worlds in which all lengths are multiplied by their segment's factor.

        Args:
            of_window: That of each window's segment, or of all.
            of_frame: The same of each frame's.
        """
        windows, cameras = self.world_from_window.copy(), self.world_from_camera.copy()
        windows[:, :3] *= np.reshape(of_window, (-1, 1, 1))
        cameras[:, :3, 3] *= np.reshape(of_frame, (-1, 1))
        return replace(self, world_from_window=windows, world_from_camera=cameras)


def chained(
    windows: Sequence[Window],
    first_from_second: Sequence[Float64[np.ndarray, "4 4"]],
) -> Float64[np.ndarray, "window 4 4"]:
    """Similarities of windows by their neighbours alone: each from the one before it.

    Args:
        windows: In order; the first of each segment is the world.
        first_from_second: For each window but the first, that from it to the one before; of no
            meaning where a segment begins.
    """
    placed = np.tile(np.eye(4), (len(windows), 1, 1))
    for index in range(1, len(windows)):
        if windows[index].segment == windows[index - 1].segment:
            placed[index] = placed[index - 1] @ first_from_second[index - 1]
    return placed


def camera_of(
    world_from_window: Float64[np.ndarray, "4 4"], window_from_camera: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "4 4"]:
    """A camera of a window (rigid, world-from-camera) in the world that a similarity leads to."""
    linear = world_from_window[:3, :3]
    placed = np.eye(4)
    placed[:3, :3] = linear / np.cbrt(np.linalg.det(linear)) @ window_from_camera[:3, :3]
    placed[:3, 3] = linear @ window_from_camera[:3, 3] + world_from_window[:3, 3]
    return placed


def with_gauge(
    placements: Placements, segments: Sequence[Segment]
) -> tuple[Float64[np.ndarray, "window 4 4"], Float64[np.ndarray, "frame 4 4"]]:
    """Similarities and cameras in worlds that are exactly the camera of each segment's first frame.

    Units stay as they are.
    """
    windows, cameras = placements.world_from_window.copy(), placements.world_from_camera.copy()
    for segment in segments:
        frames = slice(segment.start, segment.stop)
        back = np.linalg.inv(cameras[segment.start])
        cameras[frames] = back @ cameras[frames]
        cameras[segment.start] = np.eye(4)
        for index in np.unique(placements.owner[frames]).tolist():
            if index >= 0:
                windows[index] = back @ windows[index]
    return windows, cameras


def placed_points(
    maps: WindowMaps, frame: int, placements: Placements, window: int
) -> Float32[np.ndarray, "height width xyz=3"]:
    """The own-time map of a frame of the clip in its segment's world, from a window that holds it.

    Points keep their pixels: what changes is how deep they are, and where their camera is.
    """
    [local] = maps.local([frame])
    inside = points_in_camera(maps.points[local].astype(np.float64), maps.world_from_camera[local])
    scale = np.cbrt(np.linalg.det(placements.world_from_window[window][:3, :3]))
    inside = inside * (scale * depth_change(placements, frame, inside.shape[:2]))[..., None]
    across = maps.map_intrinsics[local][[0, 1], [0, 1]]
    inside[..., :2] *= across / placements.map_intrinsics[frame][[0, 1], [0, 1]]
    return transform_points(placements.world_from_camera[frame], inside).astype(np.float32)


def depth_change(
    placements: Placements, frame: int, map_hw: tuple[int, int]
) -> Float64[np.ndarray, "height width"]:
    """By how much each pixel of a frame's map becomes deeper, beside its window's scale."""
    if placements.log_depth_change is None:
        return np.ones(map_hw)
    import cv2  # noqa: PLC0415 - slow to import.

    field = placements.log_depth_change[frame].astype(np.float64)
    full = cv2.resize(field, map_hw[::-1], interpolation=cv2.INTER_LINEAR)
    found: Float64[np.ndarray, "height width"] = np.exp(full)
    return found
