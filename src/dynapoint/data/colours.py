"""Colours of other primaries and curves, brought to sRGB."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float64, UInt8, UInt16
from PIL import Image

_XY = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ColourSpace:
    """Red, green, blue and white as CIE x and y, and the power that makes light of codes."""

    red: _XY
    green: _XY
    blue: _XY
    white: _XY
    gamma: float


_D65 = (0.3127, 0.3290)
_SRGB = ColourSpace(red=(0.64, 0.33), green=(0.3, 0.6), blue=(0.15, 0.06), white=_D65, gamma=2.2)
ADOBE_RGB = ColourSpace(
    red=(0.64, 0.33), green=(0.21, 0.71), blue=(0.15, 0.06), white=_D65, gamma=563 / 256
)

# What displays of ordinary video do (ITU-R BT.1886), with black at no light.
_DISPLAY_GAMMA = 2.4
_P3 = {"red": (0.68, 0.32), "green": (0.265, 0.69), "blue": (0.15, 0.06)}
WIDE_VIDEO = {
    9: ColourSpace(
        red=(0.708, 0.292),
        green=(0.170, 0.797),
        blue=(0.131, 0.046),
        white=_D65,
        gamma=_DISPLAY_GAMMA,
    ),
    11: ColourSpace(**_P3, white=(0.314, 0.351), gamma=_DISPLAY_GAMMA),
    12: ColourSpace(**_P3, white=_D65, gamma=_DISPLAY_GAMMA),
}
"""Primaries of video by the numbers of ITU-T H.273 that are brought to BT.709's.

Those of SD video are nearly the same and stay as they are.
"""
WIDE_NAMES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}


def to_srgb_primaries(space: ColourSpace) -> Float64[np.ndarray, "srgb=3 given=3"]:
    """The matrix that makes linear light in sRGB's primaries of such in others.

    White stays white, whatever its colour is.
    """
    return np.linalg.inv(_xyz_of(_SRGB)) @ _xyz_of(space)


def _xyz_of(space: ColourSpace) -> Float64[np.ndarray, "xyz=3 rgb=3"]:
    """CIE XYZ of red, green and blue that add up to white of luminance 1 (SMPTE RP 177).

    Scaled so that white is sRGB's, whatever its own.
    """
    columns = np.stack([_xyz(space.red), _xyz(space.green), _xyz(space.blue)], axis=1)
    white = _xyz(space.white)
    return np.diag(_xyz(_SRGB.white) / white) @ columns * np.linalg.solve(columns, white)


def _xyz(xy: _XY) -> Float64[np.ndarray, " xyz=3"]:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def srgb_from(
    coded: UInt8[np.ndarray, "height width rgb=3"] | UInt16[np.ndarray, "height width rgb=3"],
    space: ColourSpace,
    *,
    display_gamma: float | None = None,
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture in another colour space as displays of sRGB show it.

    Args:
        coded: Full-range RGB, the largest integer being 1.
        space: Its colours.
        display_gamma: The power of the display that the picture is for; None is sRGB's own curve.
    """
    levels = np.iinfo(coded.dtype).max
    light_of = ((np.arange(levels + 1) / levels) ** space.gamma).astype(np.float32)
    light = light_of[coded] @ to_srgb_primaries(space).T.astype(np.float32)
    codes = codes_of_light(display_gamma)
    return codes[np.round(light.clip(0, 1) * 65535).astype(np.uint16)]


@cache
def codes_of_light(gamma: float | None) -> UInt8[np.ndarray, " light"]:
    """Eight bits for linear light in steps of 1 / 65535, by a power or by IEC 61966-2-1."""
    light = np.arange(65536) / 65535
    if gamma is not None:
        return np.round(255 * light ** (1 / gamma)).astype(np.uint8)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * coded).astype(np.uint8)


def srgb_from_wide_video(
    coded: UInt16[np.ndarray, "height width rgb=3"], *, primaries: int
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture of ordinary video in wide primaries as players show it on a display of BT.709's.

    Args:
        coded: Full-range RGB, 65535 being 1.
        primaries: By ITU-T H.273; one of `WIDE_VIDEO`.
    """
    return srgb_from(coded, WIDE_VIDEO[primaries], display_gamma=_DISPLAY_GAMMA)


def on_white(
    rgba: UInt8[np.ndarray, "height width rgba=4"],
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture with transparency laid on white."""
    white = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), (255, 255, 255, 255))
    return np.array(Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB"))
