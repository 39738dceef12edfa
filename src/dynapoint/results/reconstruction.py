"""A reconstruction: cameras, and where any pixel's point is at any time, in original pixels."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from numpy.typing import ArrayLike

from dynapoint.data.frames import Frames
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.refinement.findings import Findings
from dynapoint.results.answers import Answers
from dynapoint.results.asking import checked_xy
from dynapoint.results.front_door import FrontDoor
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.progress import steps
from dynapoint.results.sampling import PixelSampler, pixel_sampler, surface_cells
from dynapoint.results.visibility import seen_probability, surface_of

if TYPE_CHECKING:
    from dynapoint.reductions.flow import OpticalFlow
    from dynapoint.reductions.visibility import SeenSurface

# What a camera sees takes twice the memory of its own-time map.
_SURFACES_KEPT = 16


@runtime_checkable
class PointDecoder(Protocol):
    """What a reconstruction asks for points that it does not hold yet."""

    def decode(
        self, frames: Sequence[int], time: int, *, keep: bool = True
    ) -> list[
        tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]
    ]:
        """For each of `frames`, finite points (world) and confidence of its pixels at `time`.

        `keep` says whether the answer is to be kept in case it is asked for again.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """The answer to a query; all four have a leading time axis if all times were asked for.

    Attributes:
        points: Finite positions in the world or the camera asked for, in scene units. Outside the
            image they are those of the nearest place on its border and mean nothing.
        valid: False only where the place asked for lies outside the image, or in a part of it that
            was cropped away before the network saw it.
        visible: Probability in [0, 1] that the point is seen by the camera of the frame whose time
            was asked for: a depth test against that frame's own-time depth. 0 where not valid.
        confidence: Not negative, larger is better; 0 where not valid.
    """

    points: Float32[np.ndarray, "*time points xyz=3"]
    valid: Bool[np.ndarray, "*time points"]
    visible: Float32[np.ndarray, "*time points"]
    confidence: Float32[np.ndarray, "*time points"]


@dataclass(frozen=True, kw_only=True)
class FrameTracks:
    """Where the pixels of one frame are at all times, at the resolution of the maps."""

    points: Float32[np.ndarray, "time height width xyz=3"]
    visible: Float32[np.ndarray, "time height width"]
    confidence: Float32[np.ndarray, "time height width"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Reconstruction(Answers, FrontDoor):
    """A 4D scene: the frames used, their cameras, and points for every (frame, time).

    The world is the camera of frame 0 (OpenCV axes); translations and points share one unit, which
    is not metric. Pixels are those of the original images, centres at half-integers.

    Attributes:
        frames: The frames used.
        world_from_camera: Camera to world; `[0]` is exactly the identity.
        intrinsics: In original pixels.
        own_time_points: For each frame, its pixels' points at its own time, in the world, at the
            resolution of the maps.
        own_time_confidence: Not negative, larger is better.
        pixel_map: Where the pixels of the original images lie in the maps.
        decoder: Gives points at further times on demand.
        model_name: Which network made it.
        weights_sha256: Hash of the network's weights where known.
        progress: Whether to show a bar on standard error while tracks are worked out.
        settings: How it was made, in names and plain values.
        refinement: What refinement found and changed; None where none was asked for.
        pictures: What the maps show of every frame, grey and of one size, for measuring where
            points are seen (`results.seen_places`); None leaves that to the maps.
        kept_tracks: Those of frame 0 where they are at hand, e.g. memory-mapped.
        folder: The stored scene that it was opened from.
    """

    frames: Frames
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    intrinsics: Float64[np.ndarray, "frame 3 3"]
    own_time_points: Float32[np.ndarray, "frame map_height map_width xyz=3"]
    own_time_confidence: Float32[np.ndarray, "frame map_height map_width"]
    pixel_map: PixelMap
    decoder: PointDecoder
    model_name: str
    weights_sha256: str | None = None
    progress: bool = False
    settings: Mapping[str, str | int] = field(default_factory=dict)
    refinement: Findings | None = None
    pictures: UInt8[np.ndarray, "frame tall wide"] | None = None
    kept_tracks: FrameTracks | None = None
    folder: Path | None = None

    @property
    def images(self) -> UInt8[np.ndarray, "frame height width rgb=3"]:
        """The frames used, in original resolution."""
        return self.frames.images

    @property
    def timestamps_s(self) -> Float64[np.ndarray, " frame"]:
        """Seconds since the source's first frame."""
        return self.frames.timestamps_s

    @property
    def source_frame_index(self) -> Int64[np.ndarray, " frame"]:
        """Which frame of the source each frame is, from 0."""
        return self.frames.source_frame_index

    @property
    def frame_count(self) -> int:
        """How many frames, and so times, there are."""
        return self.frames.count

    @property
    def map_hw(self) -> tuple[int, int]:
        """(height, width) of the maps: the network's, or finer (`inference.finer`)."""
        return self.pixel_map.map_hw

    @cached_property
    def map_intrinsics(self) -> Float64[np.ndarray, "frame 3 3"]:
        """Intrinsics in pixels of the maps."""
        return self.pixel_map.map_from_image @ self.intrinsics

    @cached_property
    def own_time_depth(self) -> Float32[np.ndarray, "frame map_height map_width"]:
        """Depth along the axis of each frame's camera, at its own time, at map resolution.

        0, which joins no surface, where a map shows nothing.
        """
        depth = np.empty(self.own_time_points.shape[:3], dtype=np.float32)
        for frame in range(self.frame_count):
            depth[frame] = self.depth_of(frame)
        return depth

    def depth_of(self, frame: int) -> Float32[np.ndarray, "map_height map_width"]:
        """`own_time_depth` of one frame, without working out that of the others."""
        points = self.own_time_points[frame].astype(np.float64)
        depth = points_in_camera(points, self.world_from_camera[frame])[..., 2].astype(np.float32)
        depth[~self.pixel_map.shown_pixels(frame)] = 0.0
        return depth

    def query(
        self,
        *,
        frame: SupportsIndex,
        xy: ArrayLike,
        time: SupportsIndex | None = None,
        camera: SupportsIndex | None = None,
    ) -> QueryResult:
        """Place points seen at pixels of one frame where they are at one time, or at all times.

        Between pixels the answer is bilinear on one surface and the nearest pixel's across an edge
        in depth, with the same weights for every time.

        Args:
            frame: Which of the frames used, from 0.
            xy: (n, 2) places in original pixels, (column, row), centres at half-integers.
            time: Frame index of the time; None for all times, as a leading axis of all results.
            camera: None for the world; an index for the camera of that frame at its own pose.

        Raises:
            InputError: `frame`, `time` or `camera` is no index of a frame used, or `xy` is not
                finite.
            ShapeError: `xy` is no array of numbers of shape (n, 2).
        """
        source = self._checked_index(frame, "frame")
        times = range(self.frame_count) if time is None else [self._checked_index(time, "time")]
        target = None if camera is None else self._checked_index(camera, "camera")
        places = checked_xy(xy)
        inside = self.pixel_map.shows(source, places)
        sampler = pixel_sampler(self._surface_cells(source), self.pixel_map.to_map(source, places))
        at_times = [self._at_time(sampler, source, moment, target) for moment in times]
        points = np.stack([at_time[0] for at_time in at_times])
        visible = np.stack([at_time[1] for at_time in at_times])
        confidence = np.stack([at_time[2] for at_time in at_times])
        valid = np.broadcast_to(inside, visible.shape).copy()
        first = slice(None) if time is None else 0
        return QueryResult(
            points=points[first],
            valid=valid[first],
            visible=np.where(valid, visible, np.float32(0))[first],
            confidence=np.where(valid, confidence, np.float32(0))[first],
        )

    def maps(
        self, *, frame: SupportsIndex, time: SupportsIndex
    ) -> tuple[
        Float32[np.ndarray, "map_height map_width xyz=3"],
        Float32[np.ndarray, "map_height map_width"],
    ]:
        """Points (world) and confidence of all map pixels of `frame`, placed at `time`.

        Raises:
            InputError: `frame` or `time` is no index of a frame used.
        """
        return self._maps(self._checked_index(frame, "frame"), self._checked_index(time, "time"))

    def maps_at(
        self, *, time: SupportsIndex
    ) -> tuple[
        Float32[np.ndarray, "frame map_height map_width xyz=3"],
        Float32[np.ndarray, "frame map_height map_width"],
    ]:
        """Points (world) and confidence of all map pixels of all frames, placed at one `time`.

        A network with a decoder over all frames (vdpm) works these out in one pass, for which
        `maps` of every frame would take as many passes as there are frames.

        Raises:
            InputError: `time` is no index of a frame used.
        """
        moment = self._checked_index(time, "time")
        points, confidence = self.own_time_points.copy(), self.own_time_confidence.copy()
        others = [frame for frame in range(self.frame_count) if frame != moment]
        if others:
            for frame, maps in zip(others, self.decoder.decode(others, moment), strict=True):
                points[frame], confidence[frame] = maps
        return points, confidence

    def tracks(self, *, frame: SupportsIndex = 0) -> FrameTracks:
        """Where all map pixels of one frame are at all times.

        Raises:
            InputError: `frame` is no index of a frame used.
        """
        if self.kept_tracks is not None and self._checked_index(frame, "frame") == 0:
            return self.kept_tracks
        shape = (self.frame_count, *self.map_hw)
        tracks = FrameTracks(
            points=np.empty((*shape, 3), dtype=np.float32),
            visible=np.empty(shape, dtype=np.float32),
            confidence=np.empty(shape, dtype=np.float32),
        )
        for time, now in enumerate(self.track_times(frame=frame, keep=True)):
            tracks.points[time], tracks.visible[time], tracks.confidence[time] = now
        return tracks

    def track_times(
        self, *, frame: SupportsIndex = 0, keep: bool = False
    ) -> Iterator[
        tuple[
            Float32[np.ndarray, "map_height map_width xyz=3"],
            Float32[np.ndarray, "map_height map_width"],
            Float32[np.ndarray, "map_height map_width"],
        ]
    ]:
        """Points, visibility and confidence of `tracks`, one time after another.

        Args:
            frame: Whose pixels.
            keep: Whether what is decoded is to be kept, as it is for queries.

        Raises:
            InputError: `frame` is no index of a frame used.
        """
        source = self._checked_index(frame, "frame")
        kept = self.kept_tracks if source == 0 else None
        if kept is not None:
            yield from zip(kept.points, kept.visible, kept.confidence, strict=True)
            return
        for time in self._bar(range(self.frame_count)):
            points, confidence = self._maps(source, time, keep=keep)
            yield points, self._visible(points, source, time, points, confidence), confidence

    def _bar(self, times: range) -> Iterator[int]:
        """The times, with a progress bar if one is wanted."""
        return steps(times, self.frames.name, shown=self.progress)

    def _maps(
        self, frame: int, time: int, *, keep: bool = True
    ) -> tuple[
        Float32[np.ndarray, "map_height map_width xyz=3"],
        Float32[np.ndarray, "map_height map_width"],
    ]:
        """`maps` for indices known to be good."""
        if frame == time:
            return self.own_time_points[frame], self.own_time_confidence[frame]
        if frame == 0 and self.kept_tracks is not None:
            return self.kept_tracks.points[time], self.kept_tracks.confidence[time]
        return self.decoder.decode([frame], time, keep=keep)[0]

    @cached_property
    def _cells(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _flows(self) -> dict[tuple[int, int], "OpticalFlow"]:
        """Flow between the last pairs of frames asked for."""
        return {}

    @cached_property
    def _surfaces(self) -> dict[int, "SeenSurface"]:
        """What the last cameras asked for see."""
        return {}

    def _surface_cells(self, frame: int) -> Bool[np.ndarray, "cell_row cell_column"]:
        """Which cells of a frame's map lie on one surface, worked out on first use."""
        if frame not in self._cells:
            self._cells[frame] = surface_cells(self.depth_of(frame))
        return self._cells[frame]

    def _at_time(
        self, sampler: PixelSampler, frame: int, time: int, camera: int | None
    ) -> tuple[
        Float32[np.ndarray, "points xyz=3"],
        Float32[np.ndarray, " points"],
        Float32[np.ndarray, " points"],
    ]:
        """Points in the world or a camera, visibility and confidence at one time."""
        point_map, confidence_map = self._maps(frame, time)
        points = sampler.points(point_map)
        visible = self._visible(points, frame, time, point_map, confidence_map)
        if camera is not None:
            points = points_in_camera(points, self.world_from_camera[camera])
        confidence = sampler.scores(confidence_map)
        return points.astype(np.float32), visible, confidence.astype(np.float32)

    def _visible(
        self,
        points: Float[np.ndarray, "*points xyz=3"],
        frame: int,
        time: int,
        point_map: Float32[np.ndarray, "map_height map_width xyz=3"],
        confidence_map: Float32[np.ndarray, "map_height map_width"],
    ) -> Float32[np.ndarray, "*points"]:
        """Probability that points (world) of a frame are seen at a time; sure at its own time.

        The maps are the frame's at that time.
        """
        if frame == time:
            return np.ones(points.shape[:-1], dtype=np.float32)
        return seen_probability(self._surface(time), points, point_map, confidence_map)

    def _surface(self, time: int) -> "SeenSurface":
        """What the camera of a frame sees at its own time."""
        if time not in self._surfaces:
            if len(self._surfaces) >= _SURFACES_KEPT:
                del self._surfaces[next(iter(self._surfaces))]
            self._surfaces[time] = surface_of(
                self.own_time_points[time],
                self.own_time_confidence[time],
                self.world_from_camera[time],
                self.map_intrinsics[time],
                self.pixel_map.shown_pixels(time),
            )
        return self._surfaces[time]

    def _checked_index(self, index: SupportsIndex, name: str) -> int:
        """A frame index as a plain int; negative ones are refused, as they are mostly mistakes."""
        if isinstance(index, bool | np.bool_):
            raise InputError(f"{name} is a bool; give the index of a frame as an integer")
        try:
            checked = operator.index(index)
        except TypeError as error:
            raise InputError(
                f"{name} is a {type(index).__name__}; give the index of a frame as an integer"
            ) from error
        if not 0 <= checked < self.frame_count:
            raise InputError(
                f"{name} is {checked} but the {self.frame_count} frames used are 0 to "
                f"{self.frame_count - 1}; source_frame_index names them in the source"
            )
        return checked
