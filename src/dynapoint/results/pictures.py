"""Pictures of the frames as their maps show them."""

import numpy as np
from PIL import Image

from dynapoint.results.reconstruction import Reconstruction


def picture_in_map(
    rec: Reconstruction, frame: int, size: tuple[int, int], resampling: Image.Resampling
) -> Image.Image:
    """What the maps of a frame show of its picture, as a picture of `size` (width, height).

    Cropped as the maps are, and white where they show nothing of it.
    """
    left, top, right, bottom = np.concatenate(rec.pixel_map.picture_box(frame)).tolist()
    factor = np.array(size) / rec.map_hw[::-1]
    low, high = (np.round(corner * factor) for corner in rec.pixel_map.shown_box(frame))
    corner = (int(low[0]), int(low[1]))
    extent = (max(1, int(high[0] - low[0])), max(1, int(high[1] - low[1])))
    # Without the canvas around it, which would bleed into it.
    picture = Image.fromarray(rec.frames.picture(frame))
    picture = picture.resize(extent, resampling, box=(left, top, right, bottom))
    if extent == size:
        return picture
    canvas = Image.new("RGB", size, (255, 255, 255))
    canvas.paste(picture, corner)
    return canvas
