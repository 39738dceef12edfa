"""A scene as pages show it: clouds per time, one moving cloud, tracks, cameras and pictures.

Plain arrays in the world (OpenCV axes, scene units), made piece by piece when they are asked for,
for the exported page (`html`) and for the viewer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from dynapoint.data.selection import evenly_spaced
from dynapoint.exports.cloud_parts import MovingCloud, shown_weight
from dynapoint.exports.clouds import moving_cloud
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.tracks import held_tracks, motion_of_tracks
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.colors import hue_colors
from dynapoint.results.pictures import map_pictures, picture_in_map
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.thinning import MOST_SHOWN
from dynapoint.results.time_order import order_of_times

# Points farther away than so many median distances are left out, for the steps of quantised
# positions are a share of the largest extent.
FARTHEST_MEDIANS = 20.0
# Points of a fused cloud that move with less than this probability get one place for all times.
# Below one half: a mover that is held still is seen at once, a still point that moves is not.
_STILL_PROBABILITY = 0.3
# So many points a fused cloud has at most unless told, and so many tracks.
MOST_FUSED, _MOST_TRACKS = 200_000, 1200
# Pictures, whose colours the points take, have longer sides of so many pixels.
_PICTURE_SIDE = 512
# What `median_distance` looks at.
_DEPTH_FRAMES, _LARGE_MAP = 16, 64
# Neighbours on one surface differ in depth by no more than this ratio.
_JOINED_RATIO = 1.22


@dataclass(frozen=True, kw_only=True)
class GridCloud:
    """The pixels of one frame at its own time, or an even choice of them that keeps their rows.

    Attributes:
        points: World, scene units.
        confidence: 0 where there is no point or the options hide it.
        on_edge: Whether a point lies on no surface together with its neighbours: points between
            two surfaces, which hang in the air, are of this kind.
        motion: Probability that the point moves during the clip.
        joined: Whether the four points around a corner of pixels lie on one surface.
        footprint: How far apart neighbours are, as a share of their distance from the camera.
    """

    points: Float32[np.ndarray, "row column xyz=3"]
    confidence: Float32[np.ndarray, "row column"]
    on_edge: Bool[np.ndarray, "row column"]
    motion: Float32[np.ndarray, "row column"]
    joined: Bool[np.ndarray, "cell_row cell_column"]
    footprint: float


@dataclass(frozen=True, kw_only=True)
class SplitCloud:
    """All frames fused: what stands still, stored once, and what moves, with its path.

    Colours and all that follows them have the still points first, then the movers.

    Attributes:
        times: The times of the paths, as indices of frames.
        still: World, scene units.
        paths: The same for movers, at all times.
        usable: Where a mover's position means something.
        colors: sRGB.
        confidence: Larger is better.
        motion: Probability that a point moves during the clip.
        spacing: About how far each point is from its neighbours, in scene units.
    """

    times: list[int]
    still: Float32[np.ndarray, "still xyz=3"]
    paths: Float32[np.ndarray, "time mover xyz=3"]
    usable: Bool[np.ndarray, "time mover"]
    colors: UInt8[np.ndarray, "point rgb=3"]
    confidence: Float32[np.ndarray, " point"]
    motion: Float32[np.ndarray, " point"]
    spacing: Float32[np.ndarray, " point"]


@dataclass(frozen=True, kw_only=True)
class TrackSet:
    """Where some pixels of one frame are at several times.

    Attributes:
        points: World, scene units; all finite.
        visible: Probability that the camera of that time sees the point.
        colors: sRGB, alike for neighbours.
        motion: Probability that the point moves during the clip.
    """

    points: Float32[np.ndarray, "time track xyz=3"]
    visible: Float32[np.ndarray, "time track"]
    colors: UInt8[np.ndarray, "track rgb=3"]
    motion: Float32[np.ndarray, " track"]


@dataclass(frozen=True, kw_only=True)
class Frustum:
    """A camera and its true field of view.

    Attributes:
        world_from_camera: OpenCV axes.
        corners: Those of its picture (top left, top right, bottom right, bottom left) on the plane
            at depth 1 in the camera.
        shown_corners: The same of the part of the picture that its map shows.
        shown_share: That part's left, top, right and bottom as shares of the map's sides.
    """

    world_from_camera: Float64[np.ndarray, "4 4"]
    corners: Float64[np.ndarray, "corner=4 xy=2"]
    shown_corners: Float64[np.ndarray, "corner=4 xy=2"]
    shown_share: Float64[np.ndarray, "side=4"]


def median_distance(rec: Reconstruction) -> float:
    """Median depth of own-time points before their cameras; 1 where there is none.

    Of at most 16 frames, and of every fourth row and column of large maps.
    """
    step = 4 if min(rec.map_hw) >= _LARGE_MAP else 1
    seen = []
    for frame in evenly_spaced(rec.frame_count, _DEPTH_FRAMES):
        depth = rec.depth_of(int(frame))[::step, ::step]
        confidence = rec.own_time_confidence[frame, ::step, ::step]
        seen.append(depth[(depth > 0) & (confidence > 0)])
    every = np.concatenate(seen)
    return float(np.median(every)) if len(every) else 1.0


def leaves_first_view(rec: Reconstruction) -> bool:
    """Whether the first camera sees less than half of what some frame shows.

    Of at most 16 frames, and every eighth row and column.
    """
    order = order_of_times(rec.timestamps_s)
    pose, lens = rec.world_from_camera[order[0]], rec.map_intrinsics[order[0]]
    for place in evenly_spaced(rec.frame_count, _DEPTH_FRAMES):
        frame = order[int(place)]
        known = rec.own_time_confidence[frame, ::8, ::8] > 0
        points = rec.own_time_points[frame, ::8, ::8][known].astype(np.float64)
        camera = points_in_camera(points, pose)
        ahead = camera[camera[:, 2] > 0]
        xy = project(ahead, lens)
        seen = ((xy >= 0) & (xy <= rec.map_hw[::-1])).all(axis=1)
        if seen.sum() < len(points) / 2:
            return True
    return False


def farthest_shown(rec: Reconstruction) -> float:
    """Points farther away than this, in scene units, are not shown."""
    return FARTHEST_MEDIANS * median_distance(rec)


def grid_hw(rec: Reconstruction, most: int) -> tuple[int, int]:
    """Rows and columns of at most so many points, as even as the maps', or the maps' own."""
    height, width = rec.map_hw
    share = min(1.0, (most / (height * width)) ** 0.5)
    return max(1, int(height * share)), max(1, int(width * share))


def grid_cloud(
    rec: Reconstruction,
    frame: int,
    options: ExportOptions,
    grid: tuple[int, int],
    *,
    farthest: float,
    motion: Float32[np.ndarray, "map_height map_width"] | None,
) -> GridCloud:
    """The pixels of one frame at its own time, on a grid no finer than its map.

    Points more than `farthest` scene units from the camera are left out. `motion` is how likely
    each pixel of the map moves (`moving_at_ends`); without it nothing is taken to move.
    """
    points = rec.own_time_points[frame]
    if options.hide_pixels == "none":
        colors = np.zeros((*rec.map_hw, 3), dtype=np.uint8)
    else:
        colors = map_pictures(rec, [frame])[0]
    confidence = shown_weight(points, rec.own_time_confidence[frame], colors, options)
    confidence[~rec.pixel_map.shown_pixels(frame)] = 0.0
    camera = rec.world_from_camera[frame, :3, 3]
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.linalg.norm(points - camera, axis=-1)
    confidence[~(distance <= farthest)] = 0.0
    rows, columns = (
        ((np.arange(count) + 0.5) * side / count).astype(np.int64)
        for count, side in zip(grid, rec.map_hw, strict=True)
    )
    chosen = np.ix_(rows, columns)
    joined = _joined(np.where(confidence > 0, rec.depth_of(frame), np.float32(0))[chosen])
    return GridCloud(
        points=np.where(confidence[..., None] > 0, points, np.float32(0))[chosen],
        confidence=confidence[chosen],
        on_edge=_on_edge(joined),
        motion=np.zeros(grid, dtype=np.float32) if motion is None else motion[chosen],
        joined=joined,
        footprint=float(rec.map_hw[1] / grid[1] / rec.map_intrinsics[frame, 0, 0]),
    )


def split_cloud(
    rec: Reconstruction,
    options: ExportOptions,
    *,
    max_points: int,
    report: Callable[[float], None] | None = None,
) -> SplitCloud:
    """All frames fused, each piece of surface once; what stands still gets one place.

    Points that lie on no surface together with their neighbours in their frame are left out.
    With `options.time` all stand still, and nothing is known of their motion. `report` is told
    which share of the times is done.
    """
    confidence = rec.own_time_confidence.copy()
    for frame, depth in enumerate(rec.own_time_depth):
        confidence[frame][_on_edge(_joined(np.where(confidence[frame] > 0, depth, 0)))] = 0.0
    on_surfaces = replace(rec, own_time_confidence=confidence)
    cloud = moving_cloud(on_surfaces, options, max_points=max_points, report=report)
    usable = cloud.usable & _near(rec, cloud)
    points = np.where(usable[..., None], cloud.points, np.float32(0))
    middle = len(cloud.times) // 2
    if cloud.moves is not None:
        motion = cloud.moves.astype(np.float32)
    else:
        motion = motion_of_tracks(
            points,
            usable,
            own_time=middle,
            world_from_camera=rec.world_from_camera[cloud.times[middle]],
        )
    moves = motion > _STILL_PROBABILITY if cloud.moves is None else cloud.moves
    # Where the middle time has no place for a still point, the first that has one.
    at = np.where(usable[middle], middle, usable.argmax(axis=0))
    still = ~moves & usable.any(axis=0)
    movers = moves & usable.any(axis=0)
    order = np.concatenate([np.flatnonzero(still), np.flatnonzero(movers)])
    return SplitCloud(
        times=cloud.times,
        still=points[at[still], np.flatnonzero(still)],
        paths=held_tracks(points[:, movers], usable[:, movers]),
        usable=usable[:, movers],
        colors=cloud.colors[order],
        confidence=cloud.confidence[order],
        motion=motion[order],
        spacing=cloud.spacing[order],
    )


def frame_tracks(
    rec: Reconstruction,
    times: list[int],
    *,
    frame: int,
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    report: Callable[[float], None] | None = None,
) -> TrackSet:
    """Tracks of at most 1200 pixels of a frame, on an even grid over a part of its map.

    Of a long scene its own time is one of `times`, which alone say what moves. The part is given as
    left, top, right and bottom in shares of the map's sides. `report` is told which share of the
    times is done.
    """
    height, width = rec.map_hw
    left, right = (min(width - 1, int(box[0] * width)), max(1, round(box[2] * width)))
    top, bottom = (min(height - 1, int(box[1] * height)), max(1, round(box[3] * height)))
    part_hw = max(1, bottom - top), max(1, right - left)
    share = min(1.0, (_MOST_TRACKS / (part_hw[0] * part_hw[1])) ** 0.5)
    rows, columns = (
        first + ((np.arange(count) + 0.5) * side / count).astype(np.int64)
        for first, side, count in zip(
            (top, left), part_hw, [max(1, int(side * share)) for side in part_hw], strict=True
        )
    )
    chosen = np.ix_(rows, columns)
    points, visible, confidence = _followed(rec, times, frame, chosen, report)
    if rec.frame_count <= MOST_SHOWN:
        motion = rec.motion(frame=frame).probability[chosen]
    else:
        motion = motion_of_tracks(
            points.reshape(len(times), -1, 3),
            confidence.reshape(len(times), -1) > 0,
            own_time=times.index(frame),
            world_from_camera=rec.world_from_camera[frame],
        ).reshape(len(rows), len(columns))
    distance = np.linalg.norm(points, axis=-1)
    shown = rec.pixel_map.shown_pixels(frame)[chosen] & (confidence > 0).all(axis=0)
    shown &= (distance <= farthest_shown(rec)).all(axis=0)
    hue = (columns[None] / width + 0.35 * rows[:, None] / height) % 1.0
    return TrackSet(
        points=points[:, shown],
        visible=visible[:, shown],
        colors=hue_colors(hue[shown]),
        motion=motion[shown],
    )


def _followed(
    rec: Reconstruction,
    times: list[int],
    frame: int,
    chosen: tuple[np.ndarray, ...],
    report: Callable[[float], None] | None,
) -> tuple[
    Float32[np.ndarray, "time row column xyz=3"],
    Float32[np.ndarray, "time row column"],
    Float32[np.ndarray, "time row column"],
]:
    """Points of some pixels of a frame at some times, how visible and how sure they are.

    Of each time no more than these pixels is kept.
    """
    points, visible, confidence = [], [], []
    kept = rec.kept_tracks if frame == 0 else None
    for step, time in enumerate(times):
        if report is not None:
            report(step / len(times))
        if kept is not None:
            points.append(kept.points[time][chosen])
            visible.append(kept.visible[time][chosen])
            confidence.append(kept.confidence[time][chosen])
            continue
        maps = rec.maps(frame=frame, time=time)
        points.append(maps[0][chosen])
        visible.append(rec._visible(points[-1], frame, time, *maps))
        confidence.append(maps[1][chosen])
    return np.stack(points), np.stack(visible), np.stack(confidence)


def frustum(rec: Reconstruction, frame: int) -> Frustum:
    """The camera of a frame and what its pixels see."""
    height, width = rec.pixel_map.picture_hw[frame]
    low, high = rec.pixel_map.shown_box(frame)
    return Frustum(
        world_from_camera=rec.world_from_camera[frame],
        corners=_at_depth_one(rec.intrinsics[frame], np.array([0.0, 0.0, width, height])),
        shown_corners=_at_depth_one(rec.map_intrinsics[frame], np.concatenate([low, high])),
        shown_share=np.concatenate([low, high]) / np.tile(rec.map_hw[::-1], 2),
    )


def picture(rec: Reconstruction, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
    """What the map of a frame shows, in sRGB, with the map's aspect; not larger than the frame."""
    factor = min(_PICTURE_SIDE, rec.pixel_map.picture_hw[frame].max()) / max(rec.map_hw)
    height, width = (max(1, round(side * factor)) for side in rec.map_hw)
    return np.asarray(picture_in_map(rec, frame, (width, height), Image.Resampling.LANCZOS))


def _joined(depth: Float32[np.ndarray, "row column"]) -> Bool[np.ndarray, "cell_row cell_column"]:
    """Which cells between four points lie on one surface: their depths hardly differ.

    More generous than `surface_cells`, which wants slopes to go on evenly: to the eye a hole in a
    rough surface is worse than a narrow bridge over an edge.
    """
    corners = np.stack([depth[:-1, :-1], depth[:-1, 1:], depth[1:, :-1], depth[1:, 1:]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    return (low > 0) & (high <= _JOINED_RATIO * low)


def _on_edge(joined: Bool[np.ndarray, "cell_row cell_column"]) -> Bool[np.ndarray, "row column"]:
    """Which points touch no cell that is one surface; none of a grid without cells."""
    if not joined.size:
        return np.zeros((joined.shape[0] + 1, joined.shape[1] + 1), dtype=bool)
    around = np.pad(joined, 1)
    return ~(around[1:, 1:] | around[1:, :-1] | around[:-1, 1:] | around[:-1, :-1])


def _at_depth_one(
    intrinsics: Float64[np.ndarray, "3 3"], box: Float64[np.ndarray, "side=4"]
) -> Float64[np.ndarray, "corner=4 xy=2"]:
    """The corners of a box (left, top, right, bottom, in pixels) on the plane at depth 1."""
    left, top, right, bottom = box
    pixels = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]])
    return (pixels @ np.linalg.inv(intrinsics).T)[:, :2]


def _near(rec: Reconstruction, cloud: MovingCloud) -> Bool[np.ndarray, "time point"]:
    """Which points, at which times, are not absurdly far from the world's origin."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.linalg.norm(cloud.points, axis=-1)
    return distance <= farthest_shown(rec)
