"""Bringing frames to the size a network works at.

By default nothing is cropped or padded: the longer side becomes the network's, the other the
nearest multiple of the patch, and x and y are scaled apart. "published" is what the public code of
the network does. For V-DPM and VGGT the width becomes the network's, what is then too high is
cropped to a square, and images of different heights are padded with white. For Depth Anything 3
(`models.da3.preparation`) images of different sizes are cropped to what all of them have.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dynapoint.data.frames import Frames
from dynapoint.errors import ConfigError
from dynapoint.geometry.distortion import DistortedLens
from dynapoint.models.da3.preparation import published_picture, published_size
from dynapoint.models.protocol import PublishedImages
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.undistorted import undistorted_picture

Preparation = Literal["default", "published"]
PREPARATIONS: tuple[str, ...] = get_args(Preparation)

_FEWEST_PATCHES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedImages:
    """What a network is given, in [0, 1], and where the pixels of the pictures lie in it."""

    images: Float32[Tensor, "1 frame rgb=3 network_height network_width"]
    pixel_map: PixelMap


def prepare_images(
    frames: Frames,
    *,
    how: Preparation = "default",
    image_side: int,
    patch_size: int,
    lenses: tuple[DistortedLens, ...] | None = None,
    published: PublishedImages = "vggt",
) -> PreparedImages:
    """Bring frames to the size a network works at.

    Args:
        frames: The frames; only "published" takes those of different sizes.
        how: "default" or "published" (see the module).
        image_side: The longer side, or the width, that the network works best at, in pixels.
        patch_size: Both sides of the result are multiples of this.
        lenses: Of each frame, where they are no pinholes: pictures are undistorted.
        published: Whose way is meant by "published".

    Raises:
        ConfigError: `how` is something else, a size is not positive, or sizes differ by default.
    """
    if how == "published":
        as_published = _published_da3 if published == "da3" else _published
        return as_published(frames, lenses, image_side=image_side, patch_size=patch_size)
    if how != "default":
        raise ConfigError(f"preparation {how!r} is not known; give {' or '.join(PREPARATIONS)}")
    if frames.sizes_hw is not None:
        raise ConfigError("the frames differ in size; prepare them as 'published'")
    network_hw = network_size(frames.image_hw, image_side=image_side, patch_size=patch_size)
    pixel_map = _pixel_map(
        frames,
        resized_hw=np.tile(network_hw, (frames.count, 1)),
        corner=np.zeros((frames.count, 2)),
        network_hw=network_hw,
        lenses=lenses,
    )
    pictures = frames.images
    if lenses is not None:
        side = max(network_hw)
        pictures = np.stack(
            [undistorted_picture(frames, k, pixel_map, side=side) for k in range(frames.count)]
        )
    return PreparedImages(images=network_images(pictures, network_hw), pixel_map=pixel_map)


def network_size(image_hw: tuple[int, int], *, image_side: int, patch_size: int) -> tuple[int, int]:
    """(height, width) for the network, in multiples of `patch_size`, nearest to the image's aspect.

    The longer side is the multiple nearest to `image_side`; both have at least two patches.

    Raises:
        ConfigError: A size is not positive.
    """
    if min(*image_hw, image_side, patch_size) < 1:
        raise ConfigError(
            f"image {image_hw}, image side {image_side}, patch size {patch_size}: must be positive"
        )
    longest = max(image_hw)
    sides = [
        max(_FEWEST_PATCHES, round(image_side * side / (longest * patch_size))) * patch_size
        for side in image_hw
    ]
    return sides[0], sides[1]


def network_images(
    images: UInt8[np.ndarray, "frame height width rgb=3"], network_hw: tuple[int, int]
) -> Float32[Tensor, "1 frame rgb=3 network_height network_width"]:
    """Images in [0, 1] at the network's size, low-pass filtered where they are made smaller."""
    resized = torch.empty(1, len(images), 3, *network_hw)
    # One frame at a time: floats of all frames at full resolution would take gigabytes.
    for index, image in enumerate(images):
        planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        small = functional.interpolate(
            planes.to(torch.float32) / 255.0, network_hw, mode="bicubic", antialias=True
        )
        resized[:, index] = small.clamp(0.0, 1.0)
    return resized


def ignored_pixels(
    frames: Frames, pixel_map: PixelMap
) -> Bool[np.ndarray, "frame map_height map_width"]:
    """Which pixels of the maps show any pixel of the pictures that is to be ignored."""
    ignored = np.zeros((frames.count, *pixel_map.map_hw), dtype=bool)
    if frames.ignore is None:
        return ignored
    for frame, (height, width) in enumerate(frames.picture_hw.tolist()):
        # Sums over all pixels above and to the left: those over a box follow from its corners.
        sums = np.zeros((height + 1, width + 1), dtype=np.int64)
        sums[1:, 1:] = frames.ignore[frame, :height, :width].cumsum(axis=0).cumsum(axis=1)
        low, high = _seen_boxes(pixel_map, frame)
        left, top = (low[..., k].clip(0, (width, height)[k]).astype(np.int64) for k in (0, 1))
        right, bottom = (high[..., k].clip(0, (width, height)[k]).astype(np.int64) for k in (0, 1))
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        ignored[frame] = inside > 0
    return ignored


def _seen_boxes(
    pixel_map: PixelMap, frame: int
) -> tuple[
    Float64[np.ndarray, "map_height map_width xy=2"],
    Float64[np.ndarray, "map_height map_width xy=2"],
]:
    """First and last edges of the picture's pixels that each pixel of a map shows any part of.

    What a distorted pixel shows is bounded by its corners and the middles of its sides.
    """
    height, width = pixel_map.map_hw
    steps = 1 if pixel_map.lenses is None else 2
    across, down = np.arange(steps * width + 1) / steps, np.arange(steps * height + 1) / steps
    place = pixel_map.to_picture(frame, np.stack(np.meshgrid(across, down), axis=-1))
    # Where no lens sees, nothing is shown.
    place = np.round(np.nan_to_num(place, nan=-1.0), 6)
    around = [
        place[row : row + steps * height : steps, column : column + steps * width : steps]
        for row in range(steps + 1)
        for column in range(steps + 1)
    ]
    return np.floor(np.min(around, axis=0)), np.ceil(np.max(around, axis=0))


def _published(
    frames: Frames,
    lenses: tuple[DistortedLens, ...] | None,
    *,
    image_side: int,
    patch_size: int,
) -> PreparedImages:
    """The preparation of the public code, bit for bit (load_fn.py of VGGT, mode "crop")."""
    width = round(image_side / patch_size) * patch_size
    resized = np.array(
        [
            # In this order of operations, so that halves are rounded as they are there; it has no
            # answer for strips that come out lower than half a patch.
            (max(1, round(high * (width / wide) / patch_size)) * patch_size, width)
            for high, wide in frames.picture_hw.tolist()
        ]
    )
    kept = np.minimum(resized[:, 0], width)
    height = int(kept.max())
    cropped, added = (resized[:, 0] - kept) // 2, (height - kept) // 2
    pixel_map = _pixel_map(
        frames,
        resized_hw=resized,
        corner=np.stack([np.zeros(frames.count), added - cropped], axis=1),
        network_hw=(height, width),
        lenses=lenses,
    )
    images = torch.ones(1, frames.count, 3, height, width)
    for index in range(frames.count):
        size = (width, int(resized[index, 0]))
        picture = Image.fromarray(undistorted_picture(frames, index, pixel_map, side=max(size)))
        pixels = np.array(picture.resize(size, Image.Resampling.BICUBIC))
        part = torch.from_numpy(pixels[cropped[index] : cropped[index] + kept[index]])
        place = images[0, index, :, added[index] : added[index] + kept[index]]
        place.copy_(part.permute(2, 0, 1).to(torch.float32) / 255)
    return PreparedImages(images=images, pixel_map=pixel_map)


def _published_da3(
    frames: Frames,
    lenses: tuple[DistortedLens, ...] | None,
    *,
    image_side: int,
    patch_size: int,
) -> PreparedImages:
    """The preparation of Depth Anything 3's public code, bit for bit."""
    asked = {"image_side": image_side, "patch_size": patch_size}
    resized = np.array(
        [published_size((high, wide), **asked) for high, wide in frames.picture_hw.tolist()]
    )
    height, width = (int(side) for side in resized.min(axis=0))
    cropped = (resized - (height, width)) // 2
    pixel_map = _pixel_map(
        frames,
        resized_hw=resized,
        corner=-cropped[:, ::-1].astype(np.float64),
        network_hw=(height, width),
        lenses=lenses,
    )
    images = torch.empty(1, frames.count, 3, height, width)
    for index, (top, left) in enumerate(cropped.tolist()):
        picture = undistorted_picture(frames, index, pixel_map, side=int(resized[index].max()))
        pixels = published_picture(picture, **asked)[top : top + height, left : left + width]
        planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
        images[0, index] = planes.to(torch.float32) / 255
    return PreparedImages(images=images, pixel_map=pixel_map)


def _pixel_map(
    frames: Frames,
    *,
    resized_hw: np.ndarray,
    corner: Float64[np.ndarray, "frame xy=2"],
    network_hw: tuple[int, int],
    lenses: tuple[DistortedLens, ...] | None,
) -> PixelMap:
    """The map for pictures resized to `resized_hw`, whose top-left corner then lies at `corner`."""
    picture_hw = frames.picture_hw
    return PixelMap(
        scale=resized_hw[:, ::-1] / picture_hw[:, ::-1],
        offset=corner,
        picture_hw=picture_hw,
        map_hw=network_hw,
        lenses=lenses,
    )
