"""A part of a scene as a scene of its own."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import SupportsIndex, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dynapoint.data.lazy_frames import part_of_frames
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.results.checked import checked_index
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.scene_points import (
    FrameMaps,
    FrameTracks,
    MeasuredPictures,
    PointDecoder,
    WindowedPoints,
)
from dynapoint.windows.spans import Segment

Scene = TypeVar("Scene", bound=SceneMaps)


def subscene(scene: Scene, frames: Sequence[SupportsIndex], *, note: str | None = None) -> Scene:
    """Some frames of a scene, which count from 0 there and are its only times.

    The world is the camera of the first frame chosen (of each segment, where they are of several).
    Where that is the world already, all numbers are those of the scene, and arrays are views of its
    own where the frames are evenly apart; else points are turned into it, a copy for the frames
    chosen. What the decoder gives is turned likewise, when it is asked. Pictures are not copied.

    A part is not stored (`folder` is None), and saved it holds nothing of the network. `joining` is
    that of the whole scene, whose windows it was made in.

    Args:
        scene: The scene.
        frames: Indices of frames, increasing, one at least.
        note: What is said of what was left out; the scene's own note unless it is given.

    Raises:
        InputError: No frame is given, one is no index of a frame used, or they do not increase.
    """
    numbers = [checked_index(frame, "frames", scene.frame_count) for frame in frames]
    if not numbers or any(b <= a for a, b in pairwise(numbers)):
        raise InputError(
            f"the frames of a part are {numbers[:5]}; give one or more indices that increase"
        )
    chosen = _selection(numbers)
    origins = _origins(scene, numbers)
    poses, points = scene.world_from_camera[chosen], scene.own_time_points[chosen]
    if origins is not None:
        poses, points = _poses_from(poses, origins), _points_from(points, origins)
    pixel_map, kept = scene.pixel_map, scene.kept_tracks
    lenses = pixel_map.lenses
    return replace(
        scene,
        frames=part_of_frames(scene.frames, numbers, note=note or scene.frames.note),
        world_from_camera=poses,
        intrinsics=scene.intrinsics[chosen],
        own_time_points=points,
        own_time_confidence=scene.own_time_confidence[chosen],
        pixel_map=replace(
            pixel_map,
            scale=pixel_map.scale[chosen],
            offset=pixel_map.offset[chosen],
            picture_hw=pixel_map.picture_hw[chosen],
            lenses=None if lenses is None else tuple(lenses[number] for number in numbers),
        ),
        decoder=PartDecoder(scene.decoder, numbers, origins),
        pictures=None if scene.pictures is None else PartPictures(scene.pictures, numbers),
        kept_tracks=None
        if kept is None or numbers[0] != 0
        else FrameTracks(
            points=kept.points[chosen],
            visible=kept.visible[chosen],
            confidence=kept.confidence[chosen],
        ),
        folder=None,
        segments=_segments(scene.segments, numbers),
    )


def segment_of(scene: Scene, index: SupportsIndex) -> Scene:
    """One segment of a scene (`scene.segments`) as a scene of its own, in the world that it has.

    Raises:
        InputError: There is no such segment.
    """
    parts = worlds(scene)
    if isinstance(index, bool) or not 0 <= int(index) < len(parts):
        raise InputError(f"segment is {index} but the scene has {len(parts)}, from 0")
    part = parts[int(index)]
    if part.count == scene.frame_count:
        return scene
    return subscene(scene, range(part.start, part.stop))


def worlds(scene: SceneMaps) -> tuple[Segment, ...]:
    """The segments of a scene; all of its frames as one where it has none."""
    return scene.segments or (Segment(start=0, stop=scene.frame_count),)


def main_segment(scene: SceneMaps) -> int:
    """Index of the longest segment that shows something, the first of equals."""
    parts = worlds(scene)
    return max(range(len(parts)), key=lambda k: (parts[k].kind == "scene", parts[k].count))


def segment_at(scene: SceneMaps, frame: int) -> int:
    """Index of the segment that a frame belongs to."""
    return next(k for k, part in enumerate(worlds(scene)) if part.start <= frame < part.stop)


class PartDecoder:
    """Answers for some frames of another decoder, in the worlds of their first ones."""

    def __init__(
        self,
        whole: PointDecoder,
        numbers: Sequence[int],
        origins: Float64[np.ndarray, "frame 4 4"] | None,
    ) -> None:
        self._whole, self._numbers, self._origins = whole, list(numbers), origins

    def decode(self, frames: Sequence[int], time: int, *, keep: bool = True) -> list[FrameMaps]:
        """As `PointDecoder.decode`, whose errors it raises."""
        numbers = [self._numbers[frame] for frame in frames]
        maps = self._whole.decode(numbers, self._numbers[time], keep=keep)
        if self._origins is None:
            return maps
        return [
            (_points_from(points[None], self._origins[[frame]])[0], confidence)
            for frame, (points, confidence) in zip(frames, maps, strict=True)
        ]

    def span(self, frame: int) -> range:
        """As `WindowedPoints.span`; all times of a clip that a network saw at once."""
        if not isinstance(self._whole, WindowedPoints):
            return range(len(self._numbers))
        times = self._whole.span(self._numbers[frame])
        return range(*np.searchsorted(self._numbers, [times.start, times.stop]).tolist())


class PartPictures:
    """Some of the pictures in which matches are measured."""

    def __init__(
        self,
        whole: UInt8[np.ndarray, "frame tall wide"] | MeasuredPictures,
        numbers: Sequence[int],
    ) -> None:
        self._whole, self._numbers = whole, list(numbers)

    def __getitem__(self, frame: int, /) -> UInt8[np.ndarray, "tall wide"]:
        return self._whole[self._numbers[frame]]


def _selection(numbers: Sequence[int]) -> slice | list[int]:
    """What selects frames of an array, a slice where it can, which copies nothing."""
    steps = set(np.diff(numbers).tolist())
    if len(steps) > 1:
        return list(numbers)
    return slice(numbers[0], numbers[-1] + 1, steps.pop() if steps else 1)


def _origins(scene: SceneMaps, numbers: Sequence[int]) -> Float64[np.ndarray, "frame 4 4"] | None:
    """For each frame the pose that its world begins with then; None if all stay as they are."""
    first: dict[int, int] = {}
    for number in numbers:
        first.setdefault(segment_at(scene, number), number)
    origins = scene.world_from_camera[[first[segment_at(scene, number)] for number in numbers]]
    return None if (origins == np.eye(4)).all() else origins


def _poses_from(
    poses: Float64[np.ndarray, "frame 4 4"], origins: Float64[np.ndarray, "frame 4 4"]
) -> Float64[np.ndarray, "frame 4 4"]:
    """Poses in worlds with other origins; exactly the identity where a pose is its origin."""
    moved = np.tile(np.eye(4), (len(poses), 1, 1))
    back = np.swapaxes(origins[:, :3, :3], 1, 2)
    moved[:, :3, :3] = back @ poses[:, :3, :3]
    moved[:, :3, 3:] = back @ (poses[:, :3, 3:] - origins[:, :3, 3:])
    moved[(poses == origins).all(axis=(1, 2))] = np.eye(4)
    return moved


def _points_from(
    points: Float32[np.ndarray, "frame map_height map_width xyz=3"],
    origins: Float64[np.ndarray, "frame 4 4"],
) -> Float32[np.ndarray, "frame map_height map_width xyz=3"]:
    """Maps of points in worlds with other origins; worked out a frame at a time."""
    moved = np.empty(points.shape, dtype=np.float32)
    for place, frame, origin in zip(moved, points, origins, strict=True):
        place[:] = points_in_camera(frame.astype(np.float64), origin)
    return moved


def _segments(segments: tuple[Segment, ...], numbers: Sequence[int]) -> tuple[Segment, ...]:
    """Segments in the part's own count; `()` if all frames are of one."""
    kept = []
    for part in segments:
        start, stop = np.searchsorted(numbers, [part.start, part.stop]).tolist()
        if stop > start:
            kept.append(replace(part, start=start, stop=stop))
    return tuple(kept) if len(kept) > 1 else ()
