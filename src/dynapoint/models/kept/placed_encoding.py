"""What a network keeps of a clip, with what became of its world and its times since."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from dynapoint.geometry.arrays import transform_points
from dynapoint.models.kept.correction import Correction
from dynapoint.models.kept.finer_maps import FinerMaps
from dynapoint.models.protocol import KeepsLess


@dataclass(frozen=True, kw_only=True)
class PlacedEncoding:
    """An encoding whose decoded points are still to be moved, and whose times may be shared.

    Attributes:
        encoded: What the network's `encode` gave.
        world_from_network: A similarity that takes the network's points to the world of the scene,
            because known intrinsics or known lengths moved that.
        target_of_frame: For each frame the first one of equal time, at which its time is decoded.
        correction: What refinement made of cameras and maps in the world of the scene, if anything.
        finer: How maps finer than the network's follow from its own, if there are any.
    """

    encoded: Any
    world_from_network: Float64[Tensor, "4 4"]
    target_of_frame: Int64[Tensor, " frame"]
    correction: Correction | None = None
    finer: FinerMaps | None = None

    @classmethod
    def of(cls, encoded: Any, frame_count: int) -> "PlacedEncoding":
        """An encoding as it is, unless it has been placed already."""
        if isinstance(encoded, cls):
            return encoded
        return cls(
            encoded=encoded,
            world_from_network=torch.eye(4, dtype=torch.float64),
            target_of_frame=torch.arange(frame_count),
        )

    @property
    def stays(self) -> bool:
        """Whether the network's world is the scene's."""
        return torch.equal(self.world_from_network.cpu(), torch.eye(4, dtype=torch.float64))

    def scaled(self, factor: float) -> "PlacedEncoding":
        """The same in a world in which all lengths are multiplied by a factor."""
        matrix = self.world_from_network.clone()
        matrix[:3] *= factor
        correction = None if self.correction is None else self.correction.scaled(factor)
        finer = None if self.finer is None else self.finer.scaled(factor)
        return replace(self, world_from_network=matrix, correction=correction, finer=finer)

    def moved(
        self, points: Float32[np.ndarray, "*pixels xyz=3"]
    ) -> Float32[np.ndarray, "*pixels xyz=3"]:
        """Points of the network in the world of the scene."""
        if self.stays:
            return points
        return transform_points(self.world_from_network.cpu().numpy(), points).astype(np.float32)

    def to_keep(self) -> Any:
        """What a stored scene keeps: the network's part alone where nothing was changed."""
        inner = self.encoded
        inner = inner.to_keep() if isinstance(inner, KeepsLess) else inner
        plain = torch.equal(self.target_of_frame.cpu(), torch.arange(len(self.target_of_frame)))
        placed = self.correction is not None or self.finer is not None
        return inner if plain and self.stays and not placed else replace(self, encoded=inner)
