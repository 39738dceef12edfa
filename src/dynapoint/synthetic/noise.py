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
    field = np.fft.irfftn(white * band, (CELLS, CELLS, CELLS), axes=(0, 1, 2))
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
    cloud = _spectral(rng, 1.0, 26.0, 1.8)
    leaf, second = _leaves(rng, 2500)
    blotch = _spectral(rng, 5.0, 9.0, 0.0)
    stacked = np.stack([cloud, leaf, second, blotch], -1).astype(np.float32)
    return torch.from_numpy(stacked.reshape(-1, CHANNELS))


@lru_cache(maxsize=8)
def _volume_with_steps(device: str) -> Float[Tensor, "cell 8"]:
    """Every cell's channels, then their change to the next cell along x: half the look-ups."""
    grid = _volume().view(CELLS, CELLS, CELLS, CHANNELS)
    step = grid.roll(-1, 2) - grid
    return torch.cat([grid, step], -1).view(-1, 2 * CHANNELS).to(device)


@lru_cache(maxsize=8)
def gaussian_tile(device: str) -> Float[Tensor, " value"]:
    """A million fixed standard normal values: sensor noise is a window into them."""
    rng = np.random.Generator(np.random.PCG64(7_654_321))
    return torch.from_numpy(rng.normal(size=1 << 20).astype(np.float32)).to(device)


def sample_noise(
    x: Float[Tensor, " sample"], y: Float[Tensor, " sample"], z: Float[Tensor, " sample"]
) -> Float[Tensor, "sample channel=4"]:
    """Trilinear look-up of all channels at positions in periods (any real number)."""
    cells, fractions = [], []
    for axis in (x, y, z):
        scaled = axis * CELLS
        floor = scaled.floor()
        fractions.append(scaled.sub_(floor))
        cells.append(floor.to(torch.int32) & (CELLS - 1))
    near_y, far_y = cells[1] * CELLS + cells[0], ((cells[1] + 1) & (CELLS - 1)) * CELLS + cells[0]
    near_z, far_z = cells[2] * CELLS**2, ((cells[2] + 1) & (CELLS - 1)) * CELLS**2
    far, fz = fractions[1], fractions[2]
    near = 1.0 - far
    near_weight, far_weight = near * (1.0 - fz), far * (1.0 - fz)
    corners = torch.stack([near_y + near_z, far_y + near_z, near_y + far_z, far_y + far_z], 1)
    weights = torch.stack([near_weight, far_weight, near - near_weight, far - far_weight], 1)
    found = torch.nn.functional.embedding_bag(
        corners, _volume_with_steps(str(x.device)), per_sample_weights=weights, mode="sum"
    )
    return torch.addcmul(found[:, :CHANNELS], found[:, CHANNELS:], fractions[0][:, None])
