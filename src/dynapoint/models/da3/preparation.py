"""The image preparation of Depth Anything 3's public code, for `--prepare published`.

The longer side becomes the network's, then either side the nearest multiple of the patch; both
resizes work on whole numbers. Pictures of different sizes are then cropped about their middles.
"""

import numpy as np
from jaxtyping import UInt8


def published_size(
    image_hw: tuple[int, int], *, image_side: int, patch_size: int
) -> tuple[int, int]:
    """(height, width) that a picture comes to."""
    height, width = (_to_multiple(side, patch_size) for side in _with_longest(image_hw, image_side))
    return height, width


def published_picture(
    picture: UInt8[np.ndarray, "height width rgb=3"], *, image_side: int, patch_size: int
) -> UInt8[np.ndarray, "network_height network_width rgb=3"]:
    """A picture at that size."""
    image_hw = (picture.shape[0], picture.shape[1])
    first = _with_longest(image_hw, image_side)
    second = published_size(image_hw, image_side=image_side, patch_size=patch_size)
    larger = max(first) > max(image_hw)
    return _resized(
        _resized(picture, first, larger=larger),
        second,
        larger=second[0] > first[0] or second[1] > first[1],
    )


def _with_longest(image_hw: tuple[int, int], image_side: int) -> tuple[int, int]:
    scale = image_side / max(image_hw)
    height, width = (max(1, round(side * scale)) for side in image_hw)
    return height, width


def _to_multiple(side: int, patch_size: int) -> int:
    """The nearest multiple; of two that are equally near the larger."""
    return max(1, (2 * side + patch_size) // (2 * patch_size)) * patch_size


def _resized(
    picture: UInt8[np.ndarray, "height width rgb=3"], size_hw: tuple[int, int], *, larger: bool
) -> UInt8[np.ndarray, "new_height new_width rgb=3"]:
    if picture.shape[:2] == size_hw:
        return picture
    import cv2  # noqa: PLC0415 - slow to import.

    how = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size_hw[::-1], interpolation=how))
