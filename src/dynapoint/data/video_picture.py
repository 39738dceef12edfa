"""Frames of a video as people see them: upright, square pixels, opaque, eight bits, sRGB."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from dynapoint.data.colours import WIDE_NAMES, on_white, srgb_from_wide_video
from dynapoint.data.hdr import hdr_name, srgb_from_hdr
from dynapoint.data.video_boxes import Crop
from dynapoint.data.video_file import OpenVideo

# As numbered by ITU-T H.273: matrices, those of primaries, and curves that are no display's.
_BT709, _BT601, _ICTCP = 1, 6, 14
_NO_MATRIX = frozenset({2, 3})
_MATRIX_OF_PRIMARIES = {1: _BT709, 5: _BT601, 6: _BT601, 7: 7, 9: 9}
_OTHER_CURVES = {8: "linear light", 9: "a logarithmic curve", 10: "a logarithmic curve"}
_LINES_OF_HD, _COLUMNS_OF_HD = 720, 1280

# What changes the picture and is not applied, by PyAV's names.
_NAMED_SIDE_DATA = {
    "SPHERICAL": "a panorama's frames (360 degrees) are taken as plain pictures",
    "STEREO3D": "frames hold the pictures of two eyes, which are taken as one",
    "DOVI_METADATA": "Dolby Vision's own colours are not applied",
}

# Formats of FFmpeg whose first plane is the brightness in eight bits.
_BRIGHTNESS_FIRST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "nv21"})
# As numbered by FFmpeg.
_FULL_RANGE = 2

# Pixels further from square than this are taken for a mistake in the header.
_WIDEST_PIXEL = 4


@dataclass(frozen=True, kw_only=True)
class PictureStyle:
    """How the frames of a video are shown; all are shown like the first one wanted.

    Attributes:
        coded_wh: The size of the first one as it is coded.
        size_wh: The size with square pixels, before any crop and turn.
        window: Left, top, width and height of what is shown, in pixels of `size_wh`; None for all.
        matrix: The nine numbers of the display matrix, or None.
        has_alpha: Whether some of it may be transparent.
        hdr: PQ, HLG or None.
        wide: Primaries that are brought to sRGB's, by the numbers of H.273, or None.
        remarks: A line on each thing that people would not expect.
    """

    coded_wh: tuple[int, int]
    size_wh: tuple[int, int]
    window: tuple[int, int, int, int] | None
    matrix: tuple[int, ...] | None
    has_alpha: bool
    hdr: str | None
    wide: int | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, frame: Any, video: OpenVideo) -> "PictureStyle":
        """The style of a decoded frame."""
        beside = _side_data(frame)
        values = _display_matrix(frame, beside)
        hdr = hdr_name(frame.color_trc)
        primaries = int(frame.color_primaries)
        wide = primaries if hdr is None and primaries in WIDE_NAMES else None
        coded_wh = (frame.width, frame.height)
        size_wh = (_square_width(frame.width, video.pixel_aspect), frame.height)
        window = _window(video.crop, coded_wh, size_wh)
        return cls(
            coded_wh=coded_wh,
            size_wh=size_wh,
            window=window,
            matrix=values,
            has_alpha=any(component.is_alpha for component in frame.format.components),
            hdr=hdr,
            wide=wide,
            remarks=_remarks(frame, beside, size_wh=size_wh, window=window, wide=wide),
        )

    @property
    def shown_wh(self) -> tuple[int, int]:
        """The size of what is shown, before any turn."""
        return self.size_wh if self.window is None else (self.window[2], self.window[3])

    def picture(self, frame: Any) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture of a frame, scaled to the style's size and turned as the header says."""
        from av.video.reformatter import Interpolation  # noqa: PLC0415 - FFmpeg loads slowly.

        # By default FFmpeg rounds down and leaves pictures up to two levels too dark.
        exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
        size = {"width": self.size_wh[0], "height": self.size_wh[1], "interpolation": exact}
        _name_matrix(frame)
        if self.hdr is not None:
            coded = frame.to_ndarray(format="rgb48le", **size)
            picture = srgb_from_hdr(
                coded, transfer=int(frame.color_trc), primaries=int(frame.color_primaries)
            )
        elif self.wide is not None:
            coded = frame.to_ndarray(format="rgb48le", **size)
            picture = srgb_from_wide_video(coded, primaries=self.wide)
        else:
            picture = frame.to_ndarray(format="rgb24", **size)
        if self.has_alpha:
            opaque = frame.to_ndarray(format="rgba", **size)[..., 3]
            picture = on_white(np.dstack([picture, opaque]))
        if self.window is not None:
            left, top, width, height = self.window
            picture = picture[top : top + height, left : left + width]
        if self.matrix is not None:
            picture = _displayed(picture, self.matrix)
        return np.ascontiguousarray(picture)

    def small_grey(self, frame: Any, size_wh: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
        """A small grey picture of a frame: the same, at a size given before any turn.

        Where a video keeps brightness in eight bits of its own, as nearly all do, that is scaled
        and nothing else is converted, ten times as fast as by way of the picture's colours.
        """
        special = self.hdr is not None or self.wide is not None or self.has_alpha
        if special or frame.format.name not in _BRIGHTNESS_FIRST:
            picture = cv2.cvtColor(self.picture(frame), cv2.COLOR_RGB2GRAY)
            turned = picture.shape[::-1] != self.shown_wh
            size = size_wh[::-1] if turned else size_wh
            return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        rows = rows[:, : plane.width]
        if self.window is not None:
            # In coded pixels, which may not be square.
            left, top, width, height = self.window
            wider = frame.width / self.size_wh[0]
            rows = rows[top : top + height, round(left * wider) : round((left + width) * wider)]
        grey = cv2.resize(rows, size_wh, interpolation=cv2.INTER_AREA)
        if frame.format.name != "yuvj420p" and frame.color_range != _FULL_RANGE:
            # 16 is black and 235 white (ITU-R BT.601).
            stretched = (np.arange(256) - 16) * (255 / 219)
            grey = np.round(stretched).clip(0, 255).astype(np.uint8)[grey]
        if self.matrix is not None:
            grey = _displayed(grey, self.matrix)
        return np.ascontiguousarray(grey)


def _name_matrix(frame: Any) -> None:
    """Say by which matrix a frame's colours are coded where its file does not.

    By its primaries, else as players take it: BT.709 for HD, BT.601 for what is smaller.
    """
    if int(frame.colorspace) not in _NO_MATRIX or frame.format.is_rgb:
        return
    primaries = int(frame.color_primaries)
    if primaries in _MATRIX_OF_PRIMARIES:
        frame.colorspace = _MATRIX_OF_PRIMARIES[primaries]
    elif frame.height >= _LINES_OF_HD or frame.width >= _COLUMNS_OF_HD:
        frame.colorspace = _BT709
    else:
        frame.colorspace = _BT601


def _side_data(frame: Any) -> Mapping[str, Any]:
    """What a decoder gives beside a frame, by PyAV's names.

    PyAV refuses all of it where there is a kind that it does not know (Exif of motion JPEG).
    """
    try:
        return {str(each.type.name): each for each in frame.side_data}
    except ValueError:
        return {}


def _display_matrix(frame: Any, beside: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The nine numbers of a frame's display matrix, or None."""
    if "DISPLAYMATRIX" in beside:
        return tuple(np.frombuffer(bytes(beside["DISPLAYMATRIX"]), np.int32).tolist())
    if not frame.rotation:
        return None
    # By how many degrees it is to be turned, which PyAV says even then.
    turn = np.radians(frame.rotation)
    across, down = round(65536 * np.cos(turn)), round(65536 * np.sin(turn))
    return (across, -down, 0, down, across, 0, 0, 0, 1 << 30)


def _remarks(
    frame: Any,
    beside: Mapping[str, Any],
    *,
    size_wh: tuple[int, int],
    window: tuple[int, int, int, int] | None,
    wide: int | None,
) -> tuple[str, ...]:
    """A line on each thing of a video's pictures that people would not expect."""
    remarks = []
    hdr = hdr_name(frame.color_trc)
    if hdr is not None:
        remarks.append(f"{hdr} brought to sRGB")
    if wide is not None:
        remarks.append(f"colours of {WIDE_NAMES[wide]} brought to sRGB")
    if size_wh != (frame.width, frame.height):
        remarks.append(
            f"pixels made square: {frame.width}x{frame.height} became {size_wh[0]}x{size_wh[1]}"
        )
    if window is not None:
        remarks.append(
            f"cut to the {window[2]}x{window[3]} that the file says are shown, "
            f"{window[0]} pixels from the left and {window[1]} from the top"
        )
    transfer = int(frame.color_trc)
    if transfer in _OTHER_CURVES:
        remarks.append(f"{_OTHER_CURVES[transfer]} taken for ordinary video: brightness is not so")
    if hdr is None and int(frame.colorspace) == _ICTCP:
        remarks.append("colours coded as ICtCp, which are not converted")
    for kind, words in _NAMED_SIDE_DATA.items():
        if kind == "DOVI_METADATA" and hdr is not None:
            continue
        if kind in beside:
            remarks.append(words)
    return tuple(remarks)


def _window(
    crop: Crop | None, coded_wh: tuple[int, int], size_wh: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """What is shown of a picture whose pixels were made square; None for all of it."""
    if crop is None or crop.coded_wh != coded_wh:
        return None
    wider = size_wh[0] / coded_wh[0]
    left, right = round(crop.left * wider), round((crop.left + crop.width) * wider)
    return left, crop.top, max(1, right - left), crop.height


def _square_width(width: int, pixel_aspect: Fraction | None) -> int:
    """The width that a picture has when its pixels are made square, as players show it."""
    if not pixel_aspect or not 1 / _WIDEST_PIXEL <= pixel_aspect <= _WIDEST_PIXEL:
        return width
    return max(1, round(width * pixel_aspect))


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
