"""Dense optical flow between small grey pictures, and how far it can be relied on.

Kroeger et al., Fast Optical Flow using Dense Inverse Search (ECCV 2016), as OpenCV has it. What
goes from one picture to another and back without coming home is not relied on, nor is what lies
where the picture has no texture.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

# Of a smoothed structure tensor's smaller eigenvalue, in grey levels squared per pixel squared:
# below, nothing tells where a pixel went.
_LEAST_TEXTURE = 1.0
_TEXTURE_SIGMA_PX = 3.0
# A weight falls with the distance that the way there and back misses home by.
_HOME_PX = 1.5
# This much nearer to the border of the target the flow is that of what came into view.
_BORDER_PX = 1.0
# Below this side OpenCV's patches do not fit.
_SMALLEST_SIDE = 32
_THREADS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowField:
    """Where the pixels of one picture lie in another.

    Attributes:
        flow: What to add to the place of a pixel, (column, row), in pixels of the pictures.
        weight: In [0, 1]; 0 where nothing is known.
    """

    flow: Float32[np.ndarray, "height width xy=2"]
    weight: Float32[np.ndarray, "height width"]

    def resized(self, height: int, width: int) -> "FlowField":
        """The same for pictures of another size that show the same."""
        import cv2  # noqa: PLC0415 - slow to import.

        old_height, old_width = self.weight.shape
        if (old_height, old_width) == (height, width):
            return self
        flow = cv2.resize(self.flow, (width, height), interpolation=cv2.INTER_LINEAR)
        ratio = np.array([width / old_width, height / old_height], dtype=np.float32)
        weight = cv2.resize(self.weight, (width, height), interpolation=cv2.INTER_LINEAR)
        return FlowField(flow=flow * ratio, weight=weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairToMeasure:
    """Two pictures by their numbers, with guesses of the flow there and back where there are any.

    `coarse` asks for half the resolution, at a quarter of the price.
    """

    first: int
    second: int
    forward: Float32[np.ndarray, "height width xy=2"] | None = None
    backward: Float32[np.ndarray, "height width xy=2"] | None = None
    coarse: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowMeter:
    """Measures flow between any two of some pictures.

    Attributes:
        pictures: Grey, of one size.
        usable: 0 for pixels that are to be ignored, 1 for others.
    """

    pictures: UInt8[np.ndarray, "picture height width"]
    usable: Float32[np.ndarray, "picture height width"]

    @property
    def possible(self) -> bool:
        """Whether the pictures are large enough for flow."""
        return min(self.pictures.shape[1:]) >= _SMALLEST_SIDE

    @cached_property
    def textured(self) -> Float32[np.ndarray, "picture height width"]:
        """1 where a picture is to be used and has texture enough, 0 elsewhere."""
        enough = [texture(picture) > _LEAST_TEXTURE for picture in self.pictures]
        return np.stack(enough).astype(np.float32) * self.usable

    def measure(self, pairs: Sequence[PairToMeasure]) -> list[tuple[FlowField, FlowField]]:
        """The flow there and back of every pair."""
        # Both worked out here, because threads would do so twice.
        _ = self.textured
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(threads.map(self._measure_pair, pairs))

    def _measure_pair(self, pair: PairToMeasure) -> tuple[FlowField, FlowField]:
        import cv2  # noqa: PLC0415 - slow to import.

        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(1 if pair.coarse else 0)
        first, second = self.pictures[pair.first], self.pictures[pair.second]
        forward = search.calc(first, second, _start(pair.forward))
        backward = search.calc(second, first, _start(pair.backward))
        return (
            self._weighed(forward, backward, pair.first, pair.second),
            self._weighed(backward, forward, pair.second, pair.first),
        )

    def _weighed(
        self,
        there: Float32[np.ndarray, "height width xy=2"],
        back: Float32[np.ndarray, "height width xy=2"],
        source: int,
        target: int,
    ) -> FlowField:
        """Flow from the source, with weights by what misses home, leaves the picture or is bare."""
        height, width = there.shape[:2]
        place = pixel_indices(height, width) + there
        # One lookup fetches the way back and whether the target is to be ignored there.
        looked_up = np.concatenate([back, self.usable[target][..., None]], axis=-1)
        found = sample(looked_up, place + 0.5)
        missed = there + found[..., :2]
        off = np.square(missed).sum(axis=-1)
        weight = np.exp(-off / _HOME_PX**2)
        weight[off > (2 * _HOME_PX) ** 2] = 0.0
        end = np.array([width, height], dtype=np.float32) - 0.5 - _BORDER_PX
        inside = ((place > _BORDER_PX - 0.5) & (place < end)).all(axis=-1)
        weight *= inside * (found[..., 2] > 0.99) * self.textured[source]
        return FlowField(flow=there, weight=weight.astype(np.float32))


def texture(picture: UInt8[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """The smaller eigenvalue of the smoothed structure tensor (Shi and Tomasi 1994)."""
    import cv2  # noqa: PLC0415 - slow to import.

    right = cv2.Scharr(picture, cv2.CV_32F, 1, 0) / 32
    down = cv2.Scharr(picture, cv2.CV_32F, 0, 1) / 32
    xx, xy, yy = (
        cv2.GaussianBlur(product, (0, 0), _TEXTURE_SIGMA_PX)
        for product in (right * right, right * down, down * down)
    )
    half = (xx - yy) / 2
    smaller: Float32[np.ndarray, "height width"] = (xx + yy) / 2 - np.sqrt(half * half + xy * xy)
    return smaller


def sample(
    values: Float32[np.ndarray, "height width *channel"], xy: Float[np.ndarray, "row column xy=2"]
) -> Float32[np.ndarray, "row column *channel"]:
    """Bilinear values at places, pixel centres at half-integers; beyond the border its own."""
    return at_indices(values, xy.astype(np.float32) - np.float32(0.5))


def at_indices(
    values: Shaped[np.ndarray, "height width *channel"],
    index: Float32[np.ndarray, "row column xy=2"],
) -> Shaped[np.ndarray, "row column *channel"]:
    """`sample`, of whole numbers too, at places counted from the centre of the first pixel."""
    import cv2  # noqa: PLC0415 - slow to import.

    found = cv2.remap(
        values, index[..., 0], index[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.reshape(*index.shape[:-1], *values.shape[2:])


def warped(
    values: Shaped[np.ndarray, "height width *channel"],
    flow: Float32[np.ndarray, "height width xy=2"],
) -> Shaped[np.ndarray, "height width *channel"]:
    """For each pixel the value at the place that flow leads to; beyond the border its own."""
    return at_indices(values, pixel_indices(*flow.shape[:2]) + flow)


def pixel_indices(height: int, width: int) -> Float32[np.ndarray, "height width xy=2"]:
    """(column, row) of every pixel, from 0."""
    return np.stack(
        np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)),
        axis=-1,
    )


def _start(guess: np.ndarray | None) -> Any:
    """A guess that OpenCV may write over."""
    return None if guess is None else np.array(guess, dtype=np.float32, order="C")
