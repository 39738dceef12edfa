"""`refine`: cameras, lens and still depth from what the pictures say, around a network's answer."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dynapoint.refinement.adjustment import (
    Freedom,
    Plan,
    Problem,
    adjust,
    lens_information,
    residuals_px,
)
from dynapoint.refinement.chain import chain_of_poses
from dynapoint.refinement.depths import Depths, solve_depths
from dynapoint.refinement.field import affinity_of, correction_field
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.flow import FlowField, FlowMeter, PairToMeasure
from dynapoint.refinement.matches import RELIABLE, Grid, Matches, match_grid, spanning_pairs
from dynapoint.refinement.views import Lens, Views, rigid_places

# Of neighbours for the first guess, and of those that the last solution rests on.
_SPANS = (1, 2, 4)
_COARSE_PIXELS = 800
_EXPLAINED_PX = 3.0
# A depth whose logarithm its matches tell with this variance counts half.
_HALF_INFORMATION = 100.0

UNKNOWN, STILL, MOVING = 0, 1, 2
"""What matches tell of a pixel."""
_STILL_PX, _MOVING_PX = 2.0, 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a network says of some frames, in its world; or the same, refined.

    Attributes:
        world_from_camera: Camera to world; the world is the camera of frame 0.
        intrinsics: In pixels of the maps.
        points: Of the pixels of the maps at their own time, in the world.
        confidence: Not negative; 0 for pixels that are not to be used.
    """

    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    intrinsics: Float64[np.ndarray, "frame 3 3"]
    points: Float32[np.ndarray, "frame map_height map_width xyz=3"]
    confidence: Float32[np.ndarray, "frame map_height map_width"]

    @property
    def depth(self) -> Float64[np.ndarray, "frame map_height map_width"]:
        """Along the axis of each frame's camera."""
        axis, place = self.world_from_camera[:, :3, 2], self.world_from_camera[:, :3, 3]
        along: Float64[np.ndarray, "frame map_height map_width"] = np.einsum(
            "fhwc,fc->fhw", self.points.astype(np.float64), axis, optimize=True
        )
        return along - (place * axis).sum(axis=1)[:, None, None]
