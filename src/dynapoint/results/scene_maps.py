"""What a scene holds: frames, cameras, and maps of points at any time; no answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from numpy.typing import ArrayLike

from dynapoint.data.frames import Frames
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.geometry.distortion import Distortion
from dynapoint.models.calibration import Calibration
from dynapoint.progress import steps
from dynapoint.refinement.findings import Findings
from dynapoint.results.calibrated import calibrated_visibility, curves_of, expected_errors
from dynapoint.results.checked import checked_index, checked_xy
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.sampling import PixelSampler, pixel_sampler, surface_cells
from dynapoint.results.scene_points import (
    FrameMaps,
    FrameTracks,
    MeasuredPictures,
    PointDecoder,
    QueryResult,
    TrackedMaps,
)
from dynapoint.results.seen_surfaces import seen_probability, surface_of
from dynapoint.windows.joining import Joining
from dynapoint.windows.spans import Segment

if TYPE_CHECKING:
    from dynapoint.reductions.flow import OpticalFlow
    from dynapoint.reductions.visibility import SeenSurface

# What a camera sees takes twice the memory of its own-time map.
_SURFACES_KEPT = 16


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SceneMaps:
    """The frames of a scene, their cameras, and points for every (frame, time).

    `Reconstruction` adds the answers; functions that compute an answer take a `SceneMaps`.

    Attributes:
        frames: The frames used.
        world_from_camera: Camera to world; `[0]` is exactly the identity.
        intrinsics: Camera matrices, in pixels of the original images; of a lens that distorts,
            those of the undistorted picture of the same size.
        own_time_points: The point of each map pixel at its frame's own time, in the world.
        own_time_confidence: Not negative, larger is better.
        pixel_map: Converts between pixels of the original images and of the maps.
        decoder: Computes points at other times on demand.
        model_name: The network that made the scene.
        weights_sha256: Hash of the network's weights, if known.
        progress: Show a progress bar on standard error while a frame is tracked.
        settings: The options that the scene was made with.
        refinement: What refinement found and changed; None if the scene was not refined.
        pictures: Grey pictures, all of one size, in which matches are measured
            (`results.seen_places`); None if points are projected instead.
        kept_tracks: Tracks of frame 0, if they are already computed, e.g. memory-mapped.
        folder: The saved scene that was opened, if any.
        segments: The parts of a long clip that are worlds of their own, in order; `()` where all
            frames share one. `world_from_camera` of each one's first frame is the identity.
        joining: How windows became the scene; None where the network saw all frames at once.
        calibration: What the network's confidence and visibility have meant on clips with truth
            (docs/scoring.md); None where that was not measured.
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
    pictures: UInt8[np.ndarray, "frame tall wide"] | MeasuredPictures | None = None
    kept_tracks: FrameTracks | None = None
    folder: Path | None = None
    segments: tuple[Segment, ...] = ()
    joining: Joining | None = None
    calibration: Calibration | None = None

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
        """The index of each frame in the source, from 0."""
        return self.frames.source_frame_index

    @property
    def frame_count(self) -> int:
        """The number of frames, which is the number of times."""
        return self.frames.count

    @property
    def map_hw(self) -> tuple[int, int]:
        """(height, width) of the maps: the network's, or finer (`inference.finer`)."""
        return self.pixel_map.map_hw

    @property
    def distortion(self) -> tuple[Distortion, ...] | None:
        """How each frame's lens distorts, where that was given; None for pinholes."""
        lenses = self.pixel_map.lenses
        return None if lenses is None else tuple(lens.distortion for lens in lenses)

    @cached_property
    def map_intrinsics(self) -> Float64[np.ndarray, "frame 3 3"]:
        """Intrinsics in pixels of the maps."""
        return self.pixel_map.map_from_image @ self.intrinsics

    @cached_property
    def own_time_depth(self) -> Float32[np.ndarray, "frame map_height map_width"]:
        """Depth of each map pixel along its camera's axis, at its own time; 0 where unknown."""
        depth = np.empty(self.own_time_points.shape[:3], dtype=np.float32)
        for frame in range(self.frame_count):
            depth[frame] = self.depth_of(frame)
        return depth

    def depth_of(self, frame: int) -> Float32[np.ndarray, "map_height map_width"]:
        """`own_time_depth` of one frame alone."""
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
        """Track places of one frame: the 3D point of each, at one time or at all times.

        Between pixels, points are interpolated bilinearly on one surface; across an edge in depth,
        the nearest pixel counts. The weights are the same for every time.

        Args:
            frame: The frame that the places are in.
            xy: (n, 2) places in pixels of the original image: column, row.
            time: The time, as a frame index; None for all times, as a leading axis of all results.
            camera: None for points in the world; a frame index for points in that frame's camera.

        Returns:
            Points, their visibility and confidence.

        Raises:
            InputError: `frame`, `time` or `camera` is not the index of a frame used, `xy` is not
                finite, or none of it lies in the picture.
            ShapeError: `xy` is not an array of numbers of shape (n, 2).
        """
        source = checked_index(frame, "frame", self.frame_count)
        count = self.frame_count
        times = list(range(count)) if time is None else [checked_index(time, "time", count)]
        target = None if camera is None else checked_index(camera, "camera", count)
        places = checked_xy(xy, self.frames.picture_hw[source])
        inside = self.pixel_map.shows(source, places)
        sampler = pixel_sampler(self._surface_cells(source), self.pixel_map.to_map(source, places))
        at_times = [self._at_time(sampler, source, moment, target) for moment in times]
        points, visible, confidence = (np.stack(each) for each in zip(*at_times, strict=True))
        valid = np.broadcast_to(inside, visible.shape).copy()
        confidence = np.where(valid, confidence, np.float32(0))
        error = expected_errors(
            curves_of(self.calibration, self.refinement),
            confidence,
            self.frames.own_times(source)[times],
        )
        first = slice(None) if time is None else 0
        return QueryResult(
            points=points[first],
            valid=valid[first],
            visible=np.where(valid, visible, np.float32(0))[first],
            confidence=confidence[first],
            expected_error=None if error is None else error[first],
        )

    def maps(self, *, frame: SupportsIndex, time: SupportsIndex) -> FrameMaps:
        """Points (world) and confidence of all map pixels of one frame at one time.

        Raises:
            InputError: `frame` or `time` is not the index of a frame used.
        """
        source = checked_index(frame, "frame", self.frame_count)
        return self._maps(source, checked_index(time, "time", self.frame_count))

    def maps_at(
        self, *, time: SupportsIndex
    ) -> tuple[
        Float32[np.ndarray, "frame map_height map_width xyz=3"],
        Float32[np.ndarray, "frame map_height map_width"],
    ]:
        """Points (world) and confidence of all map pixels of all frames at one time.

        A network that decodes all frames together (vdpm) needs one pass for this; `maps` would need
        one pass for each frame.

        Raises:
            InputError: `time` is not the index of a frame used.
        """
        moment = checked_index(time, "time", self.frame_count)
        everyone = range(self.frame_count)
        points, confidence = maps_of_frames(self, everyone, moment, from_tracks=False)
        return np.stack(points), confidence

    def tracks(self, *, frame: SupportsIndex = 0, keep: bool = True) -> FrameTracks:
        """Track all map pixels of one frame, without their places in the images (`track`).

        Args:
            frame: The frame whose pixels are tracked.
            keep: Keep the decoded maps for later questions.

        Raises:
            InputError: `frame` is not the index of a frame used.
        """
        if self.kept_tracks is not None and checked_index(frame, "frame", self.frame_count) == 0:
            return self.kept_tracks
        shape = (self.frame_count, *self.map_hw)
        tracks = FrameTracks(
            points=np.empty((*shape, 3), dtype=np.float32),
            visible=np.empty(shape, dtype=np.float32),
            confidence=np.empty(shape, dtype=np.float32),
        )
        for time, now in enumerate(self.track_times(frame=frame, keep=keep)):
            tracks.points[time], tracks.visible[time], tracks.confidence[time] = now
        return tracks

    def track_times(self, *, frame: SupportsIndex = 0, keep: bool = False) -> Iterator[TrackedMaps]:
        """Yield points, visibility and confidence of `tracks`, one time after another.

        Args:
            frame: The frame whose pixels are tracked.
            keep: Keep the decoded maps for later questions.

        Raises:
            InputError: `frame` is not the index of a frame used.
        """
        source = checked_index(frame, "frame", self.frame_count)
        kept = self.kept_tracks if source == 0 else None
        if kept is not None:
            yield from zip(kept.points, kept.visible, kept.confidence, strict=True)
            return
        for time in times_with_bar(self):
            points, confidence = self._maps(source, time, keep=keep)
            visible = self._visible(points, source, time, points, confidence)
            yield points, self._where_known(visible, confidence), confidence

    def _maps(self, frame: int, time: int, *, keep: bool = True) -> FrameMaps:
        """`maps` for indices known to be good."""
        held = self._held(frame, time)
        return self.decoder.decode([frame], time, keep=keep)[0] if held is None else held

    def _held(self, frame: int, time: int) -> FrameMaps | None:
        """What is at hand without decoding: own-time maps and the tracks of frame 0."""
        if frame == time:
            return self.own_time_points[frame], self.own_time_confidence[frame]
        if frame == 0 and self.kept_tracks is not None:
            return self.kept_tracks.points[time], self.kept_tracks.confidence[time]
        return None

    @cached_property
    def _cells(self) -> dict[int, Bool[np.ndarray, "cell_row cell_column"]]:
        """Which cells of the maps asked for lie on one surface."""
        return {}

    @cached_property
    def _flows(self) -> "dict[tuple[int, int], OpticalFlow[np.ndarray]]":
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
        confidence = sampler.scores(confidence_map).astype(np.float32)
        return points.astype(np.float32), self._where_known(visible, confidence), confidence

    def _where_known(
        self, visible: Float32[np.ndarray, "*points"], confidence: Float32[np.ndarray, "*points"]
    ) -> Float32[np.ndarray, "*points"]:
        """Visibility, 0 of points that are lost on the way from window to window."""
        return visible if self.joining is None else np.where(confidence > 0, visible, np.float32(0))

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
        visible = seen_probability(seen_surface(self, time), points, point_map, confidence_map)
        return calibrated_visibility(curves_of(self.calibration, self.refinement), visible)


def maps_of_frames(
    scene: SceneMaps,
    frames: Sequence[int],
    time: int,
    *,
    keep: bool = True,
    from_tracks: bool = True,
) -> tuple[
    list[Float32[np.ndarray, "map_height map_width xyz=3"]],
    Float32[np.ndarray, "frame map_height map_width"],
]:
    """Points of some frames at one time, a map each and none copied, and their confidence.

    Decoded together, because this is one pass of a network whose decoder sees all frames.

    Args:
        scene: Whose maps.
        frames: Indices of frames.
        time: Index of the frame whose time it is.
        keep: Whether the decoder is to keep what it decodes.
        from_tracks: Take frame 0 from the tracks at hand. They were decoded alone, and so differ in
            the last bit from what a scene without tracks decodes together.
    """
    held = {frame: scene._held(frame, time) for frame in frames if from_tracks or frame == time}
    maps = {frame: found for frame, found in held.items() if found is not None}
    others = [frame for frame in frames if frame not in maps]
    if others:
        maps.update(zip(others, scene.decoder.decode(others, time, keep=keep), strict=True))
    return [maps[frame][0] for frame in frames], np.stack([maps[frame][1] for frame in frames])


def times_with_bar(scene: SceneMaps) -> Iterator[int]:
    """All times of a scene, shown as a loop if it wants that."""
    return steps(range(scene.frame_count), "time", wanted=scene.progress)


def seen_surface(scene: SceneMaps, time: int) -> "SeenSurface":
    """What the camera of a frame sees at its own time; those of the last frames are kept."""
    kept = scene._surfaces
    if time not in kept:
        if len(kept) >= _SURFACES_KEPT:
            del kept[next(iter(kept))]
        kept[time] = surface_of(
            scene.own_time_points[time],
            scene.own_time_confidence[time],
            scene.world_from_camera[time],
            scene.map_intrinsics[time],
            scene.pixel_map.shown_pixels(time),
        )
    return kept[time]


def kept_flows(scene: SceneMaps) -> "dict[tuple[int, int], OpticalFlow[np.ndarray]]":
    """Flow between the last pairs of frames that `seen_places` was asked for; it fills this."""
    return scene._flows
