"""Poses as data sets write them, made rigid."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from dynapoint.datasets.files import damaged

ROUNDING = 0.02
"""How far R Rᵀ of a written rotation may lie from the identity, by its largest element. Rotations
written with float16 lie up to 0.002 off."""


def inverted_poses(
    target_from_source: Float[np.ndarray, "*poses 4 4"], path: Path
) -> Float64[np.ndarray, "*poses 4 4"]:
    """source_from_target, with the rotations nearest to those that were written.

    Args:
        target_from_source: Matrices for column vectors.
        path: The file that they are from.

    Raises:
        InputError: A matrix is no rigid motion, by more than rounding.
    """
    written = target_from_source.astype(np.float64)
    turn, shift = written[..., :3, :3], written[..., :3, 3:]
    off = np.abs(turn @ np.swapaxes(turn, -1, -2) - np.eye(3)).max(initial=0.0)
    last = np.abs(written[..., 3, :] - [0, 0, 0, 1]).max(initial=0.0)
    # Written so that NaN is refused as well.
    if not (off <= ROUNDING and last <= ROUNDING and np.isfinite(shift).all()):
        raise damaged(path, "a camera's pose is no rigid motion")
    left, _, right = np.linalg.svd(turn)
    if (np.linalg.det(left @ right) < 0).any():
        raise damaged(path, "a camera's pose mirrors space")
    inverse = np.zeros_like(written)
    inverse[..., :3, :3] = np.swapaxes(left @ right, -1, -2)
    inverse[..., :3, 3:] = -inverse[..., :3, :3] @ shift
    inverse[..., 3, 3] = 1
    return inverse
