"""What trainers of splats and radiance fields want: pictures, masks of stillness, a seed cloud."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from dynapoint.exports.cloud_parts import shown_weight
from dynapoint.exports.options import ExportOptions
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.progress import steps
from dynapoint.reductions.fusion import FusedCloud, fuse
from dynapoint.results.asking import as_numpy
from dynapoint.results.motion_answers import moving_at_ends
from dynapoint.results.pictures import map_pictures
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.thinning import even_choice

IMAGES, MASKS = "images", "masks"
_DEFAULT_SEEDS = 100_000
_STILL = 0.5
_PIXELS_AT_ONCE = 2**20
# Whose motion is worked out together, which a network whose decoder sees all frames likes.
_FRAMES_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class StillScene:
    """What stands still in some frames.

    Attributes:
        frames: Indices of the frames.
        sources: Those that the seeds are made of: all of them, or an even choice of many.
        moving: For each source, how likely each map pixel moves towards the first or last time;
            1 where a pixel is not usable, for then nobody knows.
        seeds: Their still pixels as one cloud, whose `frame` and `seen` count within `sources`.
    """

    frames: list[int]
    sources: list[int]
    moving: Float32[np.ndarray, "frame map_height map_width"]
    seeds: FusedCloud[np.ndarray]


def still_scene(rec: Reconstruction, options: ExportOptions) -> StillScene:
    """What stands still in the frames wanted.

    Raises:
        InputError: The time wanted is no index of a frame used.
    """
    frames = options.times(rec)
    sources = [frames[place] for place in even_choice(len(frames))]
    points, confidence = rec.own_time_points[sources], rec.own_time_confidence[sources]
    moving = _moving(rec, sources)
    colors = map_pictures(rec, sources)
    seeds = fuse(
        torch.from_numpy(points),
        torch.from_numpy(shown_weight(points, confidence, colors, options)),
        torch.from_numpy(colors),
        still=torch.from_numpy(1 - moving),
        max_points=options.max_points or _DEFAULT_SEEDS,
    )
    return StillScene(frames=frames, sources=sources, moving=moving, seeds=as_numpy(seeds))


def _moving(
    rec: Reconstruction, frames: list[int]
) -> Float32[np.ndarray, "frame map_height map_width"]:
    """How likely pixels of some frames move; 1 where they are not usable."""
    moving = moving_at_ends(rec, frames)
    for place, frame in zip(moving, frames, strict=True):
        known = np.isfinite(rec.own_time_points[frame]).all(axis=-1)
        place[~(known & (rec.own_time_confidence[frame] > 0))] = 1.0
    return moving


def _moving_in_turn(
    rec: Reconstruction, scene: StillScene
) -> Iterator[tuple[int, Float32[np.ndarray, "map_height map_width"]]]:
    """Every frame of a still scene with how likely its pixels move, worked out where it is not."""
    known = dict(zip(scene.sources, scene.moving, strict=True))
    for first in range(0, len(scene.frames), _FRAMES_AT_ONCE):
        some = scene.frames[first : first + _FRAMES_AT_ONCE]
        others = [frame for frame in some if frame not in known]
        found = dict(zip(others, _moving(rec, others), strict=True)) if others else {}
        for frame in some:
            yield frame, known[frame] if frame in known else found[frame]


def image_name(frame: int) -> str:
    """Name of a frame's image file."""
    return f"frame_{frame:04d}.png"


def write_pictures(rec: Reconstruction, scene: StillScene, folder: Path) -> None:
    """Write `images/NAME` and `masks/NAME.png`, both PNG at the frames' original resolution."""
    (folder / IMAGES).mkdir()
    (folder / MASKS).mkdir()
    pairs, count = _moving_in_turn(rec, scene), len(scene.frames)
    for frame, moving in steps(pairs, "images and masks", total=count, wanted=rec.progress):
        _write_png(folder / IMAGES / image_name(frame), rec.frames.picture(frame)[..., ::-1])
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
    ignored = rec.frames.ignored(frame)
    return still if ignored is None else still & ~ignored


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
    ignored = rec.frames.ignored(frame)
    return still if ignored is None else still & ~ignored


def _write_png(path: Path, pixels: UInt8[np.ndarray, "height width *bgr"]) -> None:
    """Write a picture whose channels stand in OpenCV's order."""
    import cv2  # noqa: PLC0415 - only exports of pictures need it.

    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes())
