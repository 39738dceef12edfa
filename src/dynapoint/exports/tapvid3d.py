"""TAPVid-3D npz (arXiv 2407.05921): tracks in the cameras, as its evaluation code reads them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from dynapoint.data.selection import evenly_spaced
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.progress import steps
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.time_order import order_of_times
from dynapoint.results.undistorted import as_pinholes

_DEFAULT_TRACKS = 1024
_QUERY_FRAMES = 4
_JPEG_QUALITY = 95
_SEEN = 0.5


def write_tapvid3d(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write tracks of a grid of pixels in up to four evenly spaced frames; all in order of time.

    Arrays of the file: `images_jpeg_bytes` (frame) the frames as JPEG; `queries_xyt` (track, 3)
    pixels (centres at half-integers) and frame; `tracks_XYZ` (frame, track, 3) in the CAMERA of
    each frame, scene units; `visibility` (frame, track); `fx_fy_cx_cy` (4) medians over frames, in
    pixels of the frames; `extrinsics_w2c` (frame, 4, 4) camera from world; and, beyond the format,
    `intrinsics` (frame, 3, 3). Frames of lenses that distort are undistorted.

    Raises:
        OutputError: `path` exists or cannot be written.
    """
    with export_file(path, ".npz", overwrite=options.overwrite) as partial:
        arrays = _arrays(as_pinholes(rec), options.max_points)
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _arrays(rec: Reconstruction, max_points: int | None) -> dict[str, np.ndarray]:
    """The arrays of the file by name."""
    import cv2  # noqa: PLC0415 - only exports of pictures need it.

    order = order_of_times(rec.timestamps_s)
    places = [int(place) for place in evenly_spaced(rec.frame_count, _QUERY_FRAMES)]
    per_frame = max(1, (max_points or _DEFAULT_TRACKS) // len(places))
    queries, points, visible = [], [], []
    for place in steps(places, "tracks", wanted=rec.progress):
        frame = order[place]
        xy = _grid(rec, frame, per_frame)
        answer = rec.query(frame=frame, xy=xy)
        # A track needs something to begin with; elsewhere than it begins it may be unsure.
        good = answer.valid[frame] & (answer.confidence[frame] > 0)
        queries.append(np.column_stack([xy, np.full(len(xy), place)])[good])
        points.append(answer.points[order][:, good])
        seen = (answer.visible > _SEEN) & (answer.confidence > 0)
        visible.append(seen[order][:, good])
    tracks = np.concatenate(points, axis=1).astype(np.float64)[:, :max_points]
    poses, lenses = rec.world_from_camera[order], rec.intrinsics[order]
    in_cameras = np.stack(
        [points_in_camera(now, pose) for now, pose in zip(tracks, poses, strict=True)]
    )
    focal_and_center = lenses[:, [0, 1, 0, 1], [0, 1, 2, 2]]
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    jpegs = [
        cv2.imencode(".jpg", _on_canvas(rec, frame)[..., ::-1], quality)[1].tobytes()
        for frame in order
    ]
    return {
        # Plain bytes and no objects, so that no unpickling is needed; a JPEG ends in no zero.
        "images_jpeg_bytes": np.array(jpegs),
        "queries_xyt": np.concatenate(queries)[:max_points].astype(np.float32),
        "tracks_XYZ": in_cameras.astype(np.float32),
        "visibility": np.concatenate(visible, axis=1)[:, :max_points],
        "fx_fy_cx_cy": np.median(focal_and_center, axis=0).astype(np.float32),
        "extrinsics_w2c": np.linalg.inv(poses).astype(np.float32),
        "intrinsics": lenses.astype(np.float32),
    }


def _on_canvas(rec: Reconstruction, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A frame's picture in the top left corner of what holds them all."""
    picture = rec.frames.picture(frame)
    canvas = np.full((*rec.frames.image_hw, 3), 255, dtype=np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas


def _grid(rec: Reconstruction, frame: int, count: int) -> Float64[np.ndarray, "place xy=2"]:
    """About `count` places, never more, evenly over a frame's picture, in original pixels."""
    height, width = (int(side) for side in rec.frames.picture_hw[frame])
    columns = int(np.clip(round((count * width / height) ** 0.5), 1, count))
    rows = max(1, count // columns)
    x = (np.arange(columns) + 0.5) * width / columns
    y = (np.arange(rows) + 0.5) * height / rows
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
