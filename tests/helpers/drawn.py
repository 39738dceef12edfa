"""What property tests draw: rotations, rigid motions, similarities, cameras, clouds and arrays.

The numbers of an array come from one seed, so that few small numbers tell what failed. Sizes and
ranges decide what is tested: hypothesis draws them itself, and shrinks them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation


def examples(count: int) -> Callable[[Any], Any]:
    """So many examples, the same ones at every run, however long each takes."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        # What a test draws is checked by jaxtyping, and conftest's fixtures change nothing between.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def sources() -> st.SearchStrategy[np.random.Generator]:
    """Sources of random numbers."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def turns() -> st.SearchStrategy[np.ndarray]:
    """Rotations (3, 3): uniform ones, small ones, those by nearly half a turn, and none."""
    axis = sources().map(lambda rng: rng.normal(size=3)).map(lambda a: a / np.linalg.norm(a))
    angle = st.one_of(
        st.floats(0, np.pi),
        st.sampled_from([0.0, 1e-7, 1e-3, np.pi / 2, np.pi - 1e-3, np.pi - 1e-7]),
    )
    return st.builds(lambda a, b: Rotation.from_rotvec(a * b).as_matrix(), axis, angle)


def rigid_motions(*, reach: float = 100.0) -> st.SearchStrategy[np.ndarray]:
    """Rigid transforms (4, 4), with shifts of up to `reach` along each axis."""
    shift = st.tuples(*[st.floats(-reach, reach)] * 3)
    return st.builds(_matrix, turns(), shift)


def scales() -> st.SearchStrategy[float]:
    """Scales from a thousandth to a thousand, evenly in their logarithm."""
    return st.floats(-3, 3).map(lambda power: float(10.0**power))


def clouds(least: int = 1, most: int = 40, *, reach: float = 10.0) -> st.SearchStrategy[np.ndarray]:
    """Points (n, 3)."""
    return st.builds(
        lambda rng, count: rng.normal(size=(count, 3)) * reach / 3,
        sources(),
        st.integers(least, most),
    )


def lenses() -> st.SearchStrategy[np.ndarray]:
    """Pinhole intrinsics (3, 3) of pixels that need not be square, in pixels."""
    focal = st.floats(20, 2000)
    middle = st.floats(-50, 700)
    return st.builds(
        lambda fx, fy, cx, cy: np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]),
        focal, focal, middle, middle,
    )  # fmt: skip


def small_sizes(most: int = 12) -> st.SearchStrategy[tuple[int, int]]:
    """(height, width) of small maps."""
    return st.tuples(st.integers(1, most), st.integers(1, most))


def tensors() -> st.SearchStrategy[torch.Tensor]:
    """Floating-point tensors of any type and of 0 to 3 dimensions; not all values are finite."""
    shapes = st.lists(st.integers(0, 4), max_size=3)
    dtypes = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
    return st.builds(_tensor, sources(), shapes, dtypes, st.booleans())


def _tensor(
    rng: np.random.Generator, shape: list[int], dtype: torch.dtype, reversed_axes: bool
) -> torch.Tensor:
    values = rng.normal(size=shape) * 10.0 ** rng.uniform(-6, 6, size=shape)
    values = np.where(rng.random(shape) < 0.1, rng.choice([np.inf, -np.inf, np.nan, -0.0]), values)
    made = torch.from_numpy(np.asarray(values)).to(dtype)
    return made.permute(tuple(reversed(range(made.ndim)))) if reversed_axes else made


def _matrix(turn: np.ndarray, shift: tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, shift
    return matrix
