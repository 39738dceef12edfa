"""Dense optical flow between small grey pictures, and how far it can be relied on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowField:
    """Where the pixels of one picture lie in another.

    Attributes:
        flow: What to add to the place of a pixel, (column, row), in pixels of the pictures.
        weight: In [0, 1]; 0 where nothing is known.
    """

    flow: Float32[np.ndarray, "height width xy=2"]
    weight: Float32[np.ndarray, "height width"]
