"""Frames of a video as people see them: upright, square pixels, opaque, eight bits, sRGB."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from dynapoint.data.hdr import hdr_name, srgb_from_hdr

# Formats of FFmpeg whose first plane is the brightness in eight bits.
_BRIGHTNESS_FIRST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "nv21"})
# As numbered by FFmpeg.
_FULL_RANGE = 2

# Pixels further from square than this are taken for a mistake in the header.
_WIDEST_PIXEL = 4


@dataclass(frozen=True, kw_only=True)
class PictureStyle:
    """How the frames of a video are shown; all are shown like the first one wanted.

    `size_wh` is the size with square pixels, before any turn; `matrix` are the nine numbers of the
    display matrix, or None; `hdr` is PQ, HLG or None.
    """

    size_wh: tuple[int, int]
    matrix: tuple[int, ...] | None
    has_alpha: bool
    hdr: str | None

    @classmethod
    def of(cls, frame: Any, stream: Any) -> "PictureStyle":
        """The style of a decoded frame of a stream."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        values = None if matrix is None else tuple(np.frombuffer(bytes(matrix), np.int32).tolist())
        return cls(
            size_wh=(_square_width(frame.width, stream.sample_aspect_ratio), frame.height),
            matrix=values,
            has_alpha=any(component.is_alpha for component in frame.format.components),
            hdr=hdr_name(frame.color_trc),
        )

    def picture(self, frame: Any) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture of a frame, scaled to the style's size and turned as the header says."""
        from av.video.reformatter import Interpolation  # noqa: PLC0415 - FFmpeg loads slowly.

        # By default FFmpeg rounds down and leaves pictures up to two levels too dark.
        exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
        size = {"width": self.size_wh[0], "height": self.size_wh[1], "interpolation": exact}
        if self.hdr is not None:
            coded = frame.to_ndarray(format="rgb48le", **size)
            picture = srgb_from_hdr(
                coded, transfer=int(frame.color_trc), primaries=int(frame.color_primaries)
            )
        elif self.has_alpha:
            rgba = frame.to_ndarray(format="rgba", **size)
            picture = _on_white(rgba)
        else:
            picture = frame.to_ndarray(format="rgb24", **size)
        if self.matrix is not None:
            picture = _displayed(picture, self.matrix)
        return np.ascontiguousarray(picture)

    def small_grey(self, frame: Any, size_wh: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
        """A small grey picture of a frame: the same, at a size given before any turn.

        Where a video keeps brightness in eight bits of its own, as nearly all do, that is scaled
        and nothing else is converted, ten times as fast as by way of the picture's colours.
        """
        if self.hdr is not None or self.has_alpha or frame.format.name not in _BRIGHTNESS_FIRST:
            picture = replace(self, size_wh=size_wh).picture(frame)
            return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        grey = cv2.resize(rows[:, : plane.width], size_wh, interpolation=cv2.INTER_AREA)
        if frame.format.name != "yuvj420p" and frame.color_range != _FULL_RANGE:
            # 16 is black and 235 white (ITU-R BT.601).
            stretched = (np.arange(256) - 16) * (255 / 219)
            grey = np.round(stretched).clip(0, 255).astype(np.uint8)[grey]
        if self.matrix is not None:
            grey = _displayed(grey, self.matrix)
        return np.ascontiguousarray(grey)


def _square_width(width: int, pixel_aspect: Fraction | None) -> int:
    """The width that a picture has when its pixels are made square, as players show it."""
    if not pixel_aspect or not 1 / _WIDEST_PIXEL <= pixel_aspect <= _WIDEST_PIXEL:
        return width
    return max(1, round(width * pixel_aspect))


def _on_white(
    rgba: UInt8[np.ndarray, "height width rgba=4"],
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture with transparency laid on white."""
    white = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), (255, 255, 255, 255))
    return np.array(Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB"))


def _displayed(
    picture: Shaped[np.ndarray, "height width *channel"], matrix: tuple[int, ...]
) -> Shaped[np.ndarray, "shown_height shown_width *channel"]:
    """Turn and mirror a stored picture as a display matrix (a b u / c d v / x y w) says.

    Stored (x, y) is shown at (a x + c y, b x + d y) up to a shift; only quarter turns are meant.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, across, down = picture.swapaxes(0, 1), c, b
    if across < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if down < 0 else picture
