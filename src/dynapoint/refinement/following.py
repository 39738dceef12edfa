"""Flow between used frames by way of the pictures between them, and paths of points along it.

Direct flow between two frames fails where things went far; flow from picture to picture does not,
but its errors add up. Here both are made, and the better one is taken at every pixel:

1. **Steps.** Pictures between two used frames are skipped while little moves
   (`Following.step_px`): fewer steps drift less. The flow of a step, both ways, is OpenCV's DIS
   (Kroeger et al. 2016).
2. **Chain.** Every pixel of a used frame is carried on by the flow at the place it has reached.
3. **Correction.** The other frame is drawn as the chain says it moved, and direct flow finds what
   is left, so that no drift remains where the chain came near.
4. **Choice.** Of the corrected chain and the direct flow, the one whose way there and back ends
   nearer to where it began, averaged over the surroundings.
5. **Weight.** By that distance, large where a point is hidden in the other frame; by how alike the
   surroundings look in both, as hidden things agree with each other by chance; by whether the flow
   presses an area together, as it does where one thing slides before another; and by texture,
   without which any flow agrees with any other. 0 where a point leaves the picture.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from dynapoint.errors import ShapeError
from dynapoint.progress import steps
from dynapoint.refinement.flow import FlowField, pixel_indices, warped

# DIS finds nothing in smaller pictures; they are continued at their edges up to this.
_SMALLEST_SIDE_PX = 32
# How motion is measured in passing: pictures this much smaller are good to a pixel or so.
_SCOUT_SHRINK = 4
# Weights below this are made up from the surroundings before a picture is drawn by the flow.
_SURE = 0.5
_FILL_SIGMA_PX = 6.0
_CHOICE_SIGMA_PX = 3.0
_FAR_PX = 8.0
_AROUND_SIGMA_PX = 2.0
_TEXTURE_SIGMA_PX = 3.0
# Likeness is a correlation over the surroundings, in which noise of so many grey levels counts as
# alike; the weight rises from 0 to 1 between the two bounds.
_LIKENESS_SIGMA_PX = 2.0
_NOISE_LEVELS = 4.0
_LIKENESS_FROM, _LIKENESS_TO = 0.6, 0.9
# An area that becomes so much of itself has weight 0, or up to 1.
_PRESSED, _KEPT = 0.3, 0.6

_Picture = UInt8[np.ndarray, "height width"]
_Flow = Float32[np.ndarray, "height width xy=2"]
_Finder = Callable[[_Picture, _Picture], _Flow]
_Values = Float32[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class Following:
    """How points are followed; lengths in pixels of the small pictures.

    Attributes:
        step_px: Pictures are skipped until one pixel in twenty has moved as far.
        longest_step: No more pictures than this make one step.
        agreement_px: Where the way there and back ends this far from its beginning, the weight is
            1/e; at twice as much it is 0.
        texture: Smaller eigenvalue of the structure tensor, in squared grey levels per pixel, at
            which a lack of texture takes 1/e of the weight; 0 leaves texture out.
    """

    step_px: float = 4.0
    longest_step: int = 4
    agreement_px: float = 1.5
    texture: float = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Followed:
    """Flow between neighbouring used frames.

    Attributes:
        forward: From each used frame to the next one.
        backward: From each used frame but the first to the one before: `backward[k]` belongs to
            the pixels of frame k + 1 and leads to frame k.
        steps: By how many steps each pair was followed; 1 is direct flow alone.
    """

    forward: tuple[FlowField, ...]
    backward: tuple[FlowField, ...]
    steps: Int64[np.ndarray, " pair"]


def follow(
    pictures: UInt8[np.ndarray, "picture height width"],
    used: Int64[np.ndarray, " frame"],
    *,
    settings: Following | None = None,
    threads: int | None = None,
) -> Followed:
    """Follow all pixels from each used frame to its neighbours, through the pictures between.

    Takes 16 bytes a pixel for every step between two used frames, beside the result.

    Args:
        pictures: In the order of time, e.g. `data.between.Between.pictures`.
        used: Where the used frames stand among them, strictly increasing.
        settings: How.
        threads: Pairs that are worked on at once; the number of processors unless it is given.
            The result is the same for any.

    Raises:
        ShapeError: `used` are no strictly increasing indices of pictures.
    """
    if len(used) == 0 or used[0] < 0 or used[-1] >= len(pictures) or (np.diff(used) <= 0).any():
        raise ShapeError(
            f"used frames {used.tolist()} are not strictly increasing indices of "
            f"{len(pictures)} pictures; give such ones"
        )
    settings = settings or Following()
    gaps = [pictures[first : last + 1] for first, last in pairwise(used.tolist())]
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        found = pool.map(lambda gap: _follow_pair(gap, settings), gaps)
        pairs = list(steps(found, "following", total=len(gaps)))
    return Followed(
        forward=tuple(pair[0] for pair in pairs),
        backward=tuple(pair[1] for pair in pairs),
        steps=np.array([pair[2] for pair in pairs], dtype=np.int64),
    )


def pictures_kept(
    pictures: UInt8[np.ndarray, "picture height width"], settings: Following
) -> list[int]:
    """Indices of the pictures between which flow is worked out, the first and last included."""
    last = len(pictures) - 1
    shrink = _SCOUT_SHRINK
    while shrink > 1 and min(pictures.shape[1:]) < shrink * _SMALLEST_SIDE_PX:
        shrink //= 2
    size = pictures.shape[2] // shrink, pictures.shape[1] // shrink
    small = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in pictures]
    scout = _flow_finder(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST, finest_scale=0)
    kept = [0]
    for index in range(1, last + 1):
        if index - kept[-1] > 1:
            flow = scout(small[kept[-1]], small[index])
            # So long a step is too long, and the picture before is needed.
            if np.percentile(_lengths(flow), 95) * shrink > settings.step_px:
                kept.append(index - 1)
        if index < last and index - kept[-1] >= settings.longest_step:
            kept.append(index)
    return [*kept, last]


def _follow_pair(
    pictures: UInt8[np.ndarray, "picture height width"], settings: Following
) -> tuple[FlowField, FlowField, int]:
    """Flow from the first picture to the last one and back, and by how many steps."""
    height, width = pictures.shape[1:]
    first, last = pictures[0], pictures[-1]
    below, beside = (max(0, _SMALLEST_SIDE_PX - side) for side in (height, width))
    if below or beside:
        pictures = np.pad(pictures, ((0, 0), (0, below), (0, beside)), mode="edge")
    accurate = _flow_finder(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, finest_scale=0)
    there = accurate(pictures[0], pictures[-1])
    back = accurate(pictures[-1], pictures[0])
    kept = pictures_kept(pictures, settings) if len(pictures) > 2 else [0, 1]
    if len(kept) > 2:
        chain = _corrected_chain([pictures[each] for each in kept], accurate, settings)
        there, back = _better(chain, (there, back))
    there, back = there[:height, :width], back[:height, :width]
    forward, backward = (
        FlowField(
            flow=np.ascontiguousarray(flow),
            weight=_agreement(flow, other, settings.agreement_px)
            * texture_weight(source, settings.texture)
            * _likeness_weight(source, warped(target, flow))
            * _area_weight(flow),
        )
        for flow, other, source, target in (
            (there, back, first, last),
            (back, there, last, first),
        )
    )
    return forward, backward, len(kept) - 1


def _corrected_chain(
    pictures: Sequence[_Picture], accurate: _Finder, settings: Following
) -> tuple[_Flow, _Flow]:
    """Flow from the first picture to the last and back by steps, without their drift."""
    quick = _flow_finder(cv2.DISOPTICAL_FLOW_PRESET_FAST, finest_scale=1)
    onward = [quick(one, other) for one, other in pairwise(pictures)]
    homeward = [quick(other, one) for one, other in pairwise(pictures)]
    there = _chained(onward)
    back = _chained(homeward[::-1])
    weights = [
        _agreement(there, back, settings.agreement_px),
        _agreement(back, there, settings.agreement_px),
    ]
    first, last = pictures[0], pictures[-1]
    return (
        _corrected(there, weights[0], first, last, accurate),
        _corrected(back, weights[1], last, first, accurate),
    )


def _flow_finder(preset: int, *, finest_scale: int) -> _Finder:
    """What finds flow from one picture to another; for one thread only."""
    dis: Any = cv2.DISOpticalFlow.create(preset)
    dis.setFinestScale(finest_scale)
    # A flow given as the third is a first guess.
    return lambda one, other: dis.calc(one, other, None)


def _chained(steps: Sequence[_Flow]) -> _Flow:
    """Displacements of all pixels by one step after the other."""
    flow = steps[0]
    for step in steps[1:]:
        flow = flow + warped(step, flow)
    return flow


def _corrected(
    flow: _Flow, weight: _Values, source: _Picture, target: _Picture, accurate: _Finder
) -> _Flow:
    """Flow with what direct flow to the target, drawn as the flow says it moved, finds left."""
    smooth = _filled(flow, weight)
    drawn = warped(target, smooth)
    rest = accurate(source, drawn)
    return warped(smooth, rest) + rest


def _filled(flow: _Flow, weight: _Values) -> _Flow:
    """Flow that is continued from the surroundings where it cannot be relied on."""
    some = np.maximum(weight, 1e-3)
    mass = cv2.GaussianBlur(some, (0, 0), _FILL_SIGMA_PX)
    around = cv2.GaussianBlur(flow * some[..., None], (0, 0), _FILL_SIGMA_PX) / mass[..., None]
    own = np.minimum(weight / _SURE, 1)[..., None]
    return own * flow + (1 - own) * around


def _better(chain: tuple[_Flow, _Flow], direct: tuple[_Flow, _Flow]) -> tuple[_Flow, _Flow]:
    """Of two flows there and back, at every pixel the one that agrees better with its way back."""
    chosen = []
    for way in (0, 1):
        misses = [
            cv2.GaussianBlur(
                np.minimum(_miss(flows[way], flows[1 - way]), _FAR_PX), (0, 0), _CHOICE_SIGMA_PX
            )
            for flows in (chain, direct)
        ]
        direct_wins = (misses[1] < misses[0])[..., None]
        chosen.append(np.where(direct_wins, direct[way], chain[way]))
    return chosen[0], chosen[1]


def _agreement(flow: _Flow, back: _Flow, scale_px: float) -> _Values:
    """A weight for flow by how near the way there and back ends; 0 for what leaves the picture."""
    miss = _miss(flow, back)
    # What agrees by chance is seldom as large as what is hidden.
    around = cv2.GaussianBlur(np.minimum(miss, _FAR_PX), (0, 0), _AROUND_SIGMA_PX)
    miss = np.maximum(miss, around)
    weight = np.exp(-np.square(miss / scale_px))
    weight[miss > 2 * scale_px] = 0
    height, width = flow.shape[:2]
    place = pixel_indices(height, width) + flow
    # Pixels are centred at whole numbers here, and the picture ends half a pixel further.
    for axis, side in ((0, width), (1, height)):
        weight[(place[..., axis] < -0.5) | (place[..., axis] > side - 0.5)] = 0
    return weight


def texture_weight(picture: _Picture, texture: float) -> _Values:
    """1 where a picture has texture in all directions, towards 0 where it is smooth or striped."""
    if texture == 0:
        return np.ones(picture.shape, dtype=np.float32)
    x, y = (cv2.Scharr(picture, cv2.CV_32F, *order) / 32 for order in ((1, 0), (0, 1)))
    sigma = _TEXTURE_SIGMA_PX
    xx, xy, yy = (cv2.GaussianBlur(each, (0, 0), sigma) for each in (x * x, x * y, y * y))
    smaller = (xx + yy) / 2 - np.sqrt(np.square((xx - yy) / 2) + xy * xy)
    return 1 - np.exp(-np.maximum(smaller, 0) / np.float32(texture))


def _likeness_weight(one: _Picture, other: _Picture) -> _Values:
    """1 where the surroundings of a pixel look alike in two pictures, 0 where they do not."""
    own, found = one.astype(np.float32), other.astype(np.float32)
    products = (own, found, own * own, found * found, own * found)
    a, b, aa, bb, ab = (cv2.GaussianBlur(each, (0, 0), _LIKENESS_SIGMA_PX) for each in products)
    spread = np.maximum(aa - a * a, 0) * np.maximum(bb - b * b, 0)
    noise = _NOISE_LEVELS**2
    alike = (ab - a * b + noise) / (np.sqrt(spread) + noise)
    weight: _Values = np.clip((alike - _LIKENESS_FROM) / (_LIKENESS_TO - _LIKENESS_FROM), 0, 1)
    return weight


def _area_weight(flow: _Flow) -> _Values:
    """1 where an area keeps its size along the flow, 0 where it is pressed together or folded."""
    if min(flow.shape[:2]) < 2:
        return np.ones(flow.shape[:2], dtype=np.float32)
    smooth = cv2.GaussianBlur(flow, (0, 0), 1)
    down, right = np.gradient(smooth, axis=(0, 1))
    area = (1 + right[..., 0]) * (1 + down[..., 1]) - right[..., 1] * down[..., 0]
    weight: _Values = np.clip((area - _PRESSED) / (_KEPT - _PRESSED), 0, 1)
    return weight


def _miss(flow: _Flow, back: _Flow) -> _Values:
    """How far from its beginning the way there and back ends."""
    return _lengths(flow + warped(back, flow))


def _lengths(flow: _Flow) -> _Values:
    return np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1]))
