"""From linear light to the uint8 frames of a camera: exposure, tone, blur, compression, noise."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .batch import LookBatch
from .noise import gaussian_tile

_MIDDLE = 0.24


def develop(
    linear: Float[Tensor, "clip frame height width rgb=3"], look: LookBatch, *, seed: int
) -> UInt8[Tensor, "clip frame height width rgb=3"]:
    """Expose, tone-map and degrade linear images; `seed` chooses the noise only."""
    mean = linear.mean((1, 2, 3, 4)).clamp_min(1e-4)
    gain = (_MIDDLE / mean) ** 0.75
    factor = gain[:, None, None] * look.exposure
    exposed = linear * factor[:, :, None, None]
    # A soft shoulder that reaches white at three times the nominal range.
    toned = exposed * (1.0 + exposed / 9.0) / (1.0 + exposed) * 1.25
    display = (toned.clamp(1e-6, 1.0).log() * (1.0 / 2.2)).exp()
    display = _blur(display, look.blur)
    display = _add_noise(display, look.noise, seed=seed)
    return (display * 255.0 + 0.5).clamp_(0.0, 255.0).to(torch.uint8)


def _blur(
    images: Float[Tensor, "clip frame height width rgb=3"], sigma_px: Float[Tensor, " clip"]
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """A separable 3-tap Gaussian blur of the clips that ask for it."""
    chosen = (sigma_px > 0.05).nonzero()[:, 0]
    if not len(chosen):
        return images
    side = (-0.5 / sigma_px[chosen] ** 2).exp().view(-1, 1, 1, 1, 1)
    blurred = images.index_select(0, chosen)
    for axis in (2, 3):
        size = blurred.shape[axis]
        index = torch.arange(size, device=images.device)
        before = blurred.index_select(axis, (index - 1).clamp_min(0))
        after = blurred.index_select(axis, (index + 1).clamp_max(size - 1))
        blurred = (blurred + side * (before + after)) / (1.0 + 2.0 * side)
    return images.index_copy(0, chosen, blurred)


def _add_noise(
    images: Float[Tensor, "clip frame height width rgb=3"],
    sigma: Float[Tensor, " clip"],
    *,
    seed: int,
) -> Float[Tensor, "clip frame height width rgb=3"]:
    """Sensor noise: each frame reads a window of one fixed tile, at a place that `seed` names."""
    chosen = (sigma > 0).nonzero()[:, 0]
    if not len(chosen):
        return images
    tile = gaussian_tile(str(images.device))
    clips, frames = images.shape[:2]
    count = images[0, 0].numel()
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(0, len(tile), (clips, frames), generator=generator)
    start = start.to(images.device).index_select(0, chosen)
    window = torch.arange(count, device=images.device)
    values = tile[(start[..., None] + window) % len(tile)]
    noisy = images.index_select(0, chosen)
    noisy = noisy + values.view_as(noisy) * sigma[chosen].view(-1, 1, 1, 1, 1)
    return images.index_copy(0, chosen, noisy)
