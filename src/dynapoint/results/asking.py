"""Fetching maps from a scene as tensors, and giving results back as arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from dynapoint.errors import InputError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")

# Maps of frames at all times that are held at once.
_BYTES_AT_ONCE = 1 << 30


def as_numpy(result: Result) -> Result:
    """The same result with NumPy arrays where it holds tensors."""
    arrays = {
        field.name: value.detach().cpu().numpy()
        for field in fields(result)  # type: ignore[arg-type]
        if hasattr(value := getattr(result, field.name), "detach")
    }
    return replace(result, **arrays)  # type: ignore[type-var]


def as_tensor(array: np.ndarray) -> "Tensor":
    """A tensor of an array, sharing its memory where it may be written to."""
    import torch  # noqa: PLC0415 - opening a scene does not need it.

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def camera_points(rec: Any, frame: int) -> Float32[np.ndarray, "map_height map_width xyz=3"]:
    """A frame's own-time map in its own camera, by the scene's pose."""
    pose = rec.world_from_camera[frame]
    points = (rec.own_time_points[frame].astype(np.float64) - pose[:3, 3]) @ pose[:3, :3]
    return points.astype(np.float32)


def map_pictures(
    rec: Any, frames: Sequence[int] | None = None
) -> UInt8[np.ndarray, "frame map_height map_width rgb=3"]:
    """What the maps show of some frames, or of all: a colour (sRGB) for every pixel of the maps."""
    from dynapoint.results.pictures import picture_in_map  # noqa: PLC0415 - it imports us.

    size = rec.map_hw[::-1]
    return np.stack(
        [
            np.asarray(picture_in_map(rec, frame, size, Image.Resampling.BOX))
            for frame in (range(rec.frame_count) if frames is None else frames)
        ]
    )


def maps_of_frames(
    rec: Any, frames: Sequence[int], time: int, *, keep: bool = True
) -> tuple[
    list[Float32[np.ndarray, "map_height map_width xyz=3"]],
    Float32[np.ndarray, "frame map_height map_width"],
]:
    """Points of some frames at one time, a map each and none copied, and their confidence.

    Decoded together, because this is one pass of a network whose decoder sees all frames; `keep`
    says whether the decoder is to keep them.
    """
    maps = {time: (rec.own_time_points[time], rec.own_time_confidence[time])}
    if rec.kept_tracks is not None and 0 in frames and time != 0:
        maps[0] = rec.kept_tracks.points[time], rec.kept_tracks.confidence[time]
    others = [frame for frame in frames if frame not in maps]
    if others:
        maps.update(zip(others, rec.decoder.decode(others, time, keep=keep), strict=True))
    return [maps[frame][0] for frame in frames], np.stack([maps[frame][1] for frame in frames])


def maps_at_two_times(
    rec: Any, frame: SupportsIndex, from_time: SupportsIndex | None, to_time: SupportsIndex
) -> "tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]":
    """Points and confidence of one frame at two times."""
    begin = frame if from_time is None else from_time
    start, end = (rec.maps(frame=frame, time=time) for time in (begin, to_time))
    return (as_tensor(start[0]), as_tensor(start[1])), (as_tensor(end[0]), as_tensor(end[1]))


def maps_of_both(
    rec: Any, first: int, second: int, *, time: int
) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
    """Points and confidence of one frame, then of another, at one time."""
    maps = (rec.maps(frame=frame, time=time) for frame in (first, second))
    a, b = ((as_tensor(points), as_tensor(confidence)) for points, confidence in maps)
    return *a, *b


def maps_at_all_times(rec: Any, frame: SupportsIndex) -> "tuple[Tensor, Tensor]":
    """Points (time, height, width, 3) and confidence of one frame, without their visibility."""
    maps = [rec.maps(frame=frame, time=time) for time in range(rec.frame_count)]
    points, confidence = (np.stack(part) for part in zip(*maps, strict=True))
    return as_tensor(points), as_tensor(confidence)


def frames_at_all_times(rec: Any, frames: Sequence[int]) -> "Iterator[tuple[int, Tensor, Tensor]]":
    """`maps_at_all_times` of one frame after another.

    Frames are decoded together, one time after another, because a network whose decoder sees all
    frames takes one pass for a time; as many at once as fit in a fixed number of bytes.
    """
    chosen = [int(frame) for frame in frames]
    count, (height, width) = rec.frame_count, rec.map_hw
    group = max(1, _BYTES_AT_ONCE // (count * height * width * 16))
    for first in range(0, len(chosen), group):
        some = chosen[first : first + group]
        points = np.empty((len(some), count, height, width, 3), dtype=np.float32)
        confidence = np.empty(points.shape[:-1], dtype=np.float32)
        for time in range(count):
            maps, known = maps_of_frames(rec, some, time, keep=False)
            confidence[:, time] = known
            for place, each in zip(points, maps, strict=True):
                place[time] = each
        for index, frame in enumerate(some):
            yield frame, as_tensor(points[index]), as_tensor(confidence[index])


def checked_xy(xy: ArrayLike) -> Float64[np.ndarray, "points xy=2"]:
    """Places of the original pictures, as float64.

    Raises:
        InputError: A value is not finite.
        ShapeError: They are no array of numbers of shape (n, 2).
    """
    try:
        places = np.asarray(xy)
    except ValueError as error:
        raise ShapeError("xy is a ragged list; give an array of numbers of shape (n, 2)") from error
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iuf":
        raise ShapeError(
            f"xy is {places.dtype} of shape {places.shape}; give numbers of shape (n, 2), "
            "(column, row) in original pixels"
        )
    if not np.isfinite(places).all():
        raise InputError(
            f"{np.count_nonzero(~np.isfinite(places).all(axis=1))} of {len(places)} rows of xy are "
            "not finite; leave them out"
        )
    return places.astype(np.float64)
