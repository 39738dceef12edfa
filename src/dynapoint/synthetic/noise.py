"""The baked noise volume that all procedural textures share."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

CELLS = 64
CHANNELS = 4
CLOUD, LEAF, SECOND_LEAF, BLOTCH = range(CHANNELS)


def _spectral(rng: np.random.Generator, low: float, high: float, slope: float) -> np.ndarray:
    """Periodic noise of zero mean with power in a band of cycles per period, scaled to about ±1."""
    white = np.fft.rfftn(rng.normal(size=(CELLS, CELLS, CELLS)))
    cycles = np.fft.fftfreq(CELLS, 1.0 / CELLS)
    z, y, x = np.meshgrid(cycles, cycles, cycles[: CELLS // 2 + 1], indexing="ij")
    radius = np.sqrt(x * x + y * y + z * z)
    band = np.where((radius >= low) & (radius <= high), np.maximum(radius, 1.0) ** -slope, 0.0)
    field = np.fft.irfftn(white * band, (CELLS, CELLS, CELLS))
    return np.clip(field / (2.0 * field.std()), -1.0, 1.0)


def _leaves(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Dead leaves: opaque balls of power-law size, each with two random values in [-1, 1]."""
    first, second = np.zeros((2, CELLS, CELLS, CELLS))
    radii = 12.0 * (rng.random(count) * 24.0 + 1.0) ** -0.5
    radii[::-1].sort()
    for radius in radii:
        centre = rng.integers(0, CELLS, 3)
        reach = int(np.ceil(radius))
        ticks = np.arange(-reach, reach + 1)
        z, y, x = np.meshgrid(ticks, ticks, ticks, indexing="ij")
        inside = x * x + y * y + z * z <= radius * radius
        spot = tuple((axis[inside] + c) % CELLS for axis, c in zip((z, y, x), centre, strict=True))
        first[spot], second[spot] = rng.uniform(-1.0, 1.0, 2)
    return first, second


@lru_cache(maxsize=1)
def _volume() -> Float[Tensor, "cell channel=4"]:
    rng = np.random.Generator(np.random.PCG64(20_240_229))
    cloud = _spectral(rng, 1.0, 26.0, 2.2)
    leaf, second = _leaves(rng, 2500)
    blotch = _spectral(rng, 5.0, 9.0, 0.0)
    stacked = np.stack([cloud, leaf, second, blotch], -1).astype(np.float32)
    return torch.from_numpy(stacked.reshape(-1, CHANNELS))


@lru_cache(maxsize=8)
def noise_volume(device: str) -> Float[Tensor, "cell channel=4"]:
    """The volume of CELLS³ cells, x fastest, on a device; values in [-1, 1], periodic."""
    return _volume().to(device)


@lru_cache(maxsize=8)
def gaussian_tile(device: str) -> Float[Tensor, " value"]:
    """A million fixed standard normal values: sensor noise is a window into them."""
    rng = np.random.Generator(np.random.PCG64(7_654_321))
    return torch.from_numpy(rng.normal(size=1 << 20).astype(np.float32)).to(device)


def sample_noise(
    x: Float[Tensor, " sample"], y: Float[Tensor, " sample"], z: Float[Tensor, " sample"]
) -> Float[Tensor, "sample channel=4"]:
    """Trilinear look-up of all channels at positions in periods (any real number)."""
    indices, weights = [], []
    for axis, stride in ((z, CELLS * CELLS), (y, CELLS), (x, 1)):
        scaled = axis * CELLS
        floor = scaled.floor()
        fraction = scaled - floor
        cell = floor.to(torch.int32) & (CELLS - 1)
        following = (cell + 1) & (CELLS - 1)
        indices.append((cell * stride, following * stride))
        weights.append((1.0 - fraction, fraction))
    corner_index = torch.empty(len(x), 8, dtype=torch.int32, device=x.device)
    corner_weight = torch.empty(len(x), 8, device=x.device)
    for corner in range(8):
        a, b, c = corner >> 2, (corner >> 1) & 1, corner & 1
        corner_index[:, corner] = indices[0][a] + indices[1][b] + indices[2][c]
        corner_weight[:, corner] = weights[0][a] * weights[1][b] * weights[2][c]
    return torch.nn.functional.embedding_bag(
        corner_index, noise_volume(str(x.device)), per_sample_weights=corner_weight, mode="sum"
    )
