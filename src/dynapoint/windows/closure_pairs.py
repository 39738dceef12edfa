"""Whether two frames show the same still things, by their features alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from dynapoint.refinement.shared_features import Features, distinct_matches

# Distances are meant in pixels of pictures whose longer side is this.
SIDE_PX = 256
_AGREES_PX = 1.0
_TURN_AGREES_PX = 2.0
_FEWEST, _LEAST_SHARE = 16, 0.5
# Of the cells of a grid over each picture, so many hold something that agrees.
_CELLS, _FEWEST_CELLS = 8, 7
# What stands in the same pixels of both pictures while little else agrees was laid over them.
_UNMOVED_PX, _UNMOVED_SHARE, _FEW_OF_FEATURES = 0.5, 0.5, 0.12


@dataclass(frozen=True, kw_only=True, eq=False)
class PairCheck:
    """What two frames share.

    Attributes:
        first_px: Where still things are seen in the first picture, in its pixels.
        second_px: Where the same are seen in the second one.
        matches: How many features look the same in both.
        share: The share of them that agree with a camera that went from one place to another, or
            turned.
        cells: How many cells of a grid of 8 columns hold some that agree, in the picture with
            fewer.
        model: "epipolar", or "homography" where the camera only turned, or saw a plane.
        refused: Why the frames may not show the same place, with numbers; None if they do.
    """

    first_px: Float64[np.ndarray, "agreeing xy=2"]
    second_px: Float64[np.ndarray, "agreeing xy=2"]
    matches: int
    share: float
    cells: int
    model: Literal["epipolar", "homography"]
    refused: str | None

    @property
    def inliers(self) -> int:
        """How many matches agree."""
        return len(self.first_px)


def check_pair(first: Features, second: Features, picture_hw: tuple[int, int]) -> PairCheck:
    """Match the features of two pictures of one size and ask whether one rigid scene explains them.

    The lens does not matter, so that a focal length that is off costs no match.

    Args:
        first: Of one frame.
        second: Of another.
        picture_hw: Size of both pictures.
    """
    places = _matches(first, second)
    if len(places[0]) < _FEWEST:
        return _refused(f"{len(places[0])} features match, not {_FEWEST}")
    pixel = max(picture_hw) / SIDE_PX
    agree, model = _agreeing(*places, pixel)
    first_px, second_px = places[0][agree], places[1][agree]
    share = float(agree.mean())
    cells = min(_cells(each, picture_hw) for each in (first_px, second_px))
    moved = np.linalg.norm(first_px - second_px, axis=1) > _UNMOVED_PX * pixel
    of_features = len(first_px) / min(len(first), len(second))
    refused = None
    if len(first_px) < _FEWEST or share < _LEAST_SHARE:
        refused = f"{len(first_px)} of {len(agree)} matches agree with one motion of the camera"
    elif cells < _FEWEST_CELLS:
        refused = f"what agrees lies in {cells} parts of the picture, not {_FEWEST_CELLS}"
    elif 1 - moved.mean() > _UNMOVED_SHARE and of_features < _FEW_OF_FEATURES:
        refused = (
            f"only {of_features:.0%} of the features agree, and these lie in the same pixels of "
            "both frames, as what is laid over a video does"
        )
    return PairCheck(
        first_px=first_px,
        second_px=second_px,
        matches=len(agree),
        share=share,
        cells=cells,
        model=model,
        refused=refused,
    )


def _matches(
    first: Features, second: Features
) -> tuple[Float64[np.ndarray, "match xy=2"], Float64[np.ndarray, "match xy=2"]]:
    """Places of matches in both pictures, one for each place of the first."""
    if min(len(first), len(second)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    first_px, second_px = distinct_matches(first, second)
    # A corner that looks two ways is two features.
    _, once = np.unique(np.round(first_px), axis=0, return_index=True)
    once = np.sort(once)
    return first_px[once], second_px[once]


def _refused(why: str) -> PairCheck:
    none = np.zeros((0, 2))
    return PairCheck(
        first_px=none,
        second_px=none,
        matches=0,
        share=0.0,
        cells=0,
        model="epipolar",
        refused=why,
    )


def _agreeing(
    first_px: Float64[np.ndarray, "match xy=2"],
    second_px: Float64[np.ndarray, "match xy=2"],
    pixel: float,
) -> tuple[Bool[np.ndarray, " match"], Literal["epipolar", "homography"]]:
    """Matches that a fundamental matrix or a homography explains, whichever explains more.

    A homography that explains nearly as many is the better reason, for it leaves less to chance.
    """
    import cv2  # noqa: PLC0415 - slow to import.

    none = np.zeros(len(first_px), dtype=bool)
    try:
        _, agree = cv2.findFundamentalMat(
            first_px, second_px, cv2.USAC_MAGSAC, _AGREES_PX * pixel, 0.999, 5000
        )
        _, plane = cv2.findHomography(
            first_px, second_px, cv2.USAC_MAGSAC, _TURN_AGREES_PX * pixel, None, 2000, 0.999
        )
    # Matches in one place or on one line make the solvers give up.
    except cv2.error:
        return none, "epipolar"
    epipolar = none if agree is None else agree.ravel() > 0
    homography = none if plane is None else plane.ravel() > 0
    if homography.sum() >= 0.9 * epipolar.sum():
        return homography, "homography"
    return epipolar, "epipolar"


def _cells(places_px: Float64[np.ndarray, "place xy=2"], picture_hw: tuple[int, int]) -> int:
    """How many cells of a grid hold places."""
    side = max(picture_hw) / _CELLS
    return len(np.unique((places_px // side).astype(np.int64), axis=0))
