"""What every system of the family offers: encode the frames once, decode any time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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

    `image_side` is the length of the longer side that the network works best at. What the two
    verbs cost, for n frames, in each system:

    - V-DPM (`published`, `network`): `encode` runs the backbone over all frames once. `decode` runs
      the time decoder: the published one over all frames whatever is asked for, so that all frames
      at one time cost little more than one; `nano`'s over the frames asked for and the target.
    - DePT3R (`dept3r`, `query_network`): `encode` makes patch tokens and runs the backbone once,
      for the time of frame 0. `decode` at another time is one more run of the backbone over all
      frames, then a head for each frame asked for; the published size keeps its last run.
    - DPM (`pairwise`): `encode` looks at every frame alone, then at the pairs of a graph (about
      10 n; n (n − 1) up to five frames), and aligns them. `decode` looks at one pair for each frame
      asked for, in the graph or not.
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


@dataclass(frozen=True, kw_only=True)
class PairMaps:
    """The four dynamic point maps of ordered pairs of frames, in the camera of each first frame.

    `points[p, t, i]` are the pixels of image i of pair p (0 first, 1 second) where they are at the
    time of image t, in units of the pair's own; `confidence` is positive, larger is better. With
    frames (a, b): `points[p, 0, 0]` is P_a(t_a), `points[p, 1, 0]` P_a(t_b), `points[p, 0, 1]`
    P_b(t_a) and `points[p, 1, 1]` P_b(t_b), all in the camera of a (DPM eq. 1).
    """

    points: Float[Tensor, "pair time=2 image=2 height width xyz=3"]
    confidence: Float[Tensor, "pair time=2 image=2 height width"]


@runtime_checkable
class PairModel(Protocol):
    """A network that answers for two frames at a time (DPM): each frame is encoded once."""

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        ...

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        ...

    def encode_frames(self, images: Float[Tensor, "frame rgb=3 height width"]) -> Any:
        """What is computed once for each frame of one clip, RGB in [0, 1]."""
        ...

    def decode_frame_pairs(
        self, encoded: Any, *, firsts: Sequence[int], seconds: Sequence[int]
    ) -> PairMaps:
        """The maps of the pairs (firsts[k], seconds[k]); a frame may be paired with itself."""
        ...
