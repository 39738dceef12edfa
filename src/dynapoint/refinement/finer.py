"""Maps as fine as pictures: near edges of depth, pixels go to the side that their colour is of.

A network answers in blocks, so that its edges lie pixels off those of the pictures, and between two
surfaces its depth goes over from one to the other. Each finer pixel is a mix of few coarse pixels.
Away from edges these are the four around it, bilinearly; near them the pixels of a square vote, by
how near they are, how alike in colour, and how far from edges of depth themselves. A vote is the
inverse depth that the voter's plane has at the pixel, so that planes are left as they are. What the
weighted median (found by reweighting) is not near of has no part, so that nothing comes to hang
between two surfaces; and what moves is not mixed with what does not. Coarse maps are sharpened in
the same way first, which moves edges farther than one vote reaches.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from dynapoint.geometry.arrays import points_on_rays
from dynapoint.models.kept.correction import MOVING
from dynapoint.models.kept.finer_maps import TAPS, WHOLE, FinerMaps, Mix, doubted, nearest_places
from dynapoint.refinement.setting import Answer

# How votes fall with the distance in coarse pixels, with the difference in colour (levels of 255 of
# CIELAB), and with the voter's own contrast of depth.
_ALIKE, _FLAT = 12.0, 0.15
_UNUSABLE, _UNLIKE = 1e-6, 1e-9
# From this contrast within two pixels on they vote.
_EDGE = 0.25
# The curvature of inverse depth is looked at over so many pixels.
_SPANS = (1, 2, 3)
# A plane is followed no further than to these multiples of the voter's inverse depth.
_LEAST_PART, _MOST_PART = 0.5, 2.0
_ROUNDS, _CORE, _SAME_SIDE = 2, 0.02, 0.15
# Points this far off the rays of their pixels, in medians of depth, stay so far off.
_OFF_RAY = 1e-4
# Depths are clipped to this many medians, either way; what lies beyond keeps its points.
_MOST_MEDIANS = 1e6
_MOSTLY = 0.5
_THREADS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class _Circle:
    """Who votes: coarse pixels up to so far away, and how their votes fall with distance."""

    reach: int
    near_px: float

    @property
    def side(self) -> int:
        return 2 * self.reach + 1


_FIRST, _LAST = _Circle(reach=5, near_px=3.0), _Circle(reach=2, near_px=1.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """A frame's coarse map, as voters see it."""

    inverse: Float32[np.ndarray, "rows columns"]
    colors: Float32[np.ndarray, "rows columns channel"]
    usable: Bool[np.ndarray, "rows columns"]
    moves: Bool[np.ndarray, "rows columns"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mixed:
    """What became of a frame: inverse depth and which taps have which shares."""

    inverse: Float32[np.ndarray, "height width"]
    taps: UInt8[np.ndarray, "height width tap"]
    shares: UInt8[np.ndarray, "height width tap"]


def finer_maps(
    colors: UInt8[np.ndarray, "frame height width rgb=3"],
    answer: Answer,
    evidence: UInt8[np.ndarray, "frame rows columns"] | None = None,
) -> tuple[Answer, FinerMaps]:
    """The same answer with maps of the size of pictures that show what the maps show.

    Args:
        colors: The pictures.
        answer: The coarse one; pixels with confidence 0 are used only where there are no others.
        evidence: What is known of the motion of its pixels (`models.kept.correction`).

    Returns:
        Finer maps, and how those of other times follow from coarse ones.
    """
    depth, usable = _usable_depth(answer)
    moves = np.zeros(usable.shape, bool) if evidence is None else evidence == MOVING

    def of_frame(frame: int) -> tuple[_Mixed, _Mixed]:
        guide, coarse_guide = _guides(colors[frame], answer.map_hw)
        layer = _Layer(
            inverse=(1 / depth[frame]).astype(np.float32),
            colors=coarse_guide,
            usable=usable[frame],
            moves=moves[frame],
        )
        sharper = mixed(layer, coarse_guide, _FIRST)
        return sharper, mixed(_sharpened(layer, sharper), guide, _LAST)

    with ThreadPoolExecutor(_THREADS) as threads:
        both = list(threads.map(of_frame, range(len(colors))))
    finer = FinerMaps(
        points=torch.from_numpy(np.array(answer.points)),
        sharpened=_mix([sharper for sharper, _ in both], answer.map_hw, _FIRST),
        finer=_mix([fine for _, fine in both], answer.map_hw, _LAST),
    )
    return _finer_answer(answer, depth, finer, [fine.inverse for _, fine in both]), finer


# Votes of what is not alike at all vanish, which is meant, also where NumPy is told to raise.
@np.errstate(all="ignore")
def mixed(
    layer: _Layer, guide: Float32[np.ndarray, "height width channel"], circle: _Circle
) -> _Mixed:
    """Mix a coarse map for the pixels of a guide."""
    hw, coarse_hw = guide.shape[:2], layer.inverse.shape
    votes = _Votes(layer, guide, circle)
    zone = votes.contested()
    row, column = nearest_places(hw[0], coarse_hw[0]), nearest_places(hw[1], coarse_hw[1])
    contested = zone[np.ix_(row, column)]
    inverse = np.empty(hw, dtype=np.float32)
    taps = np.empty((*hw, TAPS), dtype=np.uint8)
    shares = np.empty((*hw, TAPS), dtype=np.uint8)
    for where, weigh in ((contested, votes.judged), (~contested, votes.bilinear)):
        pixels = np.nonzero(where)
        if len(pixels[0]):
            inverse[pixels], taps[pixels], shares[pixels] = weigh(*pixels)
    return _Mixed(inverse=inverse, taps=taps, shares=shares)


class _Votes:
    """The votes of a coarse map's pixels about finer pixels."""

    def __init__(
        self, layer: _Layer, guide: Float32[np.ndarray, "height width channel"], circle: _Circle
    ) -> None:
        self._circle = circle
        self._layer = layer
        self._guide = guide
        self._contrast, grade = _contrast(layer.inverse)
        trust = 1 / (1 + np.square(_largest_around(grade, 1) / _FLAT)) * layer.usable
        # With a border as wide as votes reach, whose pixels do not count.
        self._wide = layer.inverse.shape[1] + 2 * circle.reach
        self._inverse = self._padded(layer.inverse, 1.0)
        self._slopes = [self._padded(_least_slope(layer.inverse, axis)) for axis in (0, 1)]
        self._trust = self._padded((trust + _UNUSABLE).astype(np.float32))
        self._moves = self._padded(layer.moves)
        self._colors = [self._padded(channel) for channel in np.moveaxis(layer.colors, -1, 0)]
        # How far places are from the nearest coarse pixel, and the first pixel of the square.
        self._off, self._first = [], []
        for count, coarse in zip(guide.shape[:2], layer.inverse.shape, strict=True):
            nearest = nearest_places(count, coarse)
            place = (np.arange(count) + 0.5) * coarse / count - 0.5
            self._off.append((place - nearest).astype(np.float32))
            self._first.append(nearest)

    def contested(self) -> Bool[np.ndarray, "rows columns"]:
        """Where surfaces meet, or moving things and others, or not all is usable."""
        moves, usable = (
            each.astype(np.float32) for each in (self._layer.moves, self._layer.usable)
        )
        apart = _largest_around(moves, 2) - (1 - _largest_around(1 - moves, 2)) > 0
        contested: Bool[np.ndarray, "rows columns"] = (
            (_largest_around(self._contrast, 2) > _EDGE)
            | apart
            | (_largest_around(1 - usable, 2) > 0)
        )
        return contested

    def judged(
        self, row: Int64[np.ndarray, " pixel"], column: Int64[np.ndarray, " pixel"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inverse depth, taps and shares of pixels whose surroundings vote."""
        value, weight, moves = self._heard(row, column)
        if moves.any():
            mostly = (weight * moves).sum(axis=0) > _MOSTLY * weight.sum(axis=0)
            weight *= moves == mostly
        middle = np.einsum("vp,vp->p", value, weight) / weight.sum(axis=0)
        for _ in range(_ROUNDS):
            pull = np.abs(value / middle - 1)
            pull = np.divide(weight, pull + np.float32(_CORE), out=pull)
            middle = np.einsum("vp,vp->p", value, pull) / pull.sum(axis=0)
        far = np.square(value - middle) / (value * middle * np.float32(_SAME_SIDE**2))
        # Never quite nothing, as the median may lie near no vote.
        weight /= weight.max(axis=0) * (1 + far) ** 3
        return _of_heaviest(value, weight)

    def bilinear(
        self, row: Int64[np.ndarray, " pixel"], column: Int64[np.ndarray, " pixel"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of pixels between the centres of four that lie on one surface."""
        reach, side = self._circle.reach, self._circle.side
        off = self._off[0][row], self._off[1][column]
        first = self._first[0][row] * self._wide + self._first[1][column]
        ahead = [np.where(each >= 0, 1, -1) for each in off]
        values, weights, taps = [], [], []
        for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
            down, across = reach + step[0] * ahead[0], reach + step[1] * ahead[1]
            at = first + down * self._wide + across
            from_it = off[0] - (down - reach), off[1] - (across - reach)
            weight = (1 - np.abs(from_it[0])) * (1 - np.abs(from_it[1]))
            weights.append(weight * (self._trust[at] > 0))
            values.append(self._said(at, *from_it))
            taps.append(down * side + across)
        share = np.stack(weights).astype(np.float32)
        return _mean_of(np.stack(values), share / share.sum(axis=0), np.stack(taps))

    def _heard(
        self, row: Int64[np.ndarray, " pixel"], column: Int64[np.ndarray, " pixel"]
    ) -> tuple[
        Float32[np.ndarray, "voter pixel"],
        Float32[np.ndarray, "voter pixel"],
        Bool[np.ndarray, "voter pixel"],
    ]:
        """What each says of the inverse depth, how much it counts, and whether it moves."""
        reach, side = self._circle.reach, self._circle.side
        off = self._off[0][row], self._off[1][column]
        first = self._first[0][row] * self._wide + self._first[1][column]
        here = self._guide[row, column].T.copy()
        shape = (side**2, len(row))
        value, weight = np.empty(shape, np.float32), np.empty(shape, np.float32)
        moves = np.empty(shape, bool)
        steps = np.arange(-reach, reach + 1, dtype=np.float32)[:, None]
        near = [np.exp(-np.square(each - steps) / (2 * self._circle.near_px**2)) for each in off]
        for tap in range(side**2):
            down, across = divmod(tap, side)
            at = first + (down * self._wide + across)
            unlike = np.zeros(len(row), np.float32)
            for channel, ours in zip(self._colors, here, strict=True):
                unlike += np.square(channel.take(at) - ours)
            alike = np.exp(unlike * np.float32(-1 / _ALIKE**2)) + np.float32(_UNLIKE)
            weight[tap] = alike * near[0][down] * near[1][across] * self._trust.take(at)
            value[tap] = self._said(at, off[0] - steps[down], off[1] - steps[across])
            moves[tap] = self._moves.take(at)
        return value, weight, moves

    def _said(
        self, at: Int64[np.ndarray, " pixel"], down: np.ndarray, across: np.ndarray
    ) -> Float32[np.ndarray, " pixel"]:
        """The inverse depth that voters' planes have so far from them."""
        own = self._inverse.take(at)
        said = own + self._slopes[0].take(at) * down + self._slopes[1].take(at) * across
        said = np.maximum(said, np.float32(_LEAST_PART) * own)
        return np.minimum(said, np.float32(_MOST_PART) * own).astype(np.float32)

    def _padded(self, values: np.ndarray, border: float = 0.0) -> np.ndarray:
        return np.pad(values, self._circle.reach, constant_values=border).reshape(-1)


def _of_heaviest(
    value: Float32[np.ndarray, "voter pixel"], weight: Float32[np.ndarray, "voter pixel"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean values of the votes that weigh most, whose they are, and their shares."""
    chosen, heavy = [], []
    pixels = np.arange(value.shape[1])
    for _ in range(TAPS):
        most = weight.argmax(axis=0)
        chosen.append(most)
        heavy.append(weight[most, pixels])
        weight[most, pixels] = -1
    voters, share = np.stack(chosen), np.maximum(np.stack(heavy), 0)
    return _mean_of(value[voters, pixels], share / share.sum(axis=0), voters)


def _mean_of(
    said: Float32[np.ndarray, "tap pixel"],
    share: Float32[np.ndarray, "tap pixel"],
    taps: Int64[np.ndarray, "tap pixel"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, whose shares it is made of, and these in whole parts; the first takes the rest."""
    # By differences, so that what is the same everywhere stays so to the last bit.
    mean = said[0] + ((said - said[0]) * share).sum(axis=0)
    parts = np.round(share * WHOLE).astype(np.int64)
    parts[0] = WHOLE - parts[1:].sum(axis=0)
    return mean, taps.T.astype(np.uint8), parts.T.astype(np.uint8)


def _usable_depth(
    answer: Answer,
) -> tuple[Float64[np.ndarray, "frame rows columns"], Bool[np.ndarray, "frame rows columns"]]:
    """Depths that are all finite and ahead, and which of them can be used."""
    depth = answer.depth
    ahead = np.isfinite(depth) & (depth > 0)
    for each, good in zip(depth, ahead, strict=True):
        usual = np.median(each[good]) if good.any() else 1.0
        each[~good] = usual
        np.clip(each, usual / _MOST_MEDIANS, usual * _MOST_MEDIANS, out=each)
    return depth, ahead & (answer.confidence > 0)


def _guides(
    color: UInt8[np.ndarray, "height width rgb=3"], coarse_hw: tuple[int, int]
) -> tuple[
    Float32[np.ndarray, "height width channel"], Float32[np.ndarray, "rows columns channel"]
]:
    """Colours of a picture as people tell them apart (CIELAB, 8 bits), at both sizes."""
    import cv2  # noqa: PLC0415 - slow to import.

    coarse = cv2.resize(color, coarse_hw[::-1], interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(cv2.cvtColor(color, cv2.COLOR_RGB2LAB), (0, 0), 0.7)
    return smooth.astype(np.float32), cv2.cvtColor(coarse, cv2.COLOR_RGB2LAB).astype(np.float32)


def _contrast(
    inverse: Float32[np.ndarray, "rows columns"],
) -> tuple[Float32[np.ndarray, "rows columns"], Float32[np.ndarray, "rows columns"]]:
    """By how much inverse depth bends, in parts of itself: 0 on planes, however they slant.

    The far side of an edge bends by more parts, and so gives way to the near one.

    The largest over all spans, and the largest per pixel of span, which falls away from an edge.
    """
    bend, grade = np.zeros_like(inverse), np.zeros_like(inverse)
    for along, most, graded in ((inverse, bend, grade), (inverse.T, bend.T, grade.T)):
        for span in _SPANS:
            here, middle = slice(span, -span), along[span:-span]
            turn = np.abs(along[2 * span :] + along[: -2 * span] - 2 * middle) / middle
            most[here] = np.maximum(most[here], turn)
            graded[here] = np.maximum(graded[here], turn / np.float32(span))
    return bend, grade


def _least_slope(
    inverse: Float32[np.ndarray, "rows columns"], axis: int
) -> Float32[np.ndarray, "rows columns"]:
    """The smaller of the steps to both neighbours along an axis; 0 where they disagree in sign."""
    step = np.diff(inverse, axis=axis)
    first, last = step.take([0], axis), step.take([-1], axis)
    before = np.concatenate([first, step], axis=axis)
    after = np.concatenate([step, last], axis=axis)
    smaller = np.where(np.abs(before) < np.abs(after), before, after)
    return np.where(before * after > 0, smaller, np.float32(0))


def _largest_around(
    values: Float32[np.ndarray, "rows columns"], reach: int
) -> Float32[np.ndarray, "rows columns"]:
    import cv2  # noqa: PLC0415 - slow to import.

    side = 2 * reach + 1
    return np.asarray(cv2.dilate(values, np.ones((side, side), dtype=np.uint8)))


def _mix(mixes: list[_Mixed], coarse_hw: tuple[int, int], circle: _Circle) -> Mix:
    taps, shares = (
        torch.from_numpy(np.stack([getattr(each, name) for each in mixes]))
        for name in ("taps", "shares")
    )
    return Mix(taps=taps, shares=shares, reach=circle.reach, coarse_hw=coarse_hw)


def _sharpened(layer: _Layer, sharper: _Mixed) -> _Layer:
    """The coarse map after its first pass."""
    marks = np.stack([layer.usable, layer.moves], axis=-1).astype(np.float32)
    kept = _mix([sharper], layer.usable.shape, _FIRST).of(marks, 0) > _MOSTLY
    return replace(layer, inverse=sharper.inverse, usable=kept[..., 0], moves=kept[..., 1])


def _finer_answer(
    answer: Answer,
    depth: Float64[np.ndarray, "frame rows columns"],
    finer: FinerMaps,
    inverse: list[np.ndarray],
) -> Answer:
    """Points on the rays of finer pixels, as far off them as the coarse points are."""
    height, width = inverse[0].shape
    zoom = np.diag([width / answer.map_hw[1], height / answer.map_hw[0], 1.0])
    intrinsics = zoom @ answer.intrinsics
    points = np.empty((len(inverse), height, width, 3), dtype=np.float32)
    confidence = np.empty(points.shape[:3], dtype=np.float32)
    for frame, pose in enumerate(answer.world_from_camera):
        confidence[frame] = doubted(answer.confidence[frame], (height, width))
        on_rays = points_on_rays(1 / inverse[frame].astype(np.float64), intrinsics[frame], pose)
        off = answer.points[frame] - points_on_rays(depth[frame], answer.intrinsics[frame], pose)
        if np.abs(off).max() > _OFF_RAY * np.median(depth[frame]):
            on_rays += finer.carried(off, frame)
        points[frame] = on_rays
    return replace(answer, intrinsics=intrinsics, points=points, confidence=confidence)
