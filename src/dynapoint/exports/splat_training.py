"""What trainers of splats and radiance fields want: pictures, masks of stillness, a seed cloud."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from dynapoint.exports.clouds import shown_weight
from dynapoint.exports.options import ExportOptions
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.progress import steps
from dynapoint.reductions.fusion import FusedCloud, fuse
from dynapoint.results.asking import as_numpy
from dynapoint.results.motion_answers import moving_at_ends
from dynapoint.results.pictures import map_pictures
from dynapoint.results.reconstruction import Reconstruction

IMAGES, MASKS = "images", "masks"
_DEFAULT_SEEDS = 100_000
_STILL = 0.5
_PIXELS_AT_ONCE = 2**20


@dataclass(frozen=True, kw_only=True)
class StillScene:
    """What stands still in some frames.

    Attributes:
        frames: Indices of the frames.
        moving: For each of them, how likely each map pixel moves towards the first or last time;
            1 where a pixel is not usable, for then nobody knows.
        seeds: Their still pixels as one cloud, whose `frame` and `seen` count within `frames`.
    """

    frames: list[int]
    moving: Float32[np.ndarray, "frame map_height map_width"]
    seeds: FusedCloud[np.ndarray]


def still_scene(rec: Reconstruction, options: ExportOptions) -> StillScene:
    """What stands still in the frames wanted.

    Raises:
        InputError: The time wanted is no index of a frame used.
    """
    frames = options.times(rec)
    points, confidence = rec.own_time_points[frames], rec.own_time_confidence[frames]
    known = np.isfinite(points).all(axis=-1) & (confidence > 0)
    moving = np.where(known, moving_at_ends(rec, frames), np.float32(1))
    colors = map_pictures(rec, frames)
    seeds = fuse(
        torch.from_numpy(points),
        torch.from_numpy(shown_weight(points, confidence, colors, options)),
        torch.from_numpy(colors),
        still=torch.from_numpy(1 - moving),
        max_points=options.max_points or _DEFAULT_SEEDS,
    )
    return StillScene(frames=frames, moving=moving, seeds=as_numpy(seeds))


def image_name(frame: int) -> str:
    """Name of a frame's image file."""
    return f"frame_{frame:04d}.png"


def write_pictures(rec: Reconstruction, scene: StillScene, folder: Path) -> None:
    """Write `images/NAME` and `masks/NAME.png`, both PNG at the frames' original resolution."""
    (folder / IMAGES).mkdir()
    (folder / MASKS).mkdir()
    pairs = list(zip(scene.frames, scene.moving, strict=True))
    for frame, moving in steps(pairs, "images and masks", wanted=rec.progress):
        height, width = rec.frames.picture_hw[frame]
        image = rec.images[frame, :height, :width]
        _write_png(folder / IMAGES / image_name(frame), image[..., ::-1])
        mask = still_mask(rec, frame, moving).astype(np.uint8) * 255
        _write_png(folder / MASKS / f"{image_name(frame)}.png", mask)


def still_mask(
    rec: Reconstruction, frame: int, moving: Float32[np.ndarray, "map_height map_width"]
) -> Bool[np.ndarray, "height width"]:
    """Which pixels of a frame's picture stand still.

    False where that is not known: outside of what the map shows, and where the user masked pixels.
    """
    import cv2  # noqa: PLC0415 - only exports of pictures need it.

    height, width = (int(side) for side in rec.frames.picture_hw[frame])
    if rec.distortion is not None:
        return _distorted_still_mask(rec, frame, moving)
    matrix = rec.pixel_map.map_from_image[frame, :2].copy()
    # OpenCV counts from the centre of the first pixel, in both pictures.
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    probability = cv2.warpAffine(
        moving,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    still = probability < _STILL
    low, high = rec.pixel_map.picture_box(frame)
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    still &= ((rows >= low[1]) & (rows <= high[1]))[:, None]
    still &= (columns >= low[0]) & (columns <= high[0])
    if rec.frames.ignore is not None:
        still &= ~rec.frames.ignore[frame, :height, :width]
    return still


def _distorted_still_mask(
    rec: Reconstruction, frame: int, moving: Float32[np.ndarray, "map_height map_width"]
) -> Bool[np.ndarray, "height width"]:
    """`still_mask` of a lens that is no pinhole, whose picture is distorted."""
    import cv2  # noqa: PLC0415 - only exports of pictures need it.

    height, width = (int(side) for side in rec.frames.picture_hw[frame])
    still = np.zeros((height, width), dtype=bool)
    rows_at_once = max(1, _PIXELS_AT_ONCE // width)
    for top in range(0, height, rows_at_once):
        rows = slice(top, min(height, top + rows_at_once))
        xy = pixel_centres((rows.stop - top, width)) + np.array([0, top])
        place = rec.pixel_map.to_map(frame, xy.reshape(-1, 2)).reshape(xy.shape) - 0.5
        probability = cv2.remap(
            moving,
            place[..., 0].astype(np.float32),
            place[..., 1].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        shown = rec.pixel_map.shows(frame, xy.reshape(-1, 2)).reshape(xy.shape[:2])
        still[rows] = (probability < _STILL) & shown
    if rec.frames.ignore is not None:
        still &= ~rec.frames.ignore[frame, :height, :width]
    return still


def _write_png(path: Path, pixels: UInt8[np.ndarray, "height width *bgr"]) -> None:
    """Write a picture whose channels stand in OpenCV's order."""
    import cv2  # noqa: PLC0415 - only exports of pictures need it.

    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes())
