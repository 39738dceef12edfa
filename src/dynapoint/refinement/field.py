"""A smooth correction that stops at edges, from values that are more or less certain.

Minimises, for every frame, Σ wᵢ (xᵢ − vᵢ)² + w₀ Σ xᵢ² + λ Σ aᵢⱼ (xᵢ − xⱼ)² over neighbours i, j of
a grid, whose affinity aᵢⱼ falls with the difference of their colours and of their log depths
(weighted least squares smoothing, Farbman et al. 2008). The normal equations are solved by
conjugate gradients for all frames together; values that stray from the field are weighed down and
it is solved again.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

_COLOR_SIGMA, _DEPTH_SIGMA = 12.0, 0.15
_LEAST_AFFINITY = 1e-3
_SMOOTHNESS = 9.0
_PULL = 0.01
_ROUNDS = 2
_STRAY = 0.15
_MOST_ITERATIONS = 300
_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Affinity:
    """How strongly each pixel of a grid holds on to its right and its lower neighbour."""

    right: Float32[np.ndarray, "frame height column_pair"]
    down: Float32[np.ndarray, "frame row_pair width"]


def affinity_of(
    colors: Float[np.ndarray, "frame height width channel"],
    log_depth: Float[np.ndarray, "frame height width"],
) -> Affinity:
    """Affinity that falls at edges of the pictures (levels of 255) and of depth."""
    across = [np.diff(colors, axis=2), np.diff(log_depth, axis=2)]
    along = [np.diff(colors, axis=1), np.diff(log_depth, axis=1)]
    right, down = (
        np.exp(-(color**2).sum(axis=-1) / _COLOR_SIGMA**2 - (depth / _DEPTH_SIGMA) ** 2)
        + _LEAST_AFFINITY
        for color, depth in (across, along)
    )
    return Affinity(right=right.astype(np.float32), down=down.astype(np.float32))


def correction_field(
    value: Float[np.ndarray, "frame height width"],
    weight: Float[np.ndarray, "frame height width"],
    affinity: Affinity,
) -> Float32[np.ndarray, "frame height width"]:
    """The field through values of a logarithm; 0 where nothing near has weight."""
    trusted = weight
    field = np.zeros(value.shape, dtype=np.float32)
    for _ in range(_ROUNDS):
        field = solve_field(value, trusted, affinity, start=field)
        trusted = weight / (1 + np.square((value - field) / _STRAY))
    return field


def solve_field(
    value: Float[np.ndarray, "frame height width"],
    weight: Float[np.ndarray, "frame height width"],
    affinity: Affinity,
    *,
    start: Float32[np.ndarray, "frame height width"] | None = None,
    smoothness: float = _SMOOTHNESS,
    pull: float = _PULL,
    tolerance: float = _TOLERANCE,
) -> Float32[np.ndarray, "frame height width"]:
    """The minimum for fixed weights, by conjugate gradients with a diagonal preconditioner."""
    right, down = smoothness * affinity.right, smoothness * affinity.down
    held = weight.astype(np.float32) + np.float32(pull)
    diagonal = held.copy()
    for strength, before, after in (
        (right, np.s_[:, :, :-1], np.s_[:, :, 1:]),
        (down, np.s_[:, :-1], np.s_[:, 1:]),
    ):
        diagonal[before] += strength
        diagonal[after] += strength

    def applied(field: np.ndarray) -> np.ndarray:
        result = diagonal * field
        result[:, :, :-1] -= right * field[:, :, 1:]
        result[:, :, 1:] -= right * field[:, :, :-1]
        result[:, :-1] -= down * field[:, 1:]
        result[:, 1:] -= down * field[:, :-1]
        return result

    def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.einsum("fhw,fhw->f", first, second)[:, None, None]

    wanted = (weight * value).astype(np.float32)
    field = np.zeros_like(wanted) if start is None else start.copy()
    residual = wanted - applied(field)
    scaled = residual / diagonal
    direction, size = scaled, product(residual, scaled)
    enough = np.maximum(product(wanted, wanted / diagonal), 1e-20) * tolerance**2
    for _ in range(_MOST_ITERATIONS):
        if (size <= enough).all():
            break
        pushed = applied(direction)
        length = size / np.maximum(product(direction, pushed), 1e-30)
        field = field + length * direction
        residual = residual - length * pushed
        scaled = residual / diagonal
        new_size = product(residual, scaled)
        direction = scaled + new_size / np.maximum(size, 1e-30) * direction
        size = new_size
    return field
