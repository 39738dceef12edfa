"""What the maps of a scene say of motion, asked of a `Reconstruction`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from dynapoint.errors import InputError, ShapeError
from dynapoint.geometry.arrays import pixel_centres, points_in_camera, project
from dynapoint.results.asking import (
    as_numpy,
    as_tensor,
    checked_xy,
    frames_at_all_times,
    maps_at_all_times,
    maps_at_two_times,
    maps_of_both,
)
from dynapoint.results.seen_places import matches_along_flow, seen_flow, seen_places

if TYPE_CHECKING:
    from dynapoint.reductions.correspondence import Correspondence
    from dynapoint.reductions.flow import ObjectFlow, OpticalFlow, SceneFlow
    from dynapoint.reductions.instances import MovingObjects
    from dynapoint.reductions.rigid_objects import RigidObject
    from dynapoint.reductions.segmentation import MotionSegmentation
    from dynapoint.reductions.tracks import PixelTracks


class MotionAnswers:
    """Methods of a `Reconstruction` about what moves, how, and where it is found again."""

    def object_flow(
        self: Any,
        *,
        frame: SupportsIndex,
        to_time: SupportsIndex,
        from_time: SupportsIndex | None = None,
    ) -> "ObjectFlow":
        """How the points of a frame's pixels move in the world; from its own time by default."""
        from dynapoint.reductions.flow import object_flow  # noqa: PLC0415

        start, end = maps_at_two_times(self, frame, from_time, to_time)
        return as_numpy(
            object_flow(start[0], end[0], confidence_from=start[1], confidence_to=end[1])
        )

    def scene_flow(
        self: Any,
        *,
        frame: SupportsIndex,
        to_time: SupportsIndex,
        from_time: SupportsIndex | None = None,
    ) -> "SceneFlow":
        """How they move as seen by the moving camera, in the camera of each time."""
        from dynapoint.reductions.flow import scene_flow  # noqa: PLC0415

        start, end = maps_at_two_times(self, frame, from_time, to_time)
        begin = frame if from_time is None else from_time
        poses = as_tensor(self.world_from_camera.astype(np.float32))
        return as_numpy(
            scene_flow(
                start[0],
                end[0],
                world_from_camera_from=poses[begin],
                world_from_camera_to=poses[to_time],
                confidence_from=start[1],
                confidence_to=end[1],
            )
        )

    def optical_flow(self: Any, *, frame: SupportsIndex, to_time: SupportsIndex) -> "OpticalFlow":
        """Where the camera of a time sees the points of a frame's pixels, less the pixels.

        Where the scene keeps pictures to measure it in, these say where points are seen, from where
        the maps have them; else the maps do.

        Returns:
            Flow in pixels of the ORIGINAL images: the place in that time's, less the one in the
            frame's own. One for each pixel of the map.
        """
        source, target = self._checked_index(frame, "frame"), self._checked_index(to_time, "time")
        flow = seen_flow(self, source, target)
        start = pixel_centres(self.map_hw)
        end = self.pixel_map.to_picture(target, start + flow.flow_px)
        moved = np.where(flow.valid[..., None], end - self.pixel_map.to_picture(source, start), 0.0)
        return replace(flow, flow_px=moved.astype(np.float32))

    def motion_between(
        self: Any,
        *,
        frame: SupportsIndex,
        to_time: SupportsIndex,
        from_time: SupportsIndex | None = None,
    ) -> "MotionSegmentation":
        """How likely each pixel's point moved between two times."""
        from dynapoint.reductions.segmentation import segment_pair  # noqa: PLC0415

        start, end = maps_at_two_times(self, frame, from_time, to_time)
        return as_numpy(
            segment_pair(
                start[0],
                end[0],
                world_from_camera=as_tensor(self.world_from_camera[frame].astype(np.float32)),
                confidence_from=start[1],
                confidence_to=end[1],
            )
        )

    def motion(self: Any, *, frame: SupportsIndex = 0) -> "MotionSegmentation":
        """How likely each pixel's point moved at all during the clip."""
        from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415

        points, confidence = maps_at_all_times(self, frame)
        return as_numpy(
            segment_clip(
                points,
                own_time=int(frame),
                world_from_camera=as_tensor(self.world_from_camera[frame].astype(np.float32)),
                confidence=confidence,
            )
        )

    def objects(
        self: Any, *, frames: Sequence[int] | None = None, time: SupportsIndex = 0
    ) -> "MovingObjects":
        """Masks of what moves, one id for one thing in all of `frames`, which are joined at `time`.

        All frames by default. They are decoded together, once for every time. Of three and more
        frames, specks are left out, and what only one of them finds if it is small or unsure.
        """
        import torch  # noqa: PLC0415

        from dynapoint.reductions.instances import moving_objects, moving_regions  # noqa: PLC0415
        from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415

        chosen = range(self.frame_count) if frames is None else frames
        chosen = [self._checked_index(frame, "frames") for frame in chosen]
        if not chosen:
            raise InputError("no frame is given to look for objects in; give at least one")
        moment = self._checked_index(time, "time")
        regions, likely, points, confidence = [], [], [], []
        for frame, maps, known in frames_at_all_times(self, chosen):
            pose = as_tensor(self.world_from_camera[frame].astype(np.float32))
            probability = segment_clip(
                maps, own_time=frame, world_from_camera=pose, confidence=known
            ).probability
            found = moving_regions(
                maps, probability, own_time=frame, world_from_camera=pose, confidence=known
            )
            regions.append(found.region)
            likely.append(probability)
            points.append(maps[moment])
            confidence.append(known[moment])
        return as_numpy(
            moving_objects(
                torch.stack(regions),
                torch.stack(points),
                torch.stack(likely),
                world_from_camera=as_tensor(self.world_from_camera[moment].astype(np.float32)),
                intrinsics=as_tensor(self.map_intrinsics[moment].astype(np.float32)),
                confidence=torch.stack(confidence),
            )
        )

    def match(
        self: Any,
        *,
        frame: SupportsIndex,
        to_frame: SupportsIndex,
        xy: ArrayLike | None = None,
        time: SupportsIndex | None = None,
    ) -> "Correspondence":
        """Where places of a frame are in another, moving parts included.

        Where the scene keeps pictures, and the two meet at the time of frame b, a place is where
        `optical_flow` leads, and a match is valid where the way back ends within two pixels of the
        map, mutual within one. Else it is the nearest one in space.

        Args:
            frame: Frame a, whose places are searched for.
            to_frame: Frame b.
            xy: (n, 2) places in ORIGINAL pixels of a, between pixels too; None for all pixels of
                its map. Those that its map does not show match nothing.
            time: The common time at which the two meet; that of frame b by default.

        Returns:
            Places `xy_px` in ORIGINAL pixels of b; one answer for each place, or for each pixel of
            the map.

        Raises:
            InputError: `xy` is not finite, or an index is none of a frame used.
            ShapeError: `xy` is no array of numbers of shape (n, 2).
        """
        source, target = self._checked_index(frame, "frame"), self._checked_index(to_frame, "frame")
        moment = target if time is None else self._checked_index(time, "time")
        in_map = None
        if xy is not None:
            places = checked_xy(xy)
            shown = self.pixel_map.shows(source, places)
            # What lies outside the map matches nothing.
            in_map = np.where(shown[:, None], self.pixel_map.to_map(source, places), -1.0)
        if self.pictures is not None and moment == target != source:
            found = matches_along_flow(self, source, target, in_map)
        else:
            found = _matches_in_space(self, source, target, in_map, moment)
        in_picture = self.pixel_map.to_picture(target, found.xy_px)
        return replace(found, xy_px=in_picture.astype(np.float32))

    def track(
        self: Any,
        *,
        frame: SupportsIndex = 0,
        xy: ArrayLike | None = None,
        mask: Bool[np.ndarray, "map_height map_width"] | None = None,
        every: int = 1,
    ) -> "PixelTracks":
        """Where places of one frame are at all times, in space and in each image.

        Args:
            frame: Whose pixels.
            xy: (n, 2) places in ORIGINAL pixels, between pixels too; instead of a mask.
            mask: Which pixels of the frame's map; all if neither is given.
            every: Only every so manieth row and column of the map.

        Returns:
            Tracks whose `source_xy` and `xy` are in pixels of the ORIGINAL images.

        Raises:
            ShapeError: The mask is not of the size of the maps.
        """
        from dynapoint.reductions.tracks import PixelTracks, tracked_times  # noqa: PLC0415

        if xy is not None:
            return _tracks_of_places(self, frame, xy)
        source = self._checked_index(frame, "frame")
        marked = np.zeros(self.map_hw, dtype=bool)
        marked[:: max(1, every), :: max(1, every)] = True
        if mask is not None:
            marked &= _checked_mask(self, mask)
        times = (
            (as_tensor(points).double(), as_tensor(confidence).double(), self._surface(time))
            for time in range(self.frame_count)
            for points, confidence in [self.maps(frame=source, time=time)]
        )
        shape = (self.frame_count, np.count_nonzero(marked))
        columns, rows = np.nonzero(marked)[::-1]
        starts = np.stack([columns, rows], axis=1) + 0.5
        places = self.pixel_map.to_picture(source, starts)
        # What is seen is judged in float64; as precise as the maps, answers take half the room.
        tracks = PixelTracks(
            source_xy=places.astype(np.float32),
            points=np.empty((*shape, 3), dtype=np.float32),
            xy=np.empty((*shape, 2), dtype=np.float32),
            visible=np.empty(shape, dtype=np.float32),
            confidence=np.empty(shape, dtype=np.float32),
        )
        tracked = tracked_times(times, own_time=source, mask=as_tensor(marked))
        for time, now in zip(self._bar(range(self.frame_count)), tracked, strict=True):
            tracks.points[time], tracks.visible[time] = now.points, now.visible
            seen = now.xy.numpy()
            if self.pictures is not None:
                flow = seen_flow(self, source, time)
                shown = np.isfinite(seen) & flow.valid[marked][:, None]
                seen = np.where(shown, starts + flow.flow_px[marked], seen)
            tracks.xy[time] = self.pixel_map.to_picture(time, seen)
            tracks.confidence[time] = now.confidence
        return tracks

    def rigid_object(
        self: Any,
        *,
        frame: SupportsIndex,
        mask: Bool[np.ndarray, "map_height map_width"],
        fit_scale: bool = False,
    ) -> "RigidObject":
        """How the thing under a mask of one frame moves as one, and a box that follows it.

        Args:
            frame: Whose pixels the mask marks.
            mask: Which pixels of its map, e.g. one instance of `objects`.
            fit_scale: Let it grow or shrink as well (Sim(3) instead of SE(3)).

        Raises:
            ShapeError: The mask is not of the size of the maps.
        """
        from dynapoint.reductions.rigid_objects import rigid_object  # noqa: PLC0415

        shown = as_tensor(_checked_mask(self, mask))
        points, confidence = maps_at_all_times(self, frame)
        return as_numpy(
            rigid_object(
                points[:, shown],
                confidence[:, shown],
                source_time=int(frame),
                fit_scale=fit_scale,
            )
        )


def _matches_in_space(
    rec: Any, frame: int, to_frame: int, in_map: Float64[np.ndarray, "place xy=2"] | None, time: int
) -> "Correspondence":
    """Matches by the nearest points of two maps at a common time, in pixels of the maps."""
    from dynapoint.reductions.correspondence import match_pixels, match_places  # noqa: PLC0415

    maps = maps_of_both(rec, frame, to_frame, time=time)
    if in_map is None:
        return as_numpy(match_pixels(*maps))
    return as_numpy(match_places(as_tensor(in_map), *maps))


def _checked_mask(
    rec: Any, mask: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "map_height map_width"]:
    """A mask of the size of the maps; raises ShapeError for others."""
    marked = np.asarray(mask, dtype=bool)
    if marked.shape != tuple(rec.map_hw):
        raise ShapeError(
            f"the mask has shape {marked.shape}; give one of {tuple(rec.map_hw)}, the maps'"
        )
    return marked


def _tracks_of_places(rec: Any, frame: SupportsIndex, xy: ArrayLike) -> "PixelTracks":
    """Tracks of places between pixels, by queries; NaN where nothing is known, as of pixels."""
    from dynapoint.reductions.tracks import PixelTracks  # noqa: PLC0415

    found = rec.query(frame=frame, xy=xy)
    known = found.confidence > 0
    points = np.where(known[..., None], found.points, np.float32(np.nan))
    places = [
        project(points_in_camera(here.astype(np.float64), pose), lens)
        for here, pose, lens in zip(points, rec.world_from_camera, rec.intrinsics, strict=True)
    ]
    if rec.pictures is not None:
        start = rec.pixel_map.to_map(int(frame), checked_xy(xy))
        for time, projected in enumerate(places):
            seen = rec.pixel_map.to_picture(time, seen_places(rec, int(frame), time, start))
            places[time] = np.where(np.isfinite(projected) & np.isfinite(seen), seen, projected)
    return PixelTracks(
        source_xy=np.asarray(xy, dtype=np.float32).reshape(-1, 2),
        points=points,
        xy=np.stack(places).astype(np.float32),
        visible=np.where(known, found.visible, np.float32(0)),
        confidence=found.confidence,
    )
