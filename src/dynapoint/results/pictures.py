"""Pictures of the frames as their maps show them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.undistorted import undistorted_picture


def picture_in_map(
    scene: SceneMaps, frame: int, size: tuple[int, int], resampling: Image.Resampling
) -> Image.Image:
    """What the maps of a frame show of its picture, as a picture of `size` (width, height).

    Cropped and undistorted as the maps are, and white where they show nothing of it.
    """
    left, top, right, bottom = np.concatenate(scene.pixel_map.picture_box(frame)).tolist()
    factor = np.array(size) / scene.map_hw[::-1]
    low, high = (np.round(corner * factor) for corner in scene.pixel_map.shown_box(frame))
    corner = (int(low[0]), int(low[1]))
    extent = (max(1, int(high[0] - low[0])), max(1, int(high[1] - low[1])))
    # Without the canvas around it, which would bleed into it.
    pixels = undistorted_picture(scene.frames, frame, scene.pixel_map, side=max(extent))
    picture = Image.fromarray(pixels)
    height, width = scene.frames.picture_hw[frame].tolist()
    box = (left, top, right, bottom)
    if picture.size != (width, height):
        box = tuple(np.array(box) * np.tile(np.array(picture.size) / [width, height], 2))
    picture = picture.resize(extent, resampling, box=box)
    if extent == size:
        return picture
    canvas = Image.new("RGB", size, (255, 255, 255))
    canvas.paste(picture, corner)
    return canvas


def map_pictures(
    scene: SceneMaps, frames: Sequence[int] | None = None
) -> UInt8[np.ndarray, "frame map_height map_width rgb=3"]:
    """What the maps show of some frames, or of all: a colour (sRGB) for every pixel of the maps."""
    size = scene.map_hw[::-1]
    return np.stack(
        [
            np.asarray(picture_in_map(scene, frame, size, Image.Resampling.BOX))
            for frame in (range(scene.frame_count) if frames is None else frames)
        ]
    )
