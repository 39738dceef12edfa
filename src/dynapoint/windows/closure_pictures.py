"""Whether a place is the same all over, and not by one thing that stands in two places.

Maps and a similarity carry the picture of one frame to the other's pixels. Where the place is the
same the two pictures correlate around most pixels; where only a poster is the same, around that.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dynapoint.windows.window_maps import WindowMaps

_BLUR_PX, _PATCH_PX = 1.5, 15
# Grey levels by which a patch must vary to be compared, and the correlation of the same things.
_TEXTURED, _ALIKE = 4.0, 0.5


@dataclass(frozen=True, kw_only=True)
class SeenAgain:
    """How much of a picture another one shows again.

    Attributes:
        overlap: The share of pixels that lie in the other picture.
        alike: The share of those with texture around which the two correlate; 0 without any.
    """

    overlap: float
    alike: float


def seen_again(
    pictures: tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]],
    windows: tuple[WindowMaps, WindowMaps],
    frames: tuple[int, int],
    first_from_second: Float64[np.ndarray, "4 4"],
) -> SeenAgain:
    """Carry the second frame's picture to the first frame's pixels and compare.

    Args:
        pictures: Of both frames; they show what the maps show.
        windows: What says where pixels are.
        frames: Indices of the two frames in the clip.
        first_from_second: [s·R | t], from the second window's world to the first's.
    """
    import cv2  # noqa: PLC0415 - slow to import.

    first, second = windows
    here, there = first.local(frames[:1])[0], second.local(frames[1:])[0]
    height, width = first.confidence.shape[1:]
    small = [
        cv2.GaussianBlur(
            cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32),
            (0, 0),
            _BLUR_PX,
        )
        for each in pictures
    ]
    back = np.linalg.inv(first_from_second @ second.world_from_camera[there])
    points = first.points[here].astype(np.float64) @ back[:3, :3].T + back[:3, 3]
    with np.errstate(all="ignore"):
        places = points @ second.map_intrinsics[there].T
        places = np.nan_to_num(places[..., :2] / places[..., 2:], nan=-1.0)
    places = np.clip(places, -10, [width + 10, height + 10]).astype(np.float32)
    inside = (places > 0.5).all(-1) & (places < np.array([width, height]) - 0.5).all(-1)
    inside &= (points[..., 2] > 0) & (first.confidence[here] > 0)
    carried = cv2.remap(small[1], places[..., 0] - 0.5, places[..., 1] - 0.5, cv2.INTER_LINEAR)
    known = inside.astype(np.float32)
    correlation, varies = _correlation(small[0], carried, known)
    textured = inside & (varies > _TEXTURED)
    alike = float((correlation[textured] > _ALIKE).mean()) if textured.any() else 0.0
    return SeenAgain(overlap=float(inside.mean()), alike=alike)


def _correlation(
    one: Float32[np.ndarray, "height width"],
    other: Float32[np.ndarray, "height width"],
    weight: Float32[np.ndarray, "height width"],
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Correlation of the known pixels around each pixel, and how much the first picture varies."""
    import cv2  # noqa: PLC0415 - slow to import.

    def around(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values.astype(np.float64), -1, (_PATCH_PX, _PATCH_PX))

    share = np.maximum(around(weight), 1e-6)
    mean_one, mean_other = around(weight * one) / share, around(weight * other) / share
    square_one = np.maximum(around(weight * one**2) / share - mean_one**2, 1e-6)
    square_other = np.maximum(around(weight * other**2) / share - mean_other**2, 1e-6)
    both = around(weight * one * other) / share - mean_one * mean_other
    correlation = both / np.sqrt(square_one * square_other)
    return correlation.astype(np.float32), np.sqrt(square_one).astype(np.float32)
