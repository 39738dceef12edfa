"""The nouns that cross module boundaries: cameras, point maps and samples with exact truth.

Conventions (docs/conventions.md): OpenCV axes (x right, y down, z forward), pixel centres at
half-integers, world = the camera of frame 0, `world_from_camera` maps camera to world coordinates.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # The default, which Python knows from 3.13 on, saves `[Tensor]` wherever reductions use it.
    Array = TypeVar("Array", Tensor, np.ndarray, default=Tensor)
else:
    from typing import TypeVar

    Array = TypeVar("Array", Tensor, np.ndarray)
"""What a result of `reductions` holds: tensors from tensors, NumPy arrays in a `Reconstruction`."""


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """Pinhole cameras of the frames of a clip.

    Attributes:
        world_from_camera: Camera to world; the world is the camera of frame 0. Translations are in
            the units of the points.
        intrinsics: In pixels of the images that the network saw, pixel centres at half-integers.
    """

    world_from_camera: Float[Tensor, "*batch frame 4 4"]
    intrinsics: Float[Tensor, "*batch frame 3 3"]


@dataclass(frozen=True, kw_only=True)
class PointMaps:
    """`points[frame i, time t]` for some frames and one time, in the camera of frame 0.

    Attributes:
        points: One point per pixel, in scene units.
        confidence: Positive; larger is better.
    """

    points: Float[Tensor, "batch frame height width xyz=3"]
    confidence: Float[Tensor, "batch frame height width"]


@dataclass(frozen=True, kw_only=True)
class TruthSample:
    """One training batch: a few frames of a clip and the exact answer for every (time, frame).

    `points[b, t, i]` is where the surface seen at the pixels of frame i is at the time of frame t,
    in the camera of frame 0 and scene units (not normalised); entries where `valid` is false (sky)
    hold zeros. `visible[b, t, i]` says whether that point is seen by camera t at time t.
    `supervised[b, t, i]` lets a data set mask maps it has no truth for (per-sample supervision).
    """

    images: Float[Tensor, "batch frame rgb=3 height width"]
    points: Float[Tensor, "batch time frame height width xyz=3"]
    valid: Bool[Tensor, "batch frame height width"]
    visible: Bool[Tensor, "batch time frame height width"]
    moving: Bool[Tensor, "batch frame height width"]
    supervised: Bool[Tensor, "batch time frame"]
    world_from_camera: Float[Tensor, "batch frame 4 4"]
    intrinsics: Float[Tensor, "batch frame 3 3"]
