"""`rigid` and `pinhole` for NumPy arrays: opening a scene must not wait for torch."""

import numpy as np
from jaxtyping import Float


def rotation_angle_rad(
    first: Float[np.ndarray, "#pair 3 3"], second: Float[np.ndarray, "#pair 3 3"]
) -> Float[np.ndarray, "#pair"]:
    """The angle between two rotations in [0, pi], accurate for small and for large angles.

    The skew part of the relative rotation holds the sine, its trace the cosine.
    """
    relative = np.swapaxes(first, -1, -2) @ second
    skew = relative[..., [2, 0, 1], [1, 2, 0]] - relative[..., [1, 2, 0], [2, 0, 1]]
    trace = np.trace(relative, axis1=-2, axis2=-1)
    return np.arctan2(np.linalg.norm(skew, axis=-1), trace - 1)
