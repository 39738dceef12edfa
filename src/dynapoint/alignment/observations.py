"""What global alignment is given: maps of frames in groups, each in a world and unit of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dynapoint.alignment.coarse import CoarseDepth


@dataclass(frozen=True, kw_only=True, eq=False)
class RayDistances:
    """Distances in groups' worlds, of which what lies along pixels' rays counts less.

    Networks err in depth far more than in direction.

    Attributes:
        eye: Where each member's camera is in its group's world.
        along: By how much what lies along a ray is multiplied; 1 are plain distances.
    """

    eye: Float[Tensor, "member xyz=3"]
    along: float

    def shortened(
        self,
        vectors: Float[Tensor, "part xyz=3 pixel"],
        seen: Float[Tensor, "part xyz=3 pixel"],
        part: slice,
    ) -> Float[Tensor, "part xyz=3 pixel"]:
        """Vectors at some members' points, shorter along their rays; the map is symmetric."""
        if self.along == 1.0:
            return vectors
        ray = torch.nn.functional.normalize(seen - self.eye[part, :, None].to(seen), dim=1)
        return vectors - (1 - self.along) * ray * (ray * vectors).sum(dim=1, keepdim=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupObservations:
    """Where groups see the pixels of frames, at the frames' own times.

    A member is one frame in one group. Groups have any number of members, frames are in any number
    of groups; pairs of frames are groups of two.

    Attributes:
        frame_count: How many frames there are.
        group_count: How many groups there are.
        frame: Of each member.
        group: Of each member.
        points: Of each member's pixels, those of a grid in any order, in the group's own world and
            unit; finite.
        weight: Of the pixels; 0 where nothing is known.
        centred_xy: Where the pixels are in the frames' images, from the principal point on: of all
            frames alike, or of each. A focal length of 1 means that these are rays of depth 1.
        terms: What the sum over all pixels is divided by; the papers take pixels times pairs.
        rounding: Distances below this count about squared, those above less it: a distance d counts
            √(d² + r²) - r. In the unit of the distances. None is 0.
        in_groups: If given, distances are taken in the groups' worlds and units, so that no change
            of all scales changes them, and are shorter along rays; else in the world's.
        coarse: If given, frames' depths change by smooth fields only.
    """

    frame_count: int
    group_count: int
    frame: Int64[Tensor, " member"]
    group: Int64[Tensor, " member"]
    points: Float[Tensor, "member xyz=3 pixel"]
    weight: Float[Tensor, "member pixel"]
    centred_xy: Float[Tensor, "*each xy=2 pixel"]
    terms: int
    rounding: Float[Tensor, "member pixel"] | None = None
    in_groups: RayDistances | None = None
    coarse: CoarseDepth | None = None

    def parts(self, pixels_at_once: int) -> Iterator[slice]:
        """Members whose pixels go together: at least one.

        A part also ends where groups begin anew: first members of all pairs, then second ones.
        """
        at_once = max(1, pixels_at_once // self.points.shape[-1])
        falls = (torch.diff(self.group) < 0).nonzero().flatten() + 1
        ends = [0, *falls.tolist(), len(self.group)]
        for first, last in pairwise(ends):
            for start in range(first, last, at_once):
                yield slice(start, min(start + at_once, last))
