"""Which ordered pairs of a clip's frames a pair network is asked about."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dynapoint.errors import ConfigError

GraphKind = Literal["complete", "window", "logarithmic"]


@dataclass(frozen=True, kw_only=True)
class PairGraphConfig:
    """The graph of a clip's pairs; offsets are distances between frames.

    "window" takes the offsets 1, 1 + stride, 1 + 2 · stride, … (`window` of them, but no more than
    ⌈(n - 1) / 2⌉ for n frames): the defaults are MonST3R's 'swinstride-5-noncyclic'. "logarithmic"
    takes 1, 2, 4, 8, … as far as the clip goes, "complete" all. Clips of up to
    `complete_up_to` frames are complete whatever the kind: at that length a window saves hardly
    any pair. Which graph DPM used on video is unconfirmed; MonST3R's stands in.
    """

    kind: GraphKind = "window"
    window: int = 5
    stride: int = 2
    complete_up_to: int = 5

    def __post_init__(self) -> None:
        """Refuse what would leave frames without a partner.

        Raises:
            ConfigError: `window` or `stride` is not positive.
        """
        if min(self.window, self.stride) < 1:
            raise ConfigError(
                f"pair graph window is {self.window} and stride {self.stride}; both must be at "
                "least 1"
            )


def frame_pairs(frame_count: int, config: PairGraphConfig) -> list[tuple[int, int]]:
    """Ordered (first, second) pairs, each followed by its swap; (0, 0) for a single frame.

    The graph is connected, as neighbours are always a pair.

    Raises:
        ConfigError: There is no frame.
    """
    if frame_count < 1:
        raise ConfigError(f"{frame_count} frames make no pairs; give at least one frame")
    if frame_count == 1:
        return [(0, 0)]
    return [
        pair
        for first in range(frame_count)
        for offset in _offsets(frame_count, config)
        if first + offset < frame_count
        for pair in ((first, first + offset), (first + offset, first))
    ]


def _offsets(frame_count: int, config: PairGraphConfig) -> Sequence[int]:
    """Distances between the frames of pairs, ascending."""
    if config.kind == "complete" or frame_count <= config.complete_up_to:
        return range(1, frame_count)
    if config.kind == "logarithmic":
        return [2**power for power in range((frame_count - 1).bit_length())]
    window = min(config.window, math.ceil((frame_count - 1) / 2))
    return [1 + config.stride * step for step in range(window)]
