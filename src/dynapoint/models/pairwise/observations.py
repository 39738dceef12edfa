"""What global alignment is given: own-time maps of pairs, and one own map of every frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from dynapoint.errors import ModelError
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.protocol import PairMaps


@dataclass(frozen=True, kw_only=True)
class PairObservations:
    """Own-time maps of the pairs (firsts[k], seconds[k]), on a grid of the images' pixels.

    `points[k, 0]` is P_a(t_a) and `points[k, 1]` P_b(t_b), both in the camera of the pair's first
    frame a and in units of the pair's own. `own_points[i]` is P_i(t_i) of a pair whose first frame
    is i, in the camera of i, and 0 where that is not in front of it. All are finite. A weight is
    the logarithm of the network's confidence, 0 where nothing is known. `centred_xy` are the
    pixels' centres less the principal point, which is the middle of images of `image_hw` pixels.
    """

    firsts: tuple[int, ...]
    seconds: tuple[int, ...]
    points: Float[Tensor, "pair view=2 xyz=3 row column"]
    weight: Float[Tensor, "pair view=2 row column"]
    own_points: Float[Tensor, "frame xyz=3 row column"]
    own_weight: Float[Tensor, "frame row column"]
    centred_xy: Float[Tensor, "xy=2 row column"]
    image_hw: tuple[int, int]

    @property
    def frame_count(self) -> int:
        """How many frames there are."""
        return len(self.own_points)


def pixel_weight(
    points: Float[Tensor, "*batch xyz=3"], confidence: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """The logarithm of confidences of 1 and more, as in DUSt3R; 0 for others and for bad points."""
    usable = points.isfinite().all(dim=-1) & confidence.isfinite() & (confidence > 1)
    return torch.where(usable, at_least_float32(confidence), 1.0).log()


def pixel_grid(image_hw: tuple[int, int], stride: int) -> tuple[slice, slice]:
    """Every stride-th row and column, beginning in the middle of the first stride."""
    height, width = image_hw
    # Images lower than half a stride still have a row.
    return slice(min(stride // 2, height - 1), None, stride), slice(
        min(stride // 2, width - 1), None, stride
    )


class PairCollector:
    """Keeps of the maps of pairs, which come batch by batch, what alignment and decoding need.

    That is a grid of each pair's two own-time maps, and at full resolution one own-time map of
    every frame: that of the pair with the largest mean weight among those whose first frame it is.
    Its confidence is the largest of all pairs whose first frame it is.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], frame_count: int, *, stride: int) -> None:
        self._pairs, self._frame_count, self._stride = pairs, frame_count, stride
        self._filled = 0
        self._points = self._weight = torch.empty(0)
        self._own_score = [-1.0] * frame_count
        self.own_points = self.own_confidence = torch.empty(0)

    def add(self, maps: PairMaps) -> None:
        """Take the maps of the next pairs."""
        points = torch.stack([maps.points[:, 0, 0], maps.points[:, 1, 1]], dim=1)
        confidence = torch.stack([maps.confidence[:, 0, 0], maps.confidence[:, 1, 1]], dim=1)
        points, confidence = at_least_float32(points), at_least_float32(confidence)
        height, width = confidence.shape[-2:]
        grid = (..., *pixel_grid((height, width), self._stride))
        weight = pixel_weight(points, confidence)[grid]
        if self._filled == 0:
            pairs, frames = len(self._pairs), self._frame_count
            # First frames of all pairs, then second ones, in which order alignment takes them.
            self._points = points.new_zeros(2, pairs, 3, *weight.shape[-2:]).transpose(0, 1)
            self._weight = weight.new_zeros(2, pairs, *weight.shape[2:]).transpose(0, 1)
            self.own_points = points.new_zeros(frames, height, width, 3)
            self.own_confidence = confidence.new_zeros(frames, height, width)
        taken = slice(self._filled, self._filled + len(points))
        finite = torch.where(points.isfinite().all(dim=-1, keepdim=True), points, 0.0)
        self._points[taken] = finite.movedim(-1, 2)[grid]
        self._weight[taken] = weight
        scores = weight[:, 0].mean(dim=(1, 2)).tolist()
        for k, (first, _) in enumerate(self._pairs[taken]):
            best = self.own_confidence[first]
            # Confidence that is no number says nothing.
            torch.maximum(best, confidence[k, 0].nan_to_num(0.0, 0.0, 0.0), out=best)
            if scores[k] > self._own_score[first]:
                self._own_score[first] = scores[k]
                self.own_points[first] = points[k, 0]
        self._filled = taken.stop

    def observations(self) -> PairObservations:
        """What was taken, all of which must have been.

        Raises:
            ModelError: Some frame's own map has no finite point, or the pairs do not connect all
                frames, so that nothing relates some of them to the others.
        """
        height, width = self.own_points.shape[1:3]
        rows, columns = pixel_grid((height, width), self._stride)
        own = self.own_points[:, rows, columns]
        own_weight = pixel_weight(own, self.own_confidence[:, rows, columns])
        finite = own.isfinite().all(dim=-1)
        _require_connected(self._pairs, self._frame_count)
        _require_points(finite.flatten(1).any(dim=1).tolist())
        usable = finite & (own[..., 2] > 0)
        own = torch.where(usable[..., None], own, 0.0)
        y = torch.arange(height, device=own.device, dtype=own.dtype)[rows] + 0.5 - height / 2
        x = torch.arange(width, device=own.device, dtype=own.dtype)[columns] + 0.5 - width / 2
        weight = self._weight
        if not weight.any():
            # A network that is sure of nothing is as sure of all pixels.
            weight = (self._points[:, :, 2] != 0).to(weight)
            own_weight = torch.ones_like(own_weight)
        return PairObservations(
            firsts=tuple(first for first, _ in self._pairs),
            seconds=tuple(second for _, second in self._pairs),
            points=self._points,
            weight=weight,
            own_points=own.movedim(-1, 1),
            own_weight=torch.where(usable, own_weight, 0.0),
            centred_xy=torch.stack(torch.meshgrid(x, y, indexing="xy")),
            image_hw=(height, width),
        )


def _require_points(known: Sequence[bool]) -> None:
    """Raises ModelError if a frame has no point."""
    if not all(known):
        bad = [frame for frame, good in enumerate(known) if not good]
        raise ModelError(
            f"the network gave no finite point for frames {bad}; leave them out, or use other "
            "weights"
        )


def _require_connected(pairs: Sequence[tuple[int, int]], frame_count: int) -> None:
    """Raises ModelError if pairs do not relate all frames, or a frame is never a first one."""
    firsts, seconds = zip(*pairs, strict=True)
    graph = coo_array(([1] * len(pairs), (firsts, seconds)), shape=(frame_count, frame_count))
    parts, part_of = connected_components(graph, directed=False)
    if parts > 1 or len(set(firsts)) < frame_count:
        raise ModelError(
            f"{len(pairs)} pairs leave {frame_count} frames in {parts} parts (of frames "
            f"{part_of.tolist()}) or some frame never first; give pairs in both directions that "
            "connect all frames"
        )
