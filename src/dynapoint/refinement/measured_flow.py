"""Where the pixels of two pictures lie in each other, measured in the pictures, from guesses.

For answers in pictures the pictures have the last word: geometry guesses where pixels go, and flow
finds it to a fraction of a pixel wherever there is something to see.

1. **Guess.** The flow that is given, unless a search without any explains the pictures better
   around a pixel; of what stands still the guess is given more credit.
2. **Flow** (OpenCV's DIS, Kroeger et al. 2016) from there, smoother than its presets make it,
   because plain surfaces are where it errs most; then a variational step that may bend more.
3. **Choice.** What stands still, and explains the pictures about as well where it would lie, is
   there: geometry is exact where it is right, and plain surfaces tell flow little. Where the way
   there and back does not come home, flow has to explain much more to be believed, and what is not
   known to stand still is where more is explained.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from dynapoint.refinement.flow import warped

# DIS finds nothing in smaller pictures; they are continued at their edges up to this.
_SMALLEST_SIDE_PX = 32
# The search without a guess takes pictures of this longer side.
_COARSE_SIDE_PX = 256
# Differences of grey levels beyond this count as this.
_MOST_LEVELS = 30.0
_AROUND_SIGMA_PX = 2.0
# By so many grey levels a guess may explain pictures worse and still be the start.
_CREDIT, _CREDIT_OF_STILL = 1.0, 3.0
# Smoothness of flow: of the search, and of the last step (OpenCV's presets: 20).
_SMOOTH, _SMOOTH_LAST = 40.0, 8.0
_LAST_ITERATIONS = 3
# Still things are where geometry has them unless flow explains so many grey levels more around:
# where it comes home within so many pixels, and where it ends farther from it.
_PREFERENCE, _PREFERENCE_LOST = 1.0, 6.0
_HOME_PX, _LOST_PX = 1.0, 3.0
_CHOICE_SIDE_PX = 7

_Picture = UInt8[np.ndarray, "height width"]
_Flow = Float32[np.ndarray, "height width xy=2"]
_Values = Float32[np.ndarray, "height width"]
_OtherPicture = UInt8[np.ndarray, "rows columns"]
_OtherFlow = Float32[np.ndarray, "rows columns xy=2"]
_OtherValues = Float32[np.ndarray, "rows columns"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Guess:
    """Where the pixels of a map would lie in the other picture.

    Attributes:
        flow: In pixels of the map.
        still: Which are known to show what stands still, so that the guess is exact but for errors
            of depth and cameras.
    """

    flow: Float32[np.ndarray, "rows columns xy=2"]
    still: Bool[np.ndarray, "rows columns"]


def measured_flow(
    first: UInt8[np.ndarray, "height width"],
    second: UInt8[np.ndarray, "height width"],
    there: Guess,
    back: Guess,
) -> tuple[Float32[np.ndarray, "rows columns xy=2"], Float32[np.ndarray, "rows columns xy=2"]]:
    """Flow at the pixels of the maps of two pictures, there and back.

    Args:
        first: What the first map shows, grey, of any size.
        second: The same of the other one.
        there: Guess for the pixels of the first map.
        back: For those of the second.

    Returns:
        Flow in pixels of the maps, exactly the guess where that is taken.
    """
    ways = (first, second, there), (second, first, back)
    with ThreadPoolExecutor(len(ways)) as threads:
        found = list(threads.map(lambda way: _found(*way), ways))
    return (
        _chosen(first, second, there, found[0], found[1]),
        _chosen(second, first, back, found[1], found[0]),
    )


def _given(guess: Guess, hw: tuple[int, ...]) -> _OtherFlow:
    """A guess at the pixels of pictures; far beyond these it makes no difference how far."""
    farthest = np.float32(2 * max(guess.still.shape))
    return _resized(np.clip(guess.flow, -farthest, farthest), hw)


def _found(one: _Picture, other: _Picture, guess: Guess) -> _Flow:
    """Flow from one picture to the other, in pixels of the pictures."""
    stays = _nearest(guess.still.astype(np.float32), one.shape)
    start = _start(one, other, _given(guess, one.shape), stays)
    return _bent(one, other, _searched(one, other, start, _SMOOTH))


def _chosen(one: _Picture, other: _Picture, guess: Guess, found: _Flow, back: _Flow) -> _OtherFlow:
    """Flow or the guess, at the pixels of the map."""
    hw = guess.still.shape
    miss = np.linalg.norm(found + warped(back, found), axis=-1)
    lost = _at_centres(np.clip((miss - _HOME_PX) / (_LOST_PX - _HOME_PX), 0, 1), hw)
    costs = [_boxed(_differences(one, other, flow)) for flow in (_given(guess, one.shape), found)]
    worse = _at_centres(costs[0] - costs[1], hw)
    of_still = _PREFERENCE + (_PREFERENCE_LOST - _PREFERENCE) * lost
    of_others = np.where(lost == 1, 0.0, -np.inf)
    keeps = worse < np.where(guess.still, of_still, of_others)
    return np.where(keeps[..., None], guess.flow, _resized(found, hw))


def _start(first: _Picture, second: _Picture, given: _Flow, stays: _Values) -> _Flow:
    """The guess, or what a coarse search finds where that explains the pictures better."""
    hw = first.shape
    shrink = min(1.0, _COARSE_SIDE_PX / max(hw))
    small = tuple(max(1, round(side * shrink)) for side in hw)
    one, other = _shrunk(first, small), _shrunk(second, small)
    guess, searched = _resized(given, small), _searched(one, other, None, None)
    credit = _CREDIT + (_CREDIT_OF_STILL - _CREDIT) * _nearest(stays, small)
    costs = [_blurred(_differences(one, other, flow)) for flow in (guess, searched)]
    taken = (costs[0] <= costs[1] + credit)[..., None]
    return _resized(np.where(taken, guess, searched), hw)


def _searched(one: _Picture, other: _Picture, start: _Flow | None, smooth: float | None) -> _Flow:
    """DIS, from a first guess if there is one."""
    import cv2  # noqa: PLC0415 - slow to import.

    height, width = one.shape
    padding = [(0, max(0, _SMALLEST_SIDE_PX - side)) for side in (height, width)]
    one, other = (np.pad(each, padding, mode="edge") for each in (one, other))
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    if smooth is not None:
        search.setVariationalRefinementAlpha(smooth)
    # OpenCV writes over the guess.
    guess = None if start is None else np.pad(start, [*padding, (0, 0)], mode="edge")
    found: _Flow = search.calc(one, other, guess)[:height, :width]
    return np.ascontiguousarray(found)


def _bent(one: _Picture, other: _Picture, flow: _Flow) -> _Flow:
    """Flow after a last step that makes both pictures alike with little regard to smoothness."""
    import cv2  # noqa: PLC0415 - slow to import.

    step: Any = cv2.VariationalRefinement.create()
    step.setFixedPointIterations(_LAST_ITERATIONS)
    step.setAlpha(_SMOOTH_LAST)
    x, y = step.calcUV(one, other, *(np.ascontiguousarray(flow[..., axis]) for axis in (0, 1)))
    return np.stack([x, y], axis=-1)


def _differences(one: _Picture, other: _Picture, flow: _Flow) -> _Values:
    """How much a picture differs from the other one where flow leads, bounded."""
    drawn = warped(other.astype(np.float32), flow)
    return np.minimum(np.abs(drawn - one), np.float32(_MOST_LEVELS))


def _blurred(values: _Values) -> _Values:
    import cv2  # noqa: PLC0415 - slow to import.

    return cv2.GaussianBlur(values, (0, 0), _AROUND_SIGMA_PX)


def _boxed(values: _Values) -> _Values:
    import cv2  # noqa: PLC0415 - slow to import.

    return cv2.blur(values, (_CHOICE_SIDE_PX, _CHOICE_SIDE_PX))


def _shrunk(picture: _Picture, hw: tuple[int, ...]) -> _OtherPicture:
    import cv2  # noqa: PLC0415 - slow to import.

    return cv2.resize(picture, hw[::-1], interpolation=cv2.INTER_AREA)


def _nearest(values: _Values, hw: tuple[int, ...]) -> _OtherValues:
    import cv2  # noqa: PLC0415 - slow to import.

    return cv2.resize(values, hw[::-1], interpolation=cv2.INTER_NEAREST)


def _at_centres(values: _Values, hw: tuple[int, ...]) -> _OtherValues:
    """Values at the centres of the pixels of another size, from the four around."""
    import cv2  # noqa: PLC0415 - slow to import.

    return cv2.resize(values, hw[::-1], interpolation=cv2.INTER_LINEAR)


def _resized(flow: _Flow, hw: tuple[int, ...]) -> _OtherFlow:
    """Flow at the centres of the pixels of another size, in those pixels."""
    import cv2  # noqa: PLC0415 - slow to import.

    ratio = np.array([hw[1] / flow.shape[1], hw[0] / flow.shape[0]], dtype=np.float32)
    # Without smoothing when it becomes smaller: what is asked for is the flow at a place.
    return cv2.resize(flow, hw[::-1], interpolation=cv2.INTER_LINEAR) * ratio
