"""COLMAP models: cameras, images, points and masks, as splat trainers and pycolmap read them.

The layout of the files is that of COLMAP's documentation ("Output Format"): text and binary hold
the same. COLMAP's axes and pixels are ours (OpenCV; the top-left pixel's centre is (0.5, 0.5)).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_folder
from dynapoint.exports.splat_training import StillScene, image_name, still_scene, write_pictures
from dynapoint.geometry.arrays import pixel_centres, points_in_camera, project
from dynapoint.geometry.distortion import Distortion
from dynapoint.results.reconstruction import Reconstruction

_MODEL_IDS = {"PINHOLE": 1, "OPENCV": 4, "OPENCV_FISHEYE": 5, "FULL_OPENCV": 6}
_STILL = 0.5
# A frame sees a point if its own surface is there, to within this share of depth.
_SAME_DEPTH = 0.05


@dataclass(frozen=True, kw_only=True)
class SparseModel:
    """What COLMAP's files hold, with indices from 0 where the files count from 1.

    Attributes:
        names: Of the image files.
        camera_of_image: Which camera took each.
        camera_model: COLMAP's name of each camera's model.
        camera_hw: (height, width) of the cameras' images.
        camera_params: fx, fy, cx, cy in pixels, and what its model has beside.
        quaternion_wxyz: Camera from world.
        translation: Camera from world.
        points: World, scene units.
        colors: sRGB.
        error_px: Mean distance between a point's projections and its observations; -1, COLMAP's
            own word for unknown, where it has none.
        image: Of each observation, in ascending order.
        point: Its point.
        xy: Its place in the image.
        index_in_image: Its number among those of its image.
    """

    names: list[str]
    camera_of_image: Int64[np.ndarray, " image"]
    camera_model: list[str]
    camera_hw: Int64[np.ndarray, "camera hw=2"]
    camera_params: list[list[float]]
    quaternion_wxyz: Float64[np.ndarray, "image wxyz=4"]
    translation: Float64[np.ndarray, "image xyz=3"]
    points: Float64[np.ndarray, "point xyz=3"]
    colors: UInt8[np.ndarray, "point rgb=3"]
    error_px: Float64[np.ndarray, " point"]
    image: Int64[np.ndarray, " observation"]
    point: Int64[np.ndarray, " observation"]
    xy: Float64[np.ndarray, "observation xy=2"]
    index_in_image: Int64[np.ndarray, " observation"]


def write_colmap(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a folder: `images/`, `masks/IMAGE_NAME.png` (white = still), `sparse/0/`.

    The model is there as text and as binary: a camera for each different one, in pixels of the
    original images, PINHOLE unless its lens distorts; an image per frame; and what stands still as
    points, thinned to `max_points` (100000), with their observations in all frames that see them.
    What only one frame sees is a point without observations: good as a seed, and COLMAP's bundle
    adjustment, which refuses models with tracks of one image, goes on without it. A scene in which
    everything moves has no points. With `options.time`, of that frame only.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    with export_folder(path, "colmap", overwrite=options.overwrite, note=rec.frames.note) as folder:
        scene = still_scene(rec, options)
        model = sparse_model(rec, scene)
        write_pictures(rec, scene, folder)
        sparse = folder / "sparse" / "0"
        sparse.mkdir(parents=True)
        _write_text(model, sparse)
        _write_binary(model, sparse)


def sparse_model(rec: Reconstruction, scene: StillScene) -> SparseModel:
    """What stands still and its observations."""
    camera_of_image, cameras = _cameras(rec, scene.frames)
    poses = rec.world_from_camera[scene.frames]
    turns = Rotation.from_matrix(poses[:, :3, :3]).inv()
    image, point, xy, off_px = _observations(rec, scene)
    times_seen = np.bincount(point, minlength=len(scene.seeds.points))
    # What no camera sees, such as a point behind the camera that made it, is no use.
    kept, tracked = times_seen > 0, times_seen > 1
    total_px = np.bincount(point, off_px, minlength=len(kept))
    error_px = np.where(tracked, total_px / times_seen.clip(1), -1.0)[kept]
    in_track = tracked[point]
    image, point, xy = image[in_track], point[in_track], xy[in_track]
    first = np.searchsorted(image, np.arange(len(scene.frames)))
    return SparseModel(
        names=[image_name(frame) for frame in scene.frames],
        camera_of_image=camera_of_image,
        camera_model=[model for model, _, _ in cameras],
        camera_hw=np.array([hw for _, hw, _ in cameras], dtype=np.int64),
        camera_params=[list(params) for _, _, params in cameras],
        quaternion_wxyz=turns.as_quat()[:, [3, 0, 1, 2]],
        translation=-turns.apply(poses[:, :3, 3]),
        points=np.asarray(scene.seeds.points)[kept].astype(np.float64),
        colors=np.asarray(scene.seeds.colors)[kept],
        error_px=error_px,
        image=image,
        point=(np.cumsum(kept) - 1)[point],
        xy=xy,
        index_in_image=np.arange(len(image)) - first[image],
    )


_Camera = tuple[str, tuple[int, int], tuple[float, ...]]


def _cameras(
    rec: Reconstruction, frames: list[int]
) -> tuple[Int64[np.ndarray, " image"], list[_Camera]]:
    """Which camera took each image, and the different ones' models, sizes and parameters."""
    each: list[_Camera] = []
    for frame in frames:
        height, width = rec.frames.picture_hw[frame].tolist()
        pinhole = rec.intrinsics[frame][[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
        bent = None if rec.distortion is None else rec.distortion[frame]
        name, coefficients = _lens_of(bent)
        each.append((name, (height, width), (*pinhole, *coefficients)))
    different = sorted(set(each), key=lambda camera: (camera[1], camera[2]))
    return np.array([different.index(camera) for camera in each], dtype=np.int64), different


def _lens_of(distortion: Distortion | None) -> tuple[str, tuple[float, ...]]:
    """COLMAP's name of a lens, and the coefficients that it writes, whose order is ours."""
    if distortion is None or distortion.is_none:
        return "PINHOLE", ()
    if distortion.model == "fisheye":
        return "OPENCV_FISHEYE", distortion.coefficients
    if any(distortion.coefficients[4:]):
        return "FULL_OPENCV", distortion.coefficients
    return "OPENCV", distortion.coefficients[:4]


def _cameras_of(model: SparseModel) -> list[tuple[str, list[int], list[float]]]:
    """The cameras of a model one after another."""
    sizes = model.camera_hw.tolist()
    return list(zip(model.camera_model, sizes, model.camera_params, strict=True))


def _observations(
    rec: Reconstruction, scene: StillScene
) -> tuple[
    Int64[np.ndarray, " observation"],
    Int64[np.ndarray, " observation"],
    Float64[np.ndarray, "observation xy=2"],
    Float64[np.ndarray, " observation"],
]:
    """Image, point, place and distance from the point's projection of each observation.

    A point is seen where the frame's own map shows it. That is its projection, less how far the
    map's point there projects from its own pixel: nothing if maps and cameras agree, and otherwise
    an error as honest as that of a matched feature. In the frame that a point was taken from it is
    the pixel's centre.
    """
    seeds = scene.seeds
    found = []
    for source, frame in enumerate(scene.sources):
        projected, at_home = _projections(rec, frame, scene.moving[source], seeds.points)
        misfit = _misfit(rec, frame)
        place = rec.pixel_map.to_map(frame, np.nan_to_num(projected))
        own = seeds.frame == source
        centre = np.stack([seeds.column[own] + 0.5, seeds.row[own] + 0.5], axis=1)
        row_column = place[:, ::-1].T - 0.5
        shift = [
            map_coordinates(misfit[..., k], row_column, order=1, mode="nearest") for k in (0, 1)
        ]
        xy = projected - np.stack(shift, axis=1)
        xy[own] = rec.pixel_map.to_picture(frame, centre)
        seen = (at_home | own) & np.isfinite(projected).all(axis=1)
        seen &= rec.pixel_map.shows(frame, xy)
        point = np.flatnonzero(seen)
        off_px = np.linalg.norm(projected[point] - xy[point], axis=1)
        index = scene.frames.index(frame)
        found.append((np.full(len(point), index), point, xy[point], off_px))
    image, point, xy, off_px = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return image, point, xy, off_px


def _projections(
    rec: Reconstruction,
    frame: int,
    moving: np.ndarray,
    points: np.ndarray,
) -> tuple[Float64[np.ndarray, "point xy=2"], np.ndarray]:
    """Where points project in a frame's picture, and which lie on its own still surface there."""
    in_camera = points_in_camera(points.astype(np.float64), rec.world_from_camera[frame])
    projected = rec.pixel_map.distorted(frame, project(in_camera, rec.intrinsics[frame]))
    inside = rec.pixel_map.shows(frame, projected)
    column, row = np.floor(rec.pixel_map.to_map(frame, np.nan_to_num(projected))).astype(int).T
    depth = rec.depth_of(frame)[row, column]
    near = np.abs(in_camera[:, 2] - depth) <= _SAME_DEPTH * depth
    return projected, inside & near & (moving[row, column] < _STILL)


def _misfit(rec: Reconstruction, frame: int) -> Float64[np.ndarray, "map_height map_width xy=2"]:
    """How far from its pixel each own-time point projects, in pixels of the picture."""
    pose, points = rec.world_from_camera[frame], rec.own_time_points[frame].astype(np.float64)
    pixel = rec.pixel_map.to_picture(frame, pixel_centres(rec.map_hw))
    projected = project(points_in_camera(points, pose), rec.intrinsics[frame])
    off = rec.pixel_map.distorted(frame, projected) - pixel
    known = np.isfinite(off).all(axis=-1) & (rec.own_time_confidence[frame] > 0)
    return np.where(known[..., None], off, 0.0)


def _write_text(model: SparseModel, folder: Path) -> None:
    """Write `cameras.txt`, `images.txt` and `points3D.txt`."""
    lines = ["# CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy, then the lens's coefficients if any"]
    for index, (name, size, params) in enumerate(_cameras_of(model), 1):
        lines.append(f"{index} {name} {size[1]} {size[0]} {_words(params)}")
    _write_lines(folder / "cameras.txt", lines)
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID of all points"]
    places, point_ids = model.xy.tolist(), (model.point + 1).tolist()
    ends = np.searchsorted(model.image, np.arange(len(model.names) + 1)).tolist()
    for index, name in enumerate(model.names):
        pose = _words([*model.quaternion_wxyz[index].tolist(), *model.translation[index].tolist()])
        lines.append(f"{index + 1} {pose} {model.camera_of_image[index] + 1} {name}")
        seen = range(ends[index], ends[index + 1])
        lines.append(" ".join(f"{_words(places[k])} {point_ids[k]}" for k in seen))
    _write_lines(folder / "images.txt", lines)
    lines = ["# POINT3D_ID X Y Z R G B ERROR, then IMAGE_ID POINT2D_IDX of its track"]
    for index, (track, point, color, error) in enumerate(
        zip(
            _tracks(model),
            model.points.tolist(),
            model.colors.tolist(),
            model.error_px.tolist(),
            strict=True,
        ),
        1,
    ):
        elements = _words(track.reshape(-1).tolist())
        lines.append(f"{index} {_words(point)} {_words(color)} {error!r} {elements}")
    _write_lines(folder / "points3D.txt", lines)


def _write_binary(model: SparseModel, folder: Path) -> None:
    """Write `cameras.bin`, `images.bin` and `points3D.bin`, all little endian."""
    parts = [struct.pack("<Q", len(model.camera_hw))]
    for index, (name, size, params) in enumerate(_cameras_of(model), 1):
        head = struct.pack("<IiQQ", index, _MODEL_IDS[name], size[1], size[0])
        parts.append(head + struct.pack(f"<{len(params)}d", *params))
    (folder / "cameras.bin").write_bytes(b"".join(parts))
    seen = np.empty(len(model.point), dtype=[("xy", "<f8", 2), ("point", "<u8")])
    seen["xy"], seen["point"] = model.xy, model.point + 1
    parts = [struct.pack("<Q", len(model.names))]
    for index, name in enumerate(model.names):
        pose = (*model.quaternion_wxyz[index], *model.translation[index])
        here = seen[model.image == index]
        parts.append(
            struct.pack("<I7dI", index + 1, *pose, model.camera_of_image[index] + 1)
            + name.encode("ascii")
            + struct.pack("<xQ", len(here))
            + here.tobytes()
        )
    (folder / "images.bin").write_bytes(b"".join(parts))
    parts = [struct.pack("<Q", len(model.points))]
    for index, track in enumerate(_tracks(model)):
        parts.append(
            struct.pack(
                "<Q3d3BdQ",
                index + 1,
                *model.points[index],
                *model.colors[index],
                model.error_px[index],
                len(track),
            )
            + track.astype("<u4").tobytes()
        )
    (folder / "points3D.bin").write_bytes(b"".join(parts))


def _tracks(model: SparseModel) -> list[Int64[np.ndarray, "element pair=2"]]:
    """For each point its observations: image (from 1) and index within that image (from 0)."""
    order = np.argsort(model.point, kind="stable")
    pairs = np.stack([model.image[order] + 1, model.index_in_image[order]], axis=1)
    ends = np.searchsorted(model.point[order], np.arange(len(model.points) + 1))
    return [pairs[start:end] for start, end in pairwise(ends)]


def _words(values: Sequence[float | int]) -> str:
    """Numbers in as many digits as lead back to them."""
    return " ".join(map(repr, values))


def _write_lines(path: Path, lines: list[str]) -> None:
    """Write lines of text."""
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
