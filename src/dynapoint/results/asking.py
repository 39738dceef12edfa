"""Fetching maps of a scene as tensors, and giving results back as arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Float32

from dynapoint.geometry.arrays import points_in_camera
from dynapoint.progress import steps
from dynapoint.results.scene_maps import SceneMaps, maps_of_frames
from dynapoint.results.scene_points import WindowedPoints

if TYPE_CHECKING:
    from torch import Tensor

# Maps of frames at all times that are held at once.
_BYTES_AT_ONCE = 1 << 30


def as_numpy(result: Any) -> Any:
    """The same result of a reduction with NumPy arrays where it holds tensors.

    Python's types cannot say "the same but for its arrays": callers say what they give.
    """
    arrays = {
        field.name: value.detach().cpu().numpy()
        for field in fields(result)
        if hasattr(value := getattr(result, field.name), "detach")
    }
    return replace(result, **arrays)


def as_tensor(array: np.ndarray) -> "Tensor":
    """A tensor of an array, sharing its memory where it may be written to."""
    import torch  # noqa: PLC0415 - opening a scene does not need it.

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def camera_points(
    scene: SceneMaps, frame: int
) -> Float32[np.ndarray, "map_height map_width xyz=3"]:
    """A frame's own-time map in its own camera, by the scene's pose."""
    points = scene.own_time_points[frame].astype(np.float64)
    return points_in_camera(points, scene.world_from_camera[frame]).astype(np.float32)


def maps_at_two_times(
    scene: SceneMaps, frame: SupportsIndex, from_time: SupportsIndex | None, to_time: SupportsIndex
) -> "tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]":
    """Points and confidence of one frame at two times."""
    begin = frame if from_time is None else from_time
    start, end = (scene.maps(frame=frame, time=time) for time in (begin, to_time))
    return (as_tensor(start[0]), as_tensor(start[1])), (as_tensor(end[0]), as_tensor(end[1]))


def maps_of_both(
    scene: SceneMaps, first: int, second: int, *, time: int
) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
    """Points and confidence of one frame, then of another, at one time."""
    maps = (scene.maps(frame=frame, time=time) for frame in (first, second))
    a, b = ((as_tensor(points), as_tensor(confidence)) for points, confidence in maps)
    return *a, *b


def span_of(scene: SceneMaps, frame: int) -> range:
    """The times for which a network saw a frame: all, but of a long clip."""
    if scene.joining is not None and isinstance(scene.decoder, WindowedPoints):
        return scene.decoder.span(frame)
    return range(scene.frame_count)


def maps_in_span(scene: SceneMaps, frame: SupportsIndex) -> "tuple[Tensor, Tensor]":
    """Points (time, height, width, 3) and confidence of one frame at the times of its span."""
    times = span_of(scene, int(frame))
    with_bar = steps(times, "time", wanted=scene.progress)
    maps = [scene.maps(frame=frame, time=time) for time in with_bar]
    points, confidence = (np.stack(part) for part in zip(*maps, strict=True))
    return as_tensor(points), as_tensor(confidence)


def frames_in_span(
    scene: SceneMaps, frames: Sequence[int]
) -> "Iterator[tuple[int, Tensor, Tensor]]":
    """`maps_in_span` of one frame after another.

    Frames of one span are decoded together, one time after another, because a network whose decoder
    sees all frames takes one pass for a time; as many at once as fit in a fixed number of bytes.
    """
    height, width = scene.map_hw
    for times, alike in groupby((int(frame) for frame in frames), lambda f: span_of(scene, f)):
        chosen = list(alike)
        group = max(1, _BYTES_AT_ONCE // (len(times) * height * width * 16))
        for first in range(0, len(chosen), group):
            some = chosen[first : first + group]
            points = np.empty((len(some), len(times), height, width, 3), dtype=np.float32)
            confidence = np.empty(points.shape[:-1], dtype=np.float32)
            for at, time in enumerate(steps(times, "time", wanted=scene.progress)):
                maps, known = maps_of_frames(scene, some, time, keep=False)
                confidence[:, at] = known
                for place, each in zip(points, maps, strict=True):
                    place[at] = each
            for index, frame in enumerate(some):
                yield frame, as_tensor(points[index]), as_tensor(confidence[index])
