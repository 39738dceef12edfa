"""Where places of one frame are found again: at all times, and in another frame."""

from dataclasses import replace
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy.typing import ArrayLike

from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.asking import as_numpy, as_tensor, maps_of_both, span_of
from dynapoint.results.calibrated import calibrated_visibility, curves_of, expected_errors
from dynapoint.results.checked import checked_index, checked_mask, checked_xy
from dynapoint.results.scene_maps import SceneMaps, seen_surface, times_with_bar
from dynapoint.results.seen_places import matches_along_flow, seen_flow, seen_places

if TYPE_CHECKING:
    from dynapoint.reductions.correspondence import Correspondence
    from dynapoint.reductions.tracks import PixelTracks


def track(
    scene: SceneMaps,
    *,
    frame: SupportsIndex = 0,
    xy: ArrayLike | None = None,
    mask: Bool[np.ndarray, "map_height map_width"] | None = None,
    every: int = 1,
) -> "PixelTracks[np.ndarray]":
    """Track places of one frame through the clip, in 3D and in each image.

    Args:
        scene: The scene.
        frame: The frame that the places are in.
        xy: (n, 2) places in pixels of the original image, also between pixels; excludes `mask`.
        mask: Pixels of the frame's map to track. All pixels are tracked if neither is given.
        every: Track every `every`-th row and column of the map.

    Returns:
        Tracks: `points` (time, track, 3) in the world and scene units, and `source_xy` and `xy` in
        pixels of the original images.

    Raises:
        InputError: `frame` is not the index of a frame used, `xy` is not finite, or none of it lies
            in the picture.
        ShapeError: The mask does not have the size of the maps, or `xy` is not an array of numbers
            of shape (n, 2).
    """
    if xy is not None:
        return _tracks_of_places(scene, frame, xy)
    source = checked_index(frame, "frame", scene.frame_count)
    marked = np.zeros(scene.map_hw, dtype=bool)
    marked[:: max(1, every), :: max(1, every)] = True
    if mask is not None:
        marked &= checked_mask(mask, scene.map_hw)
    return _tracks_of_pixels(scene, source, marked)


def expected_error(
    scene: SceneMaps, *, frame: SupportsIndex, time: SupportsIndex | None = None
) -> Float32[np.ndarray, "map_height map_width"] | None:
    """How large the error of a frame's points is expected to be, by their confidence.

    The mean error that points of such confidence had on clips with truth which the network was not
    trained on: a share of the scene's mean distance, i.e. of the mean distance of all own-time
    points from the camera of frame 0. That one scale is fitted to the truth first. Scenes that are
    refined have curves of their own, and so have points at their own time and at others.

    Args:
        scene: The scene.
        frame: Whose pixels.
        time: When their points are asked for; None for the frame's own time.

    Returns:
        One number for each pixel of the map, NaN where the confidence is 0. None where the
        network's confidence is not calibrated (`rec.calibration`): only `nano`'s is.

    Raises:
        InputError: `frame` or `time` is not the index of a frame used.
    """
    source = checked_index(frame, "frame", scene.frame_count)
    moment = source if time is None else checked_index(time, "time", scene.frame_count)
    curves = curves_of(scene.calibration, scene.refinement)
    if curves is None:
        return None
    confidence = scene.maps(frame=source, time=moment)[1]
    own = bool(scene.frames.own_times(source)[moment])
    return curves.expected_error(confidence, own_time=own)


def match(
    scene: SceneMaps,
    *,
    frame: SupportsIndex,
    to_frame: SupportsIndex,
    xy: ArrayLike | None = None,
    time: SupportsIndex | None = None,
) -> "Correspondence[np.ndarray]":
    """Find places of frame a in frame b, also on things that move.

    If the scene keeps pictures and `time` is that of frame b, matches follow the optical flow: a
    match is valid if the way there and back ends within two map pixels of the start, and mutual
    if it ends within one. Otherwise, and for frames of a long clip that no network saw together, a
    match is the nearest 3D point of frame b at the common time.

    Args:
        scene: The scene.
        frame: Frame a, whose places are searched for.
        to_frame: Frame b, where they are searched for.
        xy: (n, 2) places in pixels of a's original image, also between pixels; None for all pixels
            of its map. Places outside the map match nothing.
        time: The common time, as a frame index; that of frame b by default.

    Returns:
        Places `xy_px` in pixels of b's original image, for each place or for each pixel of the map.

    Raises:
        InputError: `xy` is not finite, none of it lies in the picture, or an index is not that of a
            frame used.
        ShapeError: `xy` is not an array of numbers of shape (n, 2).
    """
    source = checked_index(frame, "frame", scene.frame_count)
    target = checked_index(to_frame, "frame", scene.frame_count)
    moment = target if time is None else checked_index(time, "time", scene.frame_count)
    in_map = None
    if xy is not None:
        places = checked_xy(xy, scene.frames.picture_hw[source])
        shown = scene.pixel_map.shows(source, places)
        # What lies outside the map matches nothing.
        in_map = np.where(shown[:, None], scene.pixel_map.to_map(source, places), -1.0)
    together = target in span_of(scene, source)
    if scene.pictures is not None and moment == target != source and together:
        found = matches_along_flow(scene, source, target, in_map)
    else:
        found = _matches_in_space(scene, source, target, in_map, moment)
    in_picture = scene.pixel_map.to_picture(target, found.xy_px)
    return replace(found, xy_px=in_picture.astype(np.float32))


def _tracks_of_pixels(
    scene: SceneMaps, source: int, marked: Bool[np.ndarray, "map_height map_width"]
) -> "PixelTracks[np.ndarray]":
    """Tracks of the pixels marked in a frame's map, from maps of one time after another."""
    from dynapoint.reductions.tracks import PixelTracks, tracked_times  # noqa: PLC0415

    times = (
        (as_tensor(points).double(), as_tensor(confidence).double(), seen_surface(scene, time))
        for time in range(scene.frame_count)
        for points, confidence in [scene.maps(frame=source, time=time)]
    )
    shape = (scene.frame_count, np.count_nonzero(marked))
    columns, rows = np.nonzero(marked)[::-1]
    starts = np.stack([columns, rows], axis=1) + 0.5
    places = scene.pixel_map.to_picture(source, starts)
    # What is seen is judged in float64; as precise as the maps, answers take half the room.
    tracks = PixelTracks(
        source_xy=places.astype(np.float32),
        points=np.empty((*shape, 3), dtype=np.float32),
        xy=np.empty((*shape, 2), dtype=np.float32),
        visible=np.empty(shape, dtype=np.float32),
        confidence=np.empty(shape, dtype=np.float32),
    )
    tracked = tracked_times(times, own_time=source, mask=as_tensor(marked))
    curves = curves_of(scene.calibration, scene.refinement)
    for time, now in zip(times_with_bar(scene), tracked, strict=True):
        visible = now.visible.numpy().astype(np.float32)
        tracks.points[time] = now.points
        tracks.visible[time] = visible if time == source else calibrated_visibility(curves, visible)
        seen = now.xy.numpy()
        if scene.pictures is not None:
            flow = seen_flow(scene, source, time)
            shown = np.isfinite(seen) & flow.valid[marked][:, None]
            seen = np.where(shown, starts + flow.flow_px[marked], seen)
        tracks.xy[time] = scene.pixel_map.to_picture(time, seen)
        tracks.confidence[time] = now.confidence
    own = scene.frames.own_times(source)
    return replace(tracks, expected_error=expected_errors(curves, tracks.confidence, own))


def _tracks_of_places(
    scene: SceneMaps, frame: SupportsIndex, xy: ArrayLike
) -> "PixelTracks[np.ndarray]":
    """Tracks of places between pixels, by queries; NaN where nothing is known, as of pixels."""
    from dynapoint.reductions.tracks import PixelTracks  # noqa: PLC0415

    found = scene.query(frame=frame, xy=xy)
    known = found.confidence > 0
    points = np.where(known[..., None], found.points, np.float32(np.nan))
    places = []
    for time, here in enumerate(points):
        inside = points_in_camera(here.astype(np.float64), scene.world_from_camera[time])
        places.append(scene.pixel_map.distorted(time, project(inside, scene.intrinsics[time])))
    if scene.pictures is not None:
        start = scene.pixel_map.to_map(int(frame), np.asarray(xy, dtype=np.float64))
        for time, projected in enumerate(places):
            seen = scene.pixel_map.to_picture(time, seen_places(scene, int(frame), time, start))
            places[time] = np.where(np.isfinite(projected) & np.isfinite(seen), seen, projected)
    return PixelTracks(
        source_xy=np.asarray(xy, dtype=np.float32).reshape(-1, 2),
        points=points,
        xy=np.stack(places).astype(np.float32),
        visible=np.where(known, found.visible, np.float32(0)),
        confidence=found.confidence,
        expected_error=found.expected_error,
    )


def _matches_in_space(
    scene: SceneMaps,
    frame: int,
    to_frame: int,
    in_map: Float64[np.ndarray, "place xy=2"] | None,
    time: int,
) -> "Correspondence[np.ndarray]":
    """Matches by the nearest points of two maps at a common time, in pixels of the maps."""
    from dynapoint.reductions.correspondence import match_pixels, match_places  # noqa: PLC0415

    maps = maps_of_both(scene, frame, to_frame, time=time)
    if in_map is None:
        return as_numpy(match_pixels(*maps))
    return as_numpy(match_places(as_tensor(in_map), *maps))
