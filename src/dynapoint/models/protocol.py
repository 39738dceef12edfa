"""What every system of the family offers: encode the frames once, decode any time."""

from collections.abc import Sequence
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from dynapoint.types import Cameras, PointMaps


class Encoded(Protocol):
    """What is computed once for a clip.

    `own_time` holds P, i.e. `points[i, i]` for every frame i; `cameras` the cameras of all frames,
    intrinsics in pixels of the network's images.
    """

    @property
    def own_time(self) -> PointMaps:
        """The own-time maps P of all frames."""
        ...

    @property
    def cameras(self) -> Cameras:
        """The cameras of all frames."""
        ...


class PointMapModel(Protocol):
    """A network whose images have sides that are multiples of `patch_size`, RGB in [0, 1].

    `image_side` is the length of the longer side that the network works best at.
    """

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        ...

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        ...

    def encode(self, images: Float[Tensor, "batch frame rgb=3 height width"]) -> Any:
        """Compute all that does not depend on the target time; returns an `Encoded`."""
        ...

    def decode(self, encoded: Any, *, time: int, frames: Sequence[int]) -> PointMaps:
        """Place the pixels of `frames` where they are at `time`, in the camera of frame 0.

        For a frame that is the target itself the result is its own-time map P.
        """
        ...
