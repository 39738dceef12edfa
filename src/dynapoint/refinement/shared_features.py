"""Places that two pictures share, whatever lies between them: SIFT (Lowe 2004), matched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

MOST_FEATURES = 1500
_DISTINCT = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What stands out in a picture.

    Attributes:
        places_px: Where, in pixels of the picture, centres at half-integers.
        descriptors: What it looks like there (SIFT's, whole numbers from 0 to 255).
    """

    places_px: Float64[np.ndarray, "feature xy=2"]
    descriptors: Float32[np.ndarray, "feature number=128"]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.places_px)


def features_in(
    picture: UInt8[np.ndarray, "height width"],
    *,
    usable: Bool[np.ndarray, "height width"] | None = None,
    most: int = MOST_FEATURES,
) -> Features:
    """The `most` features of a grey picture that stand out most, where it is usable."""
    import cv2  # noqa: PLC0415 - slow to import.

    mask = None if usable is None else usable.astype(np.uint8) * 255
    points, descriptors = cv2.SIFT.create(nfeatures=most).detectAndCompute(picture, mask)
    if descriptors is None:
        descriptors = np.zeros((0, 128), dtype=np.float32)
    # OpenCV's places count from the first pixel's centre.
    places = np.array([point.pt for point in points]).reshape(-1, 2) + 0.5
    return Features(places_px=places, descriptors=descriptors)


def distinct_matches(
    first: Features, second: Features
) -> tuple[Float64[np.ndarray, "match xy=2"], Float64[np.ndarray, "match xy=2"]]:
    """Places in both pictures of matches that are mutual, and much better than the second best."""
    import cv2  # noqa: PLC0415 - slow to import.

    matcher = cv2.BFMatcher(cv2.NORM_L2)
    there = _distinct(matcher.knnMatch(first.descriptors, second.descriptors, k=2))
    back = _distinct(matcher.knnMatch(second.descriptors, first.descriptors, k=2))
    mutual = [(one, other) for one, other in there.items() if back.get(other) == one]
    chosen = np.array(mutual, dtype=np.int64).reshape(-1, 2)
    return first.places_px[chosen[:, 0]], second.places_px[chosen[:, 1]]


def _distinct(matches: Sequence[Any]) -> dict[int, int]:
    """The nearest neighbours that are much nearer than the second nearest."""
    return {
        best[0].queryIdx: best[0].trainIdx
        for best in matches
        if len(best) == 2 and best[0].distance < _DISTINCT * best[1].distance
    }
