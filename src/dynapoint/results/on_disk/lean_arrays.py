"""The maps and tracks of a scene as a lean one stores them, and back.

Where own-time points lie on the rays of their pixels, their depth is stored; tracks are stored as
how far they are from where they start, which is exactly 0 for what stands still. Probabilities and
confidence become numbers on a scale. docs/formats.md says how much is lost by it.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float, Float32, Float64

from dynapoint.geometry.arrays import points_in_camera, points_on_rays
from dynapoint.results.motion_answers import motion
from dynapoint.results.on_disk.fewer_bits import SHARES, Scale, from_codes, to_codes
from dynapoint.results.on_disk.manifest import OWN_TIME_DEPTH, TRACK_MOTION, ArrayEntry
from dynapoint.results.scene_maps import SceneMaps

# So far beside their rays points may lie, as a share of their depth.
_BESIDE_RAYS = 1e-4

_PLACES = ("height", "width")


def lean_arrays(scene: SceneMaps) -> Iterator[tuple[str, np.ndarray, ArrayEntry]]:
    """Names, contents and entries of what a lean scene stores of maps and tracks, one by one.

    The tracks of frame 0 have to be at hand.
    """
    own_time = _own_time(scene)
    yield own_time
    yield _by_ratios("own_time_confidence", "frame", scene.own_time_confidence, np.uint8)
    yield _track_motion(scene, start=_read_start(scene, *own_time))
    tracks = scene.tracks()
    yield _shares("track_visible", ("time", *_PLACES), tracks.visible)
    yield _by_ratios("track_confidence", "time", tracks.confidence, np.uint8)
    yield _shares("motion_probability", _PLACES, motion(scene, frame=0).probability)


def own_time_points(
    depth: Float32[np.ndarray, "frame height width"],
    map_intrinsics: Float64[np.ndarray, "frame 3 3"],
    world_from_camera: Float64[np.ndarray, "frame 4 4"],
) -> Float32[np.ndarray, "frame height width xyz=3"]:
    """Points of the world from their depth on the rays of their pixels."""
    points = np.empty((*depth.shape, 3), np.float32)
    for frame, now in enumerate(points):
        far = depth[frame].astype(np.float64)
        now[...] = points_on_rays(far, map_intrinsics[frame], world_from_camera[frame])
    return points


def with_points(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a lean scene by name, with points in place of what stands for them."""
    found = dict(arrays)
    if OWN_TIME_DEPTH in found:
        map_intrinsics = found["map_from_image"] @ found["intrinsics"]
        depth = found.pop(OWN_TIME_DEPTH)
        found["own_time_points"] = own_time_points(
            depth, map_intrinsics, found["world_from_camera"]
        )
    found["track_points"] = found.pop(TRACK_MOTION) + found["own_time_points"][0]
    for name in ("own_time_points", "track_points"):
        found[name].flags.writeable = False
    return found


def _own_time(scene: SceneMaps) -> tuple[str, np.ndarray, ArrayEntry]:
    """Depth where all points that mean something lie on their rays, else points."""
    whole, known = scene.own_time_points, scene.own_time_confidence > 0
    depth = np.empty(known.shape, np.float32)
    for frame, now in enumerate(depth):
        points = whole[frame].astype(np.float64)
        pose, intrinsics = scene.world_from_camera[frame], scene.map_intrinsics[frame]
        far = points_in_camera(points, pose)[..., 2]
        beside = np.linalg.norm(points_on_rays(far, intrinsics, pose) - points, axis=-1)
        on_ray = (far > 0) & (beside <= _BESIDE_RAYS * far)
        if (known[frame] & ~on_ray).any():
            half = np.stack([_half(points) for points in whole])
            axes = ("frame", *_PLACES, "xyz")
            return "own_time_points", half, ArrayEntry(shape=half.shape, axes=axes, dtype="float16")
        now[...] = np.where(on_ray, far, 0.0)
    # What means nothing does not widen the scale.
    scale = Scale.by_ratios(depth[known] if known.any() else depth)
    return _on_scale(OWN_TIME_DEPTH, ("frame", *_PLACES), depth, scale, np.uint16)


def _read_start(
    scene: SceneMaps, name: str, stored: np.ndarray, entry: ArrayEntry
) -> Float32[np.ndarray, "height width xyz=3"]:
    """The points of frame 0 as they will be read."""
    if entry.scale is None:
        return stored[0].astype(np.float32)
    depth = from_codes(stored[:1], entry.scale)
    return own_time_points(depth, scene.map_intrinsics[:1], scene.world_from_camera[:1])[0]


def _track_motion(
    scene: SceneMaps, *, start: Float32[np.ndarray, "height width xyz=3"]
) -> tuple[str, np.ndarray, ArrayEntry]:
    """How far tracks are from their start, or from what is read as theirs where that is nothing."""
    points = scene.tracks().points
    known = scene.own_time_confidence[0][..., None] > 0
    begin = np.where(known, scene.own_time_points[0], start)
    moved = np.empty(points.shape, np.float16)
    for now, then in zip(moved, points, strict=True):
        now[...] = _half(then - begin)
    entry = ArrayEntry(shape=moved.shape, axes=("time", *_PLACES, "xyz"), dtype="float16")
    return TRACK_MOTION, moved, entry


def _half(values: Float[np.ndarray, "*places"]) -> Float[np.ndarray, "*places"]:
    """In half precision; nothing becomes infinite by it."""
    largest = np.finfo(np.float16).max
    return np.asarray(np.clip(values, -largest, largest).astype(np.float16))


def _by_ratios(
    name: str,
    first: str,
    values: Float32[np.ndarray, "first height width"],
    dtype: type[np.unsignedinteger],
) -> tuple[str, np.ndarray, ArrayEntry]:
    return _on_scale(name, (first, *_PLACES), values, Scale.by_ratios(values), dtype)


def _shares(
    name: str, axes: tuple[str, ...], values: Float32[np.ndarray, "..."]
) -> tuple[str, np.ndarray, ArrayEntry]:
    return _on_scale(name, axes, values, SHARES, np.uint8)


def _on_scale(
    name: str,
    axes: tuple[str, ...],
    values: Float32[np.ndarray, "..."],
    scale: Scale,
    dtype: type[np.unsignedinteger],
) -> tuple[str, np.ndarray, ArrayEntry]:
    codes = to_codes(values, scale, dtype)
    return (
        name,
        codes,
        ArrayEntry(shape=codes.shape, axes=axes, dtype=str(codes.dtype), scale=scale),
    )
