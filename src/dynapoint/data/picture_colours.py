"""Colours of image files as people see them: opaque, eight bits, sRGB."""

import io
import re
import warnings
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8
from PIL import ExifTags, Image

from dynapoint.data.colours import ADOBE_RGB, WIDE_NAMES, ColourSpace, on_white, srgb_from
from dynapoint.data.colours import srgb_from_wide_video as srgb_from_wide
from dynapoint.data.hdr import hdr_name, srgb_from_hdr

_Rgb = UInt8[np.ndarray, "height width rgb=3"]

NO_PROFILE = "a colour profile that cannot be used was left out"
PRINT = "print colours (CMYK) without a profile are approximate"

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
# Kinds of colour profiles by the modes that they describe.
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "LAB": "LAB"}
# As numbered by Exif: 2 is Adobe RGB for many cameras, 65535 says to look at the other tag.
_ADOBE, _UNCALIBRATED = 2, 0xFFFF
_INTEROPERABILITY_INDEX = 1
# PNG's power for codes of sRGB, and how far from it nobody sees.
_USUAL_POWER, _UNSEEN = 1 / 2.2, 0.02
_CODE_POINTS = re.compile(rb"colrnclx(.{2})(.{2})", re.DOTALL)


def to_srgb8(image: Image.Image, head: bytes = b"") -> tuple[_Rgb, tuple[str, ...]]:
    """Convert any PIL image to opaque eight-bit sRGB; also lines about what could not be done.

    Args:
        image: Upright, its pixels read, as the file holds it.
        head: The beginning of the file, where AVIF and HEIF say what their colours are.

    Raises:
        ValueError: Gray values lie outside the range of their kind.
    """
    seen, wide = None, image.mode.startswith("I") or image.mode == "F"
    if wide:
        image, seen = _wide_gray(image)
    elif image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = _with_eight_bit_transparency(image).convert("RGBA")
        seen = np.asarray(image.getchannel("A"))
    elif image.mode in {"P", "1", "YCbCr", "HSV", "RGBX"}:
        image = image.convert("L" if image.mode == "1" else "RGB")
    rgb, remarks = _in_srgb(image, head)
    if seen is not None:
        rgb = on_white(np.dstack([rgb, seen]))
    return rgb, remarks


def _in_srgb(image: Image.Image, head: bytes) -> tuple[_Rgb, tuple[str, ...]]:
    """Colours in sRGB, without transparency."""
    profile = image.info.get("icc_profile")
    if profile or image.mode == "LAB":
        converted = _by_profile(image, profile)
        if converted is not None:
            return converted, ()
        return np.array(image.convert("RGB")), (NO_PROFILE,)
    rgb = np.array(image.convert("RGB"), dtype=np.uint8)
    if image.mode == "CMYK":
        return rgb, (PRINT,)
    points = _CODE_POINTS.search(head)
    if points is not None:
        primaries, transfer = (int.from_bytes(group, "big") for group in points.groups())
        return _by_code_points(rgb, primaries, transfer)
    space = _space_of_png(image) or _space_of_exif(image)
    return (rgb if space is None else srgb_from(rgb, space)), ()


def _by_profile(image: Image.Image, profile: bytes | None) -> _Rgb | None:
    """By a file's own colour profile (ICC); None if that cannot be used."""
    from PIL import ImageCms  # noqa: PLC0415 - few pictures have one, and it may not be built in.

    try:
        if profile is None:
            given = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES[given.profile.xcolor_space.strip()]
        if mode == "RGB" and "srgb" in (given.profile.profile_description or "").casefold():
            return np.array(image.convert("RGB"))
        if mode == "L" and image.mode != "L":
            # As of a gray picture with transparency.
            image = image.convert("L") if _is_gray(image) else image
        elif mode == "RGB" and image.mode != "CMYK":
            image = image.convert("RGB")
        if image.mode not in {mode, "RGBA" if mode == "RGB" else mode}:
            return None
        shown = ImageCms.profileToProfile(
            image,
            given,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImportError, ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        return None
    return None if shown is None else np.array(shown)


def _is_gray(image: Image.Image) -> bool:
    rgb = np.asarray(image.convert("RGB"))
    return bool((rgb[..., :1] == rgb).all())


def _by_code_points(rgb: _Rgb, primaries: int, transfer: int) -> tuple[_Rgb, tuple[str, ...]]:
    """By the numbers of H.273 that AVIF and HEIF hold."""
    name = hdr_name(transfer)
    if name is not None:
        coded = rgb.astype(np.uint16) * 257
        shown = srgb_from_hdr(coded, transfer=transfer, primaries=primaries)
        return shown, (f"{name} brought to sRGB",)
    if primaries in WIDE_NAMES:
        return srgb_from_wide(rgb.astype(np.uint16) * 257, primaries=primaries), ()
    return rgb, ()


def _space_of_png(image: Image.Image) -> ColourSpace | None:
    """Colours as a PNG names them by gAMA and cHRM; None where they are sRGB's or not named."""
    if image.format != "PNG" or "srgb" in image.info or "gamma" not in image.info:
        return None
    power = float(image.info["gamma"])
    if not 0.05 < power <= 2:
        return None
    white, red, green, blue = (0.3127, 0.329), (0.64, 0.33), (0.3, 0.6), (0.15, 0.06)
    named = image.info.get("chromaticity")
    if named is not None and len(named) == 8 and min(named[1::2]) > 0.01:
        white, red, green, blue = ((named[i], named[i + 1]) for i in range(0, 8, 2))
    usual = max(abs(red[0] - 0.64), abs(green[0] - 0.3), abs(blue[1] - 0.06)) < _UNSEEN
    if usual and abs(power - _USUAL_POWER) < _UNSEEN:
        return None
    return ColourSpace(red=red, green=green, blue=blue, white=white, gamma=1 / power)


def _space_of_exif(image: Image.Image) -> ColourSpace | None:
    """Adobe RGB where a camera says so in Exif alone."""
    try:
        with warnings.catch_warnings(action="ignore"):
            exif = image.getexif()
            said = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
            other = exif.get_ifd(ExifTags.IFD.Interop).get(_INTEROPERABILITY_INDEX)
    # Damaged Exif raises nearly anything.
    except Exception:
        return None
    marked = said == _UNCALIBRATED and str(other).strip("\0 ") == "R03"
    return ADOBE_RGB if said == _ADOBE or marked else None


def _with_eight_bit_transparency(image: Image.Image) -> Image.Image:
    """A picture whose transparent colour, where it has one, is given in its own eight bits."""
    clear: Any = image.info.get("transparency")
    deep = isinstance(clear, int) and clear > 255 and image.mode == "L"
    deep |= isinstance(clear, tuple) and max(clear) > 255
    if deep:
        image = image.copy()
        whole = isinstance(clear, int)
        image.info["transparency"] = clear >> 8 if whole else tuple(each >> 8 for each in clear)
    return image


def _wide_gray(
    image: Image.Image,
) -> tuple[Image.Image, UInt8[np.ndarray, "height width"] | None]:
    """A gray image of 16 or 32 bits with eight, and how opaque it is where it says so."""
    values = np.asarray(image)
    gray = Image.fromarray(_eight_bits(values, image.mode))
    gray.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    clear = image.info.get("transparency")
    seen = None if not isinstance(clear, int) else np.where(values == clear, 0, 255)
    return gray, None if seen is None else seen.astype(np.uint8)


def _eight_bits(
    values: Num[np.ndarray, "height width"], mode: str
) -> UInt8[np.ndarray, "height width"]:
    """Scale gray values: integers from 0-65535, floats from 0-1, or from 0-255 if some exceed 2.

    Raises:
        ValueError: They lie outside, or could be either.
    """
    values = values.astype(np.float64)
    whole = 65535.0
    if mode == "F":
        # What resampling overshoots is no sign of a larger range.
        whole = 255.0 if values.max(initial=0.0) > 2.0 else 1.0
        if whole == 1 and values.min(initial=0.0) > -0.1 and values.max(initial=0.0) < 1.1:
            values = values.clip(0, 1)
    if not np.isfinite(values).all() or values.min(initial=0.0) < 0 or values.max() > whole:
        raise ValueError(f"gray values outside 0 to {whole:g}")
    return np.round(values * (255.0 / whole)).astype(np.uint8)
