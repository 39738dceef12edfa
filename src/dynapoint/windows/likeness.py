"""How alike two pictures are: whether one shows what the other does, from elsewhere."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

LONGER_SIDE_PX, SHORTER_SIDE_PX = 64, 48
"""Of the pictures compared, whatever the shape of those given. With 96 and 128 pixels the pictures
of one scene are less alike where frames are far apart: the gap to those of two is narrower."""
_CONTRAST = 45.0
_LEAST_CONTRAST = 6.0
_LEAST_STRUCTURE = 3.0
_FLAT_SHARE = 0.05
_SAME_LEVELS = 1.5
_BLOCK_PX = 9
_LIGHT_PX = 5
_DARK_LEVEL = 20.0
_DARK_CONTRAST = 1.5
_BAR_LEVEL = 24.0
_BRIGHT_LEVEL = 100.0
_GREYS = 32

_Values: TypeAlias = Float32[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What is kept of a picture to compare it with others: about 40 kB.

    Attributes:
        levels: Grey levels of the small picture, 0 to 255.
        values: The same with mean 0 and one contrast for all pictures, bars left out.
        colours: Square roots of the shares of colours; their squares sum to 1.
        bars: How many rows at the top and bottom, and columns at the left and right, are black.
        dark: Whether there is hardly any light and no structure: no level of the small picture is
            above 20 of 255 in any colour, and their standard deviation is at most 1.5. A picture
            dimmed to a tenth still has more.
    """

    levels: _Values
    values: _Values
    colours: Float32[np.ndarray, " colour"]
    bars: tuple[int, int, int, int]
    dark: bool


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike two pictures are.

    Attributes:
        structure: Share of the structured pixels for which flow finds the same in the other picture
            and back: returns within a pixel, and neighbourhoods correlate by more than 0.7.
        colours: Bhattacharyya's coefficient of the two pictures' colours; 1 for the same ones. Of
            grey pictures its square, which has about the same values.
    """

    structure: float
    colours: float


def look_of(picture: UInt8[np.ndarray, "height width *rgb"], *, upright: bool) -> Look:
    """Make the small picture of a picture, RGB or grey, in the shape of an upright one or not."""
    size = (SHORTER_SIDE_PX, LONGER_SIDE_PX) if upright else (LONGER_SIDE_PX, SHORTER_SIDE_PX)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    lightest = small if small.ndim == 2 else small.max(axis=2)
    # A fourth channel would be no colour; grey pictures have no others.
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    levels = grey.astype(np.float32)
    bars = _bars(lightest)
    height, width = levels.shape
    inside = levels[bars[0] : height - bars[1], bars[2] : width - bars[3]]
    inside = inside if inside.size else levels
    scale = _CONTRAST / max(float(inside.std()), _LEAST_CONTRAST)
    # Without noise, which small pictures have as they come.
    light = cv2.blur(lightest, (_LIGHT_PX, _LIGHT_PX))
    dark = float(light.max()) <= _DARK_LEVEL and float(light.std()) <= _DARK_CONTRAST
    return Look(
        levels=levels,
        values=(levels - inside.mean()) * np.float32(scale),
        colours=_colours(small),
        bars=bars,
        dark=dark,
    )


class Comparison:
    """Compares looks; holds the flow finder, which is not for several threads at a time."""

    def __init__(self) -> None:
        self._finder: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def likeness(self, one: Look, other: Look) -> Likeness:
        """How alike two pictures are; about a millisecond."""
        colours = float(one.colours @ other.colours)
        if len(one.colours) == _GREYS:
            colours **= 2
        if np.abs(one.levels - other.levels).mean() <= _SAME_LEVELS:
            return Likeness(structure=1.0, colours=colours)
        return Likeness(structure=self._structure(one, other), colours=colours)

    def _structure(self, one: Look, other: Look) -> float:
        """See `Likeness.structure`; 0 where both pictures are flat, and not the same."""
        first, second = _bytes(one.values), _bytes(other.values)
        flow = self._finder.calc(first, second, None)
        back = self._finder.calc(second, first, None)
        height, width = first.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        to_x, to_y = x + flow[..., 0], y + flow[..., 1]
        moved = cv2.remap(
            other.values, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        returned = cv2.remap(back, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        misses = np.hypot(flow[..., 0] + returned[..., 0], flow[..., 1] + returned[..., 1])
        inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
        scene = _between_bars(one, other)
        textured = _variance(one.values) > _LEAST_STRUCTURE**2
        either = (textured | (_variance(other.values) > _LEAST_STRUCTURE**2)) & scene
        if either.mean() < _FLAT_SHARE:
            return 0.0
        found = textured & scene & inside & (misses < 1) & (_correlation(one.values, moved) > 0.7)
        return float(found.sum() / either.sum())


def _bytes(values: _Values) -> UInt8[np.ndarray, "height width"]:
    return np.clip(values + 128, 0, 255).astype(np.uint8)


def _mean(values: _Values) -> _Values:
    return np.asarray(cv2.blur(values, (_BLOCK_PX, _BLOCK_PX)))


def _variance(values: _Values) -> _Values:
    """Of the neighbourhood of every pixel."""
    return np.maximum(_mean(values * values) - _mean(values) ** 2, 0)


def _correlation(one: _Values, other: _Values) -> _Values:
    """Of the neighbourhoods of every pixel, -1 to 1; near 0 where one is flat."""
    covariance = _mean(one * other) - _mean(one) * _mean(other)
    least = np.float32(_LEAST_STRUCTURE**2)
    product = np.maximum(_variance(one), least) * np.maximum(_variance(other), least)
    return np.asarray(covariance / np.sqrt(product))


def _bars(lightest: UInt8[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    """Black rows from the top and bottom and columns from the left and right."""
    rows, columns = lightest.max(axis=1) > _BAR_LEVEL, lightest.max(axis=0) > _BAR_LEVEL
    if not rows.any():
        return 0, 0, 0, 0
    return (
        int(rows.argmax()),
        int(rows[::-1].argmax()),
        int(columns.argmax()),
        int(columns[::-1].argmax()),
    )


def _between_bars(one: Look, other: Look) -> Bool[np.ndarray, "height width"]:
    """Pixels whose neighbourhoods no black bar of both pictures reaches: bars stay over cuts."""
    height, width = one.values.shape[0], one.values.shape[1]
    mask = np.ones((height, width), dtype=np.bool_)
    reach = _BLOCK_PX // 2 + 1
    top, bottom, left, right = (
        min(pair) + reach if min(pair) else 0 for pair in zip(one.bars, other.bars, strict=True)
    )
    mask[:top], mask[height - bottom :] = False, False
    mask[:, :left], mask[:, width - right :] = False, False
    return mask


def _colours(small: UInt8[np.ndarray, "height width *rgb"]) -> Float32[np.ndarray, " colour"]:
    """Square roots of the shares of 2048 colours of CIE Lab, or of 32 greys."""
    # As an exposure of their own would show them: dim pictures have few levels otherwise.
    bright = cv2.convertScaleAbs(small, alpha=_BRIGHT_LEVEL / max(float(small.mean()), 1.0))
    small = np.asarray(bright)
    if small.ndim == 2:
        counts = cv2.calcHist([small], [0], None, [_GREYS], [0, 256])
    else:
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
        counts = cv2.calcHist([lab], [0, 1, 2], None, [8, 16, 16], [0, 256] * 3)
    shares = counts.ravel() / counts.sum()
    return np.sqrt(shares).astype(np.float32)
