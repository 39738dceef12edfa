"""Bringing frames to the size a network works at, and its cameras back to original pixels.

Nothing is cropped or padded: x and y are scaled apart, so that a pixel maps to a pixel by two
factors and sides can be multiples of the patch size.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from dynapoint.errors import ConfigError

_FEWEST_PATCHES = 2


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
    images: UInt8[np.ndarray, "frame height width rgb=3"],
    network_hw: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
) -> Float32[Tensor, "1 frame rgb=3 network_height network_width"]:
    """Images in [0, 1] at the network's size, low-pass filtered where they are made smaller."""
    resized = []
    # One frame at a time: floats of all frames at full resolution would take gigabytes.
    for image in images:
        planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        small = functional.interpolate(
            planes.to(torch.float32) / 255.0, network_hw, mode="bicubic", antialias=True
        )
        resized.append(small.clamp(0.0, 1.0))
    return torch.stack(resized, dim=1).to(device)


def original_intrinsics(
    network_intrinsics: Float[np.ndarray, "frame 3 3"],
    *,
    image_hw: tuple[int, int],
    network_hw: tuple[int, int],
) -> Float[np.ndarray, "frame 3 3"]:
    """Intrinsics in pixels of the original images from those in pixels of the network's images.

    Pixel centres are at half-integers in both, so this is a plain scaling of x and y.
    """
    scale = [image_hw[1] / network_hw[1], image_hw[0] / network_hw[0], 1.0]
    return np.diag(scale) @ network_intrinsics
