"""Loops of a long clip: where a place is seen again, and how its two windows lie to each other.

Candidates look alike (`places`). Features of the two frames must agree with one rigid scene
(`closure_pairs`), and then with what both windows' maps say of it (`closure_fit`). By that the
whole pictures must be alike (`closure_pictures`), not one thing that stands in two places. What
comes of it is a similarity between two ordinary windows, like a registration. No network runs for
it: a window made of frames of both places and registered to both was no more exact, cost more, and
failed where the views differ more than flow can follow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from dynapoint.geometry.sim3 import scale_of
from dynapoint.refinement.shared_features import Features, features_in
from dynapoint.windows.closure_fit import (
    EXPLAINED_PX,
    ClosureFit,
    fit_closure,
    things_of,
)
from dynapoint.windows.closure_pairs import PairCheck, check_pair
from dynapoint.windows.closure_pictures import SeenAgain, seen_again
from dynapoint.windows.places import Candidate
from dynapoint.windows.spans import Window
from dynapoint.windows.window_maps import WindowMaps

_PICTURE_SIDE = 640
# Beside the two frames themselves, frames this share of a window before and behind either.
_BESIDE = 0.125
_MOST_MATCHES_OF_PAIR = 150
_FEWEST_THINGS, _LEAST_EXPLAINED = 20, 0.3
_MOST_LOG_DEPTH, _MOST_SCALE = 0.25, 4.0
_MOST_SIGMA_DEG, _MOST_SIGMA_WAY = 1.5, 0.05
_LEAST_OVERLAP, _LEAST_ALIKE = 0.15, 0.55
# At most one closure for so many windows, and so many for each window.
_WINDOWS_PER_CLOSURE, _CLOSURES_OF_WINDOW = 4, 2
# Candidates looked at for each closure wanted, and refusals after which a region is left alone.
_TRIES_PER_CLOSURE, _MOST_REFUSALS = 4, 2

PictureOf = Callable[[int], UInt8[np.ndarray, "height width"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Closure:
    """How two windows that see one place lie to each other, and whether that may be used.

    Attributes:
        candidate: The frames and windows.
        first_from_second: [s·R | t], from the second window's world to the first's.
        information: Inverse covariance of its right perturbation [rotation, translation, logarithm
            of scale], as `registration.Registration` has it; 0 where it is refused.
        pairs: How many pairs of frames it rests on.
        matches: How many matches of these have a known place in both worlds.
        explained: The share of them seen within 3 pixels (of pictures of 256) both ways.
        residual_log_depth: The median difference of their logarithms of depth.
        sigma_deg: How far the turn may be off.
        sigma_way: How far the way may be, as a share of the distance of what is seen.
        overlap: The share of the first frame's pixels that lie in the second's picture.
        alike: The share of those with texture around which the pictures correlate.
        refused: Why it may not be used, with numbers, for people; None if it may.
    """

    candidate: Candidate
    first_from_second: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "7 7"]
    pairs: int = 0
    matches: int = 0
    explained: float = 0.0
    residual_log_depth: float = np.nan
    sigma_deg: float = np.inf
    sigma_way: float = np.inf
    overlap: float = 0.0
    alike: float = 0.0
    refused: str | None = None


def find_closures(
    candidates: Sequence[Candidate],
    windows: Sequence[Window],
    *,
    picture_of: PictureOf,
    maps_of: Callable[[int], WindowMaps],
) -> tuple[Closure, ...]:
    """Close loops, the most alike frames first; those refused are returned too.

    At most one closure is accepted for every four windows, and two for each window. Neighbours of
    windows that are joined already, or that were refused twice, are not tried.

    Args:
        candidates: What `Places.candidates` gave.
        windows: The windows that they speak of.
        picture_of: Gives the grey picture of a frame of the clip, which shows what its maps show.
            Larger ones than 640 pixels are made smaller.
        maps_of: Gives what a window says, by its index.
    """
    wanted = max(1, len(windows) // _WINDOWS_PER_CLOSURE)
    tried: list[Closure] = []
    for candidate in candidates:
        accepted = [each for each in tried if each.refused is None]
        if len(accepted) >= wanted or len(tried) >= wanted * _TRIES_PER_CLOSURE:
            break
        if _is_idle(candidate, tried):
            continue
        tried.append(close(candidate, windows, picture_of=picture_of, maps_of=maps_of))
    return tuple(tried)


def close(
    candidate: Candidate,
    windows: Sequence[Window],
    *,
    picture_of: PictureOf,
    maps_of: Callable[[int], WindowMaps],
) -> Closure:
    """Check one candidate and find its similarity; arguments are those of `find_closures`."""
    pictures = _Pictures(picture_of)
    main = pictures.check(candidate.first, candidate.second)
    if main.refused is not None:
        return _refused(candidate, main.refused)
    first, second = maps_of(candidate.first_window), maps_of(candidate.second_window)
    checked = [(candidate.first, candidate.second, main)]
    for pair in _pairs_beside(candidate, windows):
        check = pictures.check(*pair)
        if check.refused is None:
            checked.append((*pair, check))
    to_maps = np.array(first.confidence.shape[:0:-1]) / pictures.hw[::-1]
    pairs = []
    for first_frame, second_frame, check in checked:
        some = slice(None, None, -(-check.inliers // _MOST_MATCHES_OF_PAIR))
        places = check.first_px[some] * to_maps, check.second_px[some] * to_maps
        pairs.append((first_frame, second_frame, *places))
    things = things_of(first, second, pairs)
    if len(things) < _FEWEST_THINGS:
        return _refused(
            candidate,
            f"{len(things)} matches have a sure place in both windows, not {_FEWEST_THINGS}",
        )
    fit = fit_closure(things)
    again = seen_again(
        (pictures.grey(candidate.first), pictures.grey(candidate.second)),
        (first, second),
        (candidate.first, candidate.second),
        fit.first_from_second,
    )
    return _judged(candidate, len(pairs), fit, again)


class _Pictures:
    """Pictures of the frames of one candidate and their features, each asked for once."""

    def __init__(self, picture_of: PictureOf) -> None:
        self._picture_of = picture_of
        self._pictures: dict[int, UInt8[np.ndarray, "height width"]] = {}
        self._features: dict[int, Features] = {}

    @property
    def hw(self) -> tuple[int, int]:
        """The size of the pictures, once one was asked for."""
        height, width = next(iter(self._pictures.values())).shape
        return height, width

    def check(self, first: int, second: int) -> PairCheck:
        """Whether two frames show one place."""
        features = self._of(first), self._of(second)
        return check_pair(*features, self.hw)

    def grey(self, frame: int) -> UInt8[np.ndarray, "height width"]:
        """A picture of at most 640 pixels."""
        import cv2  # noqa: PLC0415 - slow to import.

        if frame not in self._pictures:
            picture = self._picture_of(frame)
            scale = _PICTURE_SIDE / max(picture.shape)
            if scale < 1.0:
                size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
                picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
            self._pictures[frame] = picture
        return self._pictures[frame]

    def _of(self, frame: int) -> Features:
        if frame not in self._features:
            self._features[frame] = features_in(self.grey(frame))
        return self._features[frame]


def _pairs_beside(candidate: Candidate, windows: Sequence[Window]) -> list[tuple[int, int]]:
    """Either frame with frames before and behind the other one."""

    def beside(frame: int, window: Window) -> list[int]:
        place, count = window.frames.index(frame), len(window.frames)
        step = max(1, round(_BESIDE * count))
        near = (place - step, place + step)
        return [window.frames[each] for each in near if 0 <= each < count]

    first, second = candidate.first, candidate.second
    return [
        *((each, second) for each in beside(first, windows[candidate.first_window])),
        *((first, each) for each in beside(second, windows[candidate.second_window])),
    ]


def _judged(candidate: Candidate, pairs: int, fit: ClosureFit, again: SeenAgain) -> Closure:
    """Whether what was found may be used."""
    agree = fit.missed_px < EXPLAINED_PX
    explained = float(agree.mean())
    off_depth = float(np.median(fit.off_log_depth))
    scale = float(scale_of(fit.first_from_second))
    refused = None
    if explained < _LEAST_EXPLAINED:
        refused = (
            f"one similarity of the two windows explains {explained:.0%} of {len(agree)} matches"
        )
    elif off_depth > _MOST_LOG_DEPTH:
        refused = f"half of the depths differ by more than {np.expm1(off_depth):.0%}"
    elif not 1 / _MOST_SCALE < scale < _MOST_SCALE:
        refused = f"one window would be {max(scale, 1 / scale):.1f} times as large as the other"
    elif fit.sigma_deg > _MOST_SIGMA_DEG or fit.sigma_way > _MOST_SIGMA_WAY:
        refused = (
            f"the turn may be off by {fit.sigma_deg:.1f} degrees, and the way by "
            f"{fit.sigma_way:.0%} of the distance"
        )
    elif again.overlap < _LEAST_OVERLAP or again.alike < _LEAST_ALIKE:
        refused = (
            f"by that {again.overlap:.0%} of the first picture lies in the second, and "
            f"{again.alike:.0%} of it looks the same there"
        )
    return Closure(
        candidate=candidate,
        first_from_second=fit.first_from_second,
        information=fit.information if refused is None else np.zeros((7, 7)),
        pairs=pairs,
        matches=len(agree),
        explained=explained,
        residual_log_depth=off_depth,
        sigma_deg=fit.sigma_deg,
        sigma_way=fit.sigma_way,
        overlap=again.overlap,
        alike=again.alike,
        refused=refused,
    )


def _refused(candidate: Candidate, why: str) -> Closure:
    return Closure(
        candidate=candidate,
        first_from_second=np.eye(4),
        information=np.zeros((7, 7)),
        refused=why,
    )


def _is_idle(candidate: Candidate, tried: Sequence[Closure]) -> bool:
    """Whether windows beside were joined, or refused too often, or one is joined often enough."""
    refusals = 0
    uses = {candidate.first_window: 0, candidate.second_window: 0}
    for each in tried:
        other = each.candidate
        beside = (
            abs(candidate.first_window - other.first_window) <= 1
            and abs(candidate.second_window - other.second_window) <= 1
        )
        if each.refused is None:
            for window in (other.first_window, other.second_window):
                if window in uses:
                    uses[window] += 1
            if beside:
                return True
        else:
            refusals += beside
    return refusals >= _MOST_REFUSALS or max(uses.values()) >= _CLOSURES_OF_WINDOW
