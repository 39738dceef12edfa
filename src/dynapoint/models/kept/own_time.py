"""What answers in place of a network of a still world, from what it kept of a clip."""

from collections.abc import Sequence

from dynapoint.models.protocol import Encoded
from dynapoint.types import PointMaps


class OwnTimeDecoder:
    """The own-time maps at every time: all that networks of a still world say, without weights.

    What moves all the same was found by refinement, and lies beside (`still_motion`).
    """

    def decode(self, encoded: Encoded, *, time: int, frames: Sequence[int]) -> PointMaps:
        """As `PointMapModel.decode` of such a network, to the last bit."""
        own, wanted = encoded.own_time, list(frames)
        return PointMaps(points=own.points[:, wanted], confidence=own.confidence[:, wanted])
