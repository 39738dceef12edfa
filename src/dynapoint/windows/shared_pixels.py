"""What two windows both say of pixels: a few thousand pairs of points for their registration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from dynapoint.geometry.pinhole import mixing_step
from dynapoint.windows.window_maps import WindowMaps

# About how many pixels are looked at, and the fewest of one map.
_PIXELS, _FEWEST = 2000, 64
# A pixel counts by the confidence of the less sure window, in units of one that a quarter of that
# window's pixels surpass: where most are unsure, a few sure ones decide.
_SURE_QUANTILE, _MOST_WEIGHT = 0.75, 2.0
# Errors within a cell of this grid, laid over a picture, count as one.
_CELL_ROWS, _CELL_COLUMNS = 6, 8
CELLS = _CELL_ROWS * _CELL_COLUMNS


@dataclass(frozen=True, kw_only=True, eq=False)
class CommonTime:
    """Maps of one frame at another frame's time, from the decoders of two windows.

    Attributes:
        frame: Index in the clip of the frame whose pixels they are; both windows hold it.
        time: Index in the clip of the frame at whose time; both windows hold it.
        first_points: In the world of the first window.
        second_points: In the world of the second.
        first_confidence: Not negative, larger is better, 0 where nothing is known.
        second_confidence: The same of the second window.
    """

    frame: int
    time: int
    first_points: Float32[np.ndarray, "height width xyz=3"]
    second_points: Float32[np.ndarray, "height width xyz=3"]
    first_confidence: Float32[np.ndarray, "height width"]
    second_confidence: Float32[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedPixels:
    """Pairs of points, and the cameras of the shared frames.

    Attributes:
        frame: Of which shared frame each pixel is (0 is the first of them).
        first: Its point in the first window's camera of that frame.
        second: Its point in the second window's camera of that frame.
        weight: By confidences; 1 is usual.
        first_camera: World-from-camera in the first window.
        second_camera: The same in the second.
        covered: In how many of the `CELLS` of its picture a frame has pixels.
        sure: How many pixels of the shared frames have any confidence in both windows.
    """

    frame: Int64[np.ndarray, " pixel"]
    first: Float64[np.ndarray, "pixel xyz=3"]
    second: Float64[np.ndarray, "pixel xyz=3"]
    weight: Float64[np.ndarray, " pixel"]
    first_camera: Float64[np.ndarray, "frame 4 4"]
    second_camera: Float64[np.ndarray, "frame 4 4"]
    covered: Int64[np.ndarray, " frame"]
    sure: int

    def in_units(self, first: float, second: float) -> "SharedPixels":
        """The same with lengths of the first and the second window divided by numbers."""
        first_camera, second_camera = self.first_camera.copy(), self.second_camera.copy()
        first_camera[:, :3, 3] /= first
        second_camera[:, :3, 3] /= second
        return replace(
            self,
            first=self.first / first,
            second=self.second / second,
            first_camera=first_camera,
            second_camera=second_camera,
        )

    def kept(self, chosen: Bool[np.ndarray, " pixel"]) -> "SharedPixels":
        """Some of the pixels."""
        return replace(
            self,
            frame=self.frame[chosen],
            first=self.first[chosen],
            second=self.second[chosen],
            weight=self.weight[chosen],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Map:
    """What both windows say of one frame at one time."""

    frame: int
    first_points: Float[np.ndarray, "height width xyz=3"]
    second_points: Float[np.ndarray, "height width xyz=3"]
    first_confidence: Float[np.ndarray, "height width"]
    second_confidence: Float[np.ndarray, "height width"]


def shared_pixels(
    first: WindowMaps, second: WindowMaps, further: Sequence[CommonTime]
) -> SharedPixels:
    """About `_PIXELS` pixels, evenly over the maps that both windows have, and over each picture.

    Raises:
        ValueError: If the maps' sizes differ, or `further` has a frame that is not shared.
    """
    if first.points.shape[1:] != second.points.shape[1:]:
        sizes = " and ".join(f"{w.points.shape[2]}x{w.points.shape[1]}" for w in (first, second))
        raise ValueError(f"the windows' maps have {sizes} pixels: give both the same size")
    frames = first.shared_with(second)
    maps = _all_maps(first, second, frames, further)
    known = sum(len(_sure(one)) > 0 for one in maps)
    picked = [_picked(one, max(_FEWEST, _PIXELS // max(known, 1))) for one in maps]
    members = [np.full(len(pixel), one.frame) for one, pixel in zip(maps, picked, strict=True)]
    local = np.concatenate(members).astype(np.int64)
    first_camera = first.world_from_camera[first.local(frames)]
    second_camera = second.world_from_camera[second.local(frames)]

    def taken(name: str, width: int) -> Float64[np.ndarray, "pixel value"]:
        chosen = [
            getattr(one, name).reshape(-1, width)[pixel]
            for one, pixel in zip(maps, picked, strict=True)
        ]
        return np.concatenate([np.zeros((0, width)), *chosen]).astype(np.float64)

    confidence = [taken(f"{name}_confidence", 1)[:, 0] for name in ("first", "second")]
    found = SharedPixels(
        frame=local,
        first=_seen_from(first_camera[local], taken("first_points", 3)),
        second=_seen_from(second_camera[local], taken("second_points", 3)),
        weight=np.minimum(*(_relative(values) for values in confidence)),
        first_camera=first_camera,
        second_camera=second_camera,
        covered=_covered(picked, maps, len(frames), first.points.shape[1:3]),
        sure=sum(len(_sure(one)) for one in maps[: len(frames)]),
    )
    lengths = [np.linalg.norm(points, axis=-1) for points in (found.first, found.second)]
    return found.kept(np.isfinite(lengths).all(axis=0) & (np.min(lengths, axis=0) > 0))


def _all_maps(
    first: WindowMaps,
    second: WindowMaps,
    frames: tuple[int, ...],
    further: Sequence[CommonTime],
) -> list[_Map]:
    maps = [
        _Map(
            frame=index,
            first_points=first.points[here],
            second_points=second.points[there],
            first_confidence=first.confidence[here],
            second_confidence=second.confidence[there],
        )
        for index, (here, there) in enumerate(
            zip(first.local(frames), second.local(frames), strict=True)
        )
    ]
    for one in further:
        if one.frame not in frames:
            raise ValueError(
                f"frame {one.frame} is not in both windows, which share {list(frames)}: "
                "give common times of shared frames alone"
            )
        maps.append(
            _Map(
                frame=frames.index(one.frame),
                first_points=one.first_points,
                second_points=one.second_points,
                first_confidence=one.first_confidence,
                second_confidence=one.second_confidence,
            )
        )
    return maps


def _sure(one: _Map) -> Int64[np.ndarray, " pixel"]:
    """Indices of pixels in row-major order that both windows know something of."""
    return np.flatnonzero((one.first_confidence > 0) & (one.second_confidence > 0))


def _picked(one: _Map, count: int) -> Int64[np.ndarray, " pixel"]:
    sure = _sure(one)
    step = mixing_step(max(1, len(sure) // count), one.first_confidence.shape[1])
    return sure[step // 2 :: step]


def _relative(confidence: Float64[np.ndarray, " pixel"]) -> Float64[np.ndarray, " pixel"]:
    if not len(confidence):
        return confidence
    usual = max(float(np.quantile(confidence, _SURE_QUANTILE)), 1e-30)
    return np.minimum(confidence / usual, _MOST_WEIGHT)


def _covered(
    picked: Sequence[Int64[np.ndarray, " _"]],
    maps: Sequence[_Map],
    frames: int,
    image_hw: tuple[int, ...],
) -> Int64[np.ndarray, " frame"]:
    height, width = image_hw
    seen = np.zeros((frames, CELLS), dtype=bool)
    for one, pixel in zip(maps, picked, strict=True):
        row, column = pixel // width, pixel % width
        cell = (row * _CELL_ROWS // height) * _CELL_COLUMNS + column * _CELL_COLUMNS // width
        seen[one.frame, cell] = True
    return seen.sum(axis=1)


def _seen_from(
    world_from_camera: Float64[np.ndarray, "pixel 4 4"], points: Float64[np.ndarray, "pixel xyz=3"]
) -> Float64[np.ndarray, "pixel xyz=3"]:
    """Points of the world in the camera of each."""
    from_centre = points - world_from_camera[:, :3, 3]
    return np.asarray((from_centre[:, None] @ world_from_camera[:, :3, :3])[:, 0])
