"""A smooth correction that stops at edges, from values that are more or less certain.

Minimises, for every frame, Σ wᵢ (xᵢ − vᵢ)² + w₀ Σ xᵢ² + λ Σ aᵢⱼ (xᵢ − xⱼ)² over neighbours i, j of
a grid, whose affinity aᵢⱼ falls with the difference of their colours and of their log depths
(weighted least squares smoothing, Farbman et al. 2008). The normal equations are solved by
conjugate gradients for all frames together; values that stray from the field are weighed down and
it is solved again.
"""

from concurrent.futures import ThreadPoolExecutor
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
_THREADS = 2


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
    *,
    pull: float = 1.0,
) -> Float32[np.ndarray, "frame height width"]:
    """The field through values of a logarithm; 0 where nothing near has weight.

    `pull` says how much more than usual the field is drawn to 0.
    """
    trusted = weight
    field = np.zeros(value.shape, dtype=np.float32)
    for _ in range(_ROUNDS):
        field = solve_field(value, trusted, affinity, start=field, pull=pull * _PULL)
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
    held = weight.astype(np.float32) + np.float32(pull)
    wanted = (weight * value).astype(np.float32)
    field = np.zeros_like(wanted) if start is None else start.copy()

    # No frame sees another.
    def solve_some(some: slice) -> None:
        right, down = smoothness * affinity.right[some], smoothness * affinity.down[some]
        _descend(field[some], wanted[some], _Normal(held[some], right, down), tolerance)

    share = -(-len(field) // _THREADS)
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(solve_some, [slice(k, k + share) for k in range(0, len(field), share)]))
    return field


class _Normal:
    """The matrix of the normal equations of some frames."""

    def __init__(self, held: np.ndarray, right: np.ndarray, down: np.ndarray) -> None:
        self._right, self._down = right, down
        self.diagonal = held.copy()
        self.diagonal[:, :, :-1] += right
        self.diagonal[:, :, 1:] += right
        self.diagonal[:, :-1] += down
        self.diagonal[:, 1:] += down
        self._row, self._column = np.empty_like(right), np.empty_like(down)

    def applied(self, field: np.ndarray, result: np.ndarray) -> np.ndarray:
        """Its product with a field, in `result`."""
        np.multiply(self.diagonal, field, out=result)
        result[:, :, :-1] -= np.multiply(self._right, field[:, :, 1:], out=self._row)
        result[:, :, 1:] -= np.multiply(self._right, field[:, :, :-1], out=self._row)
        result[:, :-1] -= np.multiply(self._down, field[:, 1:], out=self._column)
        result[:, 1:] -= np.multiply(self._down, field[:, :-1], out=self._column)
        return result


def _descend(field: np.ndarray, wanted: np.ndarray, normal: _Normal, tolerance: float) -> None:
    """Bring a field to where the normal equations hold."""

    def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.einsum("fhw,fhw->f", first, second)[:, None, None]

    pushed = np.empty_like(field)
    residual = wanted - normal.applied(field, pushed)
    scaled = residual / normal.diagonal
    direction, size = scaled.copy(), product(residual, scaled)
    enough = np.maximum(product(wanted, wanted / normal.diagonal), 1e-20) * tolerance**2
    for _ in range(_MOST_ITERATIONS):
        if (size <= enough).all():
            break
        normal.applied(direction, pushed)
        length = size / np.maximum(product(direction, pushed), 1e-30)
        field += np.multiply(direction, length, out=scaled)
        residual -= np.multiply(pushed, length, out=pushed)
        np.divide(residual, normal.diagonal, out=scaled)
        new_size = product(residual, scaled)
        direction *= new_size / np.maximum(size, 1e-30)
        direction += scaled
        size = new_size
