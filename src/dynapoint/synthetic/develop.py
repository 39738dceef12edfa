"""From linear light to the uint8 frames of a camera: exposure, tone, style, noise, compression."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .batch import LookBatch
from .noise import gaussian_tile

_MIDDLE = 0.32
_MIDDLE_GREY = 0.5  # in display values: what contrast leaves unchanged
_LUMINANCE = (0.299, 0.587, 0.114)


def develop(
    linear: Float[Tensor, "clip frame height width rgb=3"],
    look: LookBatch,
    *,
    seed: int,
    mean: Float[Tensor, " clip"] | None = None,
) -> UInt8[Tensor, "clip frame height width rgb=3"]:
    """Expose, tone-map and degrade linear images; `seed` chooses the noise only.

    `mean` is the light that exposure is set by; None for that of the frames given.
    """
    if mean is None:
        mean = mean_light(linear)
    mean = mean.clamp_min(1e-4)
    factor = (_MIDDLE / mean)[:, None, None] ** 0.65 * look.exposure
    images = torch.empty(linear.shape, dtype=torch.uint8, device=linear.device)
    starts = _noise_starts(linear.shape[:2], seed=seed).to(linear.device)
    filtered = (look.blur > 0.05) | (look.sharpening > 0)
    faulty = filtered | (look.noise > 0) | (look.compression > 0)
    styled = (look.contrast != 1) | (look.saturation != 1)
    # On a CPU the clips go one by one, so that intermediate images stay in the cache.
    size = 1 if linear.device.type == "cpu" else len(linear)
    for first in range(0, len(linear), size):
        chosen = slice(first, first + size)
        exposed = linear[chosen] * factor[chosen, :, None, None]
        if bool((look.vignette[chosen] > 0).any()):
            exposed = _darken_corners(exposed, look.vignette[chosen])
        display = _tone(exposed)
        if bool(styled[chosen].any()):
            display = _style(display, look.contrast[chosen], look.saturation[chosen])
        if bool(faulty[chosen].any()):
            display = _filter(display, look.blur[chosen], look.sharpening[chosen])
            display = _add_noise(display, look.noise[chosen], starts[chosen])
            if bool((look.compression[chosen] > 0).any()):
                display = _compress(display, look.compression[chosen])
        images[chosen] = display.mul_(255.0).add_(0.5).clamp_(0.0, 255.0)
    return images


def mean_light(linear: Float[Tensor, "clip frame height width rgb=3"]) -> Float[Tensor, " clip"]:
    """The mean of each clip's linear light, by every second pixel of every second row."""
    return linear[:, :, ::2, ::2].mean((1, 2, 3, 4))


def _tone(
    exposed: Float[Tensor, "clip frame height width rgb=3"],
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """Display values of exposed light: a soft shoulder up to white, then a power of 1/2.2."""
    white = exposed + 1.0
    toned = exposed.mul(0.139).add_(1.32).mul_(exposed).div_(white)
    return toned.clamp_(1e-6, 1.0).log_().mul_(1.0 / 2.2).exp_()


def _darken_corners(
    exposed: Float[Tensor, "clip frame height width rgb=3"], amount: Float[Tensor, " clip"]
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """Take `amount` of the light from the corners and, with the squared radius, less inside."""
    height, width = exposed.shape[2:4]
    y = torch.linspace(-1.0, 1.0, height, device=exposed.device)[:, None]
    x = torch.linspace(-1.0, 1.0, width, device=exposed.device)
    radius = (x * x * width**2 + y * y * height**2) / (width**2 + height**2)
    kept = 1.0 - amount[:, None, None] * radius
    return exposed * kept[:, None, :, :, None]


def _style(
    display: Float[Tensor, "clip frame height width rgb=3"],
    contrast: Float[Tensor, " clip"],
    saturation: Float[Tensor, " clip"],
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """Scale display values about middle grey, and colours about their grey; cut to [0, 1]."""
    weights = torch.tensor(_LUMINANCE, device=display.device)
    grey = display @ weights
    colours = torch.lerp(grey[..., None], display, saturation.view(-1, 1, 1, 1, 1))
    scaled = (colours - _MIDDLE_GREY) * contrast.view(-1, 1, 1, 1, 1)
    return scaled.add_(_MIDDLE_GREY).clamp_(0.0, 1.0)


def _filter(
    images: Float[Tensor, "clip frame height width rgb=3"],
    sigma_px: Float[Tensor, " clip"],
    sharpening: Float[Tensor, " clip"],
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """A separable 3-tap filter: Gaussian blur or sharpening; clips with neither pass unchanged."""
    side = (-0.5 / sigma_px.clamp_min(0.05) ** 2).exp() - sharpening
    side = side.view(-1, 1, 1, 1, 1)
    for axis in (2, 3):
        size = images.shape[axis]
        index = torch.arange(size, device=images.device)
        before = images.index_select(axis, (index - 1).clamp_min(0))
        after = images.index_select(axis, (index + 1).clamp_max(size - 1))
        images = (images + side * (before + after)) / (1.0 + 2.0 * side)
    return images


def _noise_starts(shape: torch.Size, *, seed: int) -> Tensor:
    """Where each frame's window into the tile of noise begins; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1 << 20, tuple(shape), generator=generator)


def _add_noise(
    images: Float[Tensor, "clip frame height width rgb=3"],
    sigma: Float[Tensor, " clip"],
    starts: Tensor,
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """Sensor noise: each frame reads a window of one fixed tile of normal values."""
    tile = gaussian_tile(str(images.device))
    window = torch.arange(images[0, 0].numel(), device=images.device)
    values = tile.take((starts[..., None] + window) & (len(tile) - 1))
    return torch.addcmul(images, values.view_as(images), sigma.view(-1, 1, 1, 1, 1))


@lru_cache(maxsize=8)
def _cosines(device: str) -> Float[Tensor, "8 8"]:
    """The orthonormal cosine transform of 8 values."""
    k = torch.arange(8, dtype=torch.float64)
    basis = (math.pi / 8.0 * (k + 0.5) * k[:, None]).cos() * 0.5
    basis[0] *= math.sqrt(0.5)
    return basis.float().to(device)


def _compress(
    images: Float[Tensor, "clip frame height width rgb=3"], strength: Float[Tensor, " clip"]
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """Round the cosine coefficients of 8 × 8 blocks, fine ones coarser, as compression does."""
    clips, frames, height, width, _ = images.shape
    rows = torch.arange(-(-height // 8) * 8, device=images.device).clamp_max(height - 1)
    columns = torch.arange(-(-width // 8) * 8, device=images.device).clamp_max(width - 1)
    padded = images.index_select(2, rows).index_select(3, columns)
    blocks = padded.view(clips, frames, len(rows) // 8, 8, len(columns) // 8, 8, 3)
    blocks = blocks.permute(0, 1, 2, 4, 6, 3, 5)
    basis = _cosines(str(images.device))
    spectrum = basis @ blocks @ basis.T
    k = torch.arange(8, device=images.device)
    step = 0.03 + 0.025 * (k[:, None] + k)
    step = step * strength.view(-1, 1, 1, 1, 1, 1, 1)
    spectrum = torch.where(step > 0, (spectrum / step.clamp_min(1e-6)).round() * step, spectrum)
    blocks = (basis.T @ spectrum @ basis).permute(0, 1, 2, 5, 3, 6, 4)
    return blocks.reshape(padded.shape)[:, :, :height, :width]
