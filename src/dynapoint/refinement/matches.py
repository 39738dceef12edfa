"""Where the pixels of a regular grid were found in other frames, from flow fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from dynapoint.refinement.flow import FlowField, sample

# A match that weighs less is not counted among those that a solution should explain.
RELIABLE = 0.3
# A match this near to where a solution puts its point is explained by it (pictures of 256).
EXPLAINED_PX = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Pixels at which depth is solved for: a regular grid over pictures and maps alike.

    Attributes:
        hw: Rows and columns.
        picture_hw: Size of the pictures.
    """

    hw: tuple[int, int]
    picture_hw: tuple[int, int]

    @property
    def count(self) -> int:
        """How many pixels there are."""
        return self.hw[0] * self.hw[1]

    @property
    def xy_px(self) -> Float64[np.ndarray, "pixel xy=2"]:
        """Their places in the pictures, row by row."""
        rows, columns = self.hw
        height, width = self.picture_hw
        x = (np.arange(columns) + 0.5) * (width / columns)
        y = (np.arange(rows) + 0.5) * (height / rows)
        return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)

    def every(self, step: int) -> tuple[Int64[np.ndarray, " some"], tuple[int, int]]:
        """Indices of every `step`-th pixel of every `step`-th row; how many rows and columns."""
        rows, columns = (np.arange(min(step // 2, side - 1), side, step) for side in self.hw)
        return (rows[:, None] * self.hw[1] + columns).reshape(-1), (len(rows), len(columns))


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """For each frame the frames that it was matched to, in slots; unused ones name itself.

    `place_px` are places in the pictures, `weight` in [0, 1] and 0 in unused slots.
    """

    target: Int64[np.ndarray, "frame slot"]
    place_px: Float32[np.ndarray, "frame slot pixel xy=2"]
    weight: Float32[np.ndarray, "frame slot pixel"]

    def at(self, pixels: Int64[np.ndarray, " some"]) -> "Matches":
        """Those of some pixels."""
        return Matches(
            target=self.target,
            place_px=np.ascontiguousarray(self.place_px[:, :, pixels]),
            weight=np.ascontiguousarray(self.weight[:, :, pixels]),
        )

    @property
    def coverage(self) -> float:
        """The share of pixels, over used slots, that were matched reliably."""
        used = self.target != np.arange(len(self.target))[:, None]
        return float((self.weight[used] > RELIABLE).mean()) if used.any() else 0.0


def match_grid(
    fields: Mapping[tuple[int, int], FlowField],
    frames: int,
    grid: Grid,
    usable: Float32[np.ndarray, "frame pixel"],
) -> Matches:
    """Read flow fields at the pixels of a grid.

    Args:
        fields: By (source, target).
        frames: How many there are.
        grid: The pixels.
        usable: 0 for those that are not to be used, 1 for others.
    """
    targets: list[list[int]] = [[] for _ in range(frames)]
    for source, target in sorted(fields):
        targets[source].append(target)
    slots = max(1, *(len(found) for found in targets))
    xy = grid.xy_px.reshape(*grid.hw, 2)
    target_of = np.tile(np.arange(frames)[:, None], (1, slots))
    places = np.zeros((frames, slots, grid.count, 2), dtype=np.float32)
    places[:] = grid.xy_px
    weights = np.zeros((frames, slots, grid.count), dtype=np.float32)
    for source, found in enumerate(targets):
        for slot, target in enumerate(found):
            field = fields[source, target]
            both = np.concatenate([field.flow, field.weight[..., None]], axis=-1)
            read = sample(both, xy).reshape(-1, 3)
            target_of[source, slot] = target
            places[source, slot] += read[:, :2]
            weights[source, slot] = read[:, 2] * usable[source]
    return Matches(target=target_of, place_px=places, weight=weights)


def spanning_pairs(frames: int, spans: Sequence[int]) -> list[tuple[int, int]]:
    """All pairs of frames in order that lie so far apart."""
    return [
        (first, first + span) for first in range(frames) for span in spans if first + span < frames
    ]


def share_within(
    off: Float[np.ndarray, "frame slot pixel"],
    weight: Float[np.ndarray, "frame slot pixel"],
    px: float,
) -> float:
    """The share of reliable matches that lie so near; 0 without any."""
    reliable = weight > RELIABLE
    return float((off[reliable] < px).mean()) if reliable.any() else 0.0
