"""One identity: points of any frame of a long clip at any time, from windows of its frames.

Where a window holds both, it tells how the points are displaced from the frame's own time, and
what does not move stays to the last bit. Elsewhere points are handed over from window to window
(`results.handover`) at frames that two windows hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int64

from dynapoint.inference.bounded import Bounded
from dynapoint.results.carried import (
    Candidate,
    CarriedPoints,
    Sighting,
    carried_on,
    first_carried,
    lost_points,
)
from dynapoint.results.handover import brought, depth_ratio, turn_between
from dynapoint.results.scene_points import FrameMaps, PointDecoder
from dynapoint.results.seen_surfaces import surface_of
from dynapoint.windows.paths import Way, WindowPaths
from dynapoint.windows.spans import Segment, Window

if TYPE_CHECKING:
    from dynapoint.reductions.visibility import SeenSurface

# What is kept for further questions, each up to so many bytes; older ones are worked out again.
_MAPS_BYTES, _CARRIED_BYTES, _RATIO_BYTES = 256 * 1024**2, 256 * 1024**2, 16 * 1024**2
_SURFACES_KEPT = 8
_DECODERS_KEPT = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipMaps:
    """Cameras and own-time maps of a whole clip, as far as points at other times need them.

    Attributes:
        world_from_camera: Of every frame, in the world of its segment.
        map_intrinsics: In pixels of the maps.
        points: What each pixel shows at its frame's own time; memory-mapped, say.
        confidence: 0 where nothing is known.
        target_of_frame: The first frame of each frame's time (`data.frames.Frames`).
    """

    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    map_intrinsics: Float64[np.ndarray, "frame 3 3"]
    points: Float32[np.ndarray, "frame height width xyz=3"]
    confidence: Float32[np.ndarray, "frame height width"]
    target_of_frame: Int64[np.ndarray, " frame"]


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowCameras:
    """A window and the cameras of its frames, in its own world.

    Attributes:
        window: Which frames of the clip it holds.
        world_from_camera: Of each of these.
        map_intrinsics: In pixels of the maps.
    """

    window: Window
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    map_intrinsics: Float64[np.ndarray, "frame 3 3"]


class WindowedDecoder:
    """Points of every frame at every time of a clip in windows; a `PointDecoder`.

    Points of another segment, and points that are lost on the way, stay where they were last known
    with confidence 0. Wide windows are not asked.
    """

    def __init__(
        self,
        clip: ClipMaps,
        windows: Sequence[WindowCameras],
        segments: Sequence[Segment],
        decoder_of: Callable[[int], PointDecoder],
    ) -> None:
        """Hold what is small; windows are fetched when they are asked.

        Args:
            clip: Cameras and own-time maps.
            windows: All windows of the clip, with the cameras they found.
            segments: Worlds of their own; `()` where all frames share one.
            decoder_of: Gives the decoder of `windows[k]`: frames and times count from 0 in the
                window, points are in its world. At most four of them are held at once.
        """
        self._clip = clip
        self._windows = tuple(windows)
        self._decoder_of = decoder_of
        self._paths = WindowPaths(
            segments, [each.window for each in windows], len(clip.world_from_camera)
        )
        self._decoders: Bounded[int, PointDecoder] = Bounded(_DECODERS_KEPT)
        self._surfaces: Bounded[int, SeenSurface] = Bounded(_SURFACES_KEPT)
        pixels = clip.confidence[0].size
        self._maps: Bounded[tuple[int, int], FrameMaps] = Bounded(_MAPS_BYTES // (16 * pixels))
        self._ratios: Bounded[tuple[int, int], np.ndarray] = Bounded(_RATIO_BYTES // (4 * pixels))
        self._carried: Bounded[tuple[int, bool, int], CarriedPoints] = Bounded(
            _CARRIED_BYTES // (CarriedPoints.BYTES_PER_POINT * pixels)
        )

    def decode(self, frames: Sequence[int], time: int, *, keep: bool = True) -> list[FrameMaps]:
        """For each of `frames`, finite points (world) and confidence of its pixels at `time`.

        Args:
            frames: Indices of frames; those that one window tells of are decoded together.
            time: Index of the frame whose time it is.
            keep: Whether the answer is to be kept in case it is asked for again.

        Raises:
            ModelError: Memory does not suffice.
            SceneError: A window cannot be read.
        """
        moment = int(self._clip.target_of_frame[time])
        found = {frame: maps for frame in frames if (maps := self._maps.get((frame, moment)))}
        fresh: dict[int, FrameMaps] = {}
        together: dict[int, list[int]] = {}
        for frame in frames:
            if frame in found:
                continue
            if int(self._clip.target_of_frame[frame]) == moment:
                found[frame] = self._own(frame)
            elif self._paths.segment_of(frame) != self._paths.segment_of(moment):
                found[frame] = self._unknown(frame)
            elif (index := self._paths.both(frame, moment)) is not None:
                together.setdefault(index, []).append(frame)
            elif frame not in fresh:
                fresh[frame] = self._handed_over(frame, moment)
        for index, held in together.items():
            fresh |= self._told(index, held, moment)
        if keep:
            for frame, maps in fresh.items():
                self._maps.put((frame, moment), maps)
        found |= fresh
        return [found[frame] for frame in frames]

    def span(self, frame: int) -> range:
        """The times that a window tells of together with a frame, without handing over."""
        return self._paths.span(frame)

    def _own(self, frame: int) -> FrameMaps:
        return self._clip.points[frame], self._clip.confidence[frame]

    def _unknown(self, frame: int) -> FrameMaps:
        """A frame's points where they are at its own time, of which nothing is known."""
        points, confidence = self._own(frame)
        return points, np.zeros_like(confidence)

    def _told(self, index: int, frames: Sequence[int], time: int) -> dict[int, FrameMaps]:
        """What one window tells of frames that it holds, in the clip's world."""
        told = {}
        for frame, (moved, sure) in self._displaced(index, frames, time).items():
            points, confidence = self._own(frame)
            told[frame] = points + moved, np.where(confidence > 0, sure, np.float32(0))
        return told

    def _displaced(self, index: int, frames: Sequence[int], time: int) -> dict[int, FrameMaps]:
        """How far the pixels of frames are from their own time's places, in the clip's world.

        And the window's confidence.
        """
        if not frames:
            return {}
        decoder, cameras = self._decoder(index), self._windows[index]
        place = {each: k for k, each in enumerate(cameras.window.frames)}
        told = decoder.decode([place[frame] for frame in frames], place[time], keep=False)
        displaced = {}
        for frame, (points, confidence) in zip(frames, told, strict=True):
            local = place[frame]
            own = decoder.decode([local], local, keep=False)[0][0]
            turn = turn_between(
                cameras.world_from_camera[local],
                cameras.map_intrinsics[local],
                self._clip.world_from_camera[frame],
                self._clip.map_intrinsics[frame],
            )
            ratio = self._ratio(index, frame, local, own)
            displaced[frame] = brought(points - own, turn, ratio), confidence
        return displaced

    def _ratio(
        self, index: int, frame: int, local: int, own: Float32[np.ndarray, "height width xyz=3"]
    ) -> Float32[np.ndarray, "height width"]:
        """How many times deeper the clip has a frame's pixels than a window."""
        known = self._ratios.get((index, frame))
        if known is None:
            pose = self._windows[index].world_from_camera[local]
            known = depth_ratio(
                own, pose, self._clip.points[frame], self._clip.world_from_camera[frame]
            )
            self._ratios.put((index, frame), known)
        return known

    def _handed_over(self, frame: int, time: int) -> FrameMaps:
        """Points of a frame at a time that no window holds together with it."""
        way = self._paths.way(frame, forward=time > frame)
        if way is None:
            return self._unknown(frame)
        step = way.step_of(time)
        if time not in self._windows[way.windows[step]].window.frames:
            return self._unknown(frame)
        points, confidence = self._placed(frame, way, step, time)
        shape = self._clip.confidence.shape[1:]
        return points.reshape(*shape, 3), confidence.reshape(shape)

    def _placed(
        self, frame: int, way: Way, step: int, time: int
    ) -> tuple[Float32[np.ndarray, "point xyz=3"], Float32[np.ndarray, " point"]]:
        """Points of a frame as one window on their way tells of them at a time it holds."""
        carried = self._state(frame, way, step)
        moved = self._displaced(way.windows[step], carried.frames, time)
        return carried.placed(moved)

    def _state(self, frame: int, way: Way, step: int) -> CarriedPoints:
        """Where points of a frame begin in one of the windows on their way."""
        known = None
        begin = step + 1
        while known is None and begin > 0:
            begin -= 1
            known = self._carried.get((frame, way.forward, begin))
        if known is None:
            known = first_carried(frame, *self._own(frame))
        for at in range(begin, step):
            known = self._next(frame, way, at)
            self._carried.put((frame, way.forward, at + 1), known)
        return known

    def _next(self, frame: int, way: Way, step: int) -> CarriedPoints:
        """Where points of a frame begin in the window behind that of a step on their way."""
        seam, index = way.seams[step], way.windows[step + 1]
        if not seam:
            return self._without_seam(frame, way, step)
        sightings = [self._sighting(frame, way, step, seen) for seen in seam]
        held = self._windows[index].window.frames
        rest = [each for each in held if (each > max(seam) if way.forward else each < min(seam))]
        searched = sorted({rest[-1 if way.forward else 0], rest[len(rest) // 2]}) if rest else []
        tried = [*seam, *searched]
        moved = [self._displaced(index, tried, time) for time in seam]
        candidates = [
            Candidate(
                frame=each,
                surface=self._surface(each),
                points=self._clip.points[each],
                moved=tuple(at_time[each] for at_time in moved),
            )
            for each in tried
        ]
        return carried_on(self._state(frame, way, step), sightings, candidates)

    def _sighting(self, frame: int, way: Way, step: int, seen: int) -> Sighting:
        """Points of a frame at the time of another one, and what that one's camera sees."""
        points, confidence = self._placed(frame, way, step, seen)
        return Sighting(
            frame=seen, points=points, confidence=confidence, surface=self._surface(seen)
        )

    def _without_seam(self, frame: int, way: Way, step: int) -> CarriedPoints:
        """All points lost where the last window that told of them ends."""
        window = self._windows[way.windows[step]].window
        end = window.stop - 1 if way.forward else window.start
        points, confidence = self._placed(frame, way, step, end)
        return lost_points(points, self._state(frame, way, step), confidence > 0)

    def _surface(self, frame: int) -> "SeenSurface":
        """What the camera of a frame sees at its own time."""
        known = self._surfaces.get(frame)
        if known is not None:
            return known
        points, confidence = self._own(frame)
        pose, lens = self._clip.world_from_camera[frame], self._clip.map_intrinsics[frame]
        surface = surface_of(points, confidence, pose, lens, confidence > 0)
        return self._surfaces.put(frame, surface)

    def _decoder(self, index: int) -> PointDecoder:
        """That of a window; the last few are held."""
        known = self._decoders.get(index)
        return self._decoders.put(index, self._decoder_of(index)) if known is None else known
