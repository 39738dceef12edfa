"""Lenses that are no pinholes: where a ray falls in the picture, and which ray a pixel sees.

Both models are OpenCV's: `opencv` is the polynomial or rational one with tangential parts (COLMAP's
OPENCV and FULL_OPENCV), `fisheye` that of Kannala and Brandt (COLMAP's OPENCV_FISHEYE). A ray is
(x, y) at depth 1. Rays beyond the first fold of a lens, where two rays would fall on one pixel, are
none that it sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

DistortionModel = Literal["opencv", "fisheye"]
COEFFICIENTS: dict[DistortionModel, tuple[str, ...]] = {
    "opencv": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
"""The coefficients of each model in OpenCV's order; those left out at the end are 0."""

# Rays at more than this angle to the axis have no place in an undistorted picture.
_WIDEST_RAD = np.radians(89.9)
_RADII, _DIRECTIONS = 4096, 64
_STEPS = 50
_AT_ONCE = 2**15
# A solution whose pixel is off by more, in focal lengths, is none.
_TOLERANCE = 1e-12
# Newton ends here: a hundred-thousandth of a millionth of a pixel.
_GOOD_ENOUGH = 1e-14


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """How a lens bends rays.

    Attributes:
        model: "opencv" or "fisheye".
        coefficients: All of that model: k1, k2, p1, p2, k3, k4, k5, k6 or k1, k2, k3, k4.
    """

    model: DistortionModel
    coefficients: tuple[float, ...]

    @classmethod
    def of(cls, model: DistortionModel, given: Sequence[float | int]) -> "Distortion":
        """The lens with these coefficients; those left out at the end are 0."""
        missing = len(COEFFICIENTS[model]) - len(given)
        return cls(model=model, coefficients=(*map(float, given), *[0.0] * missing))

    @property
    def is_none(self) -> bool:
        """Whether it bends nothing."""
        return self.model == "opencv" and not any(self.coefficients)

    @property
    def reach(self) -> float:
        """The length (at depth 1) up to which rays in all directions have pixels of their own."""
        return float(self._table[0][-1])

    @property
    def folds(self) -> bool:
        """Whether it folds at `reach`; otherwise that is merely as far as pictures can be had."""
        return bool(self.reach < 0.999 * np.tan(_WIDEST_RAD))

    @property
    def radius_at_reach(self) -> float:
        """How far from the principal point rays fall at `reach`, in focal lengths."""
        return float(self._table[1][-1])

    def distort(self, rays: Float[np.ndarray, "*rays xy=2"]) -> Float64[np.ndarray, "*rays xy=2"]:
        """Where rays fall, in focal lengths from the principal point; NaN beyond `reach`."""
        rays = rays.astype(np.float64)
        with np.errstate(all="ignore"):
            within = np.hypot(rays[..., 0], rays[..., 1]) <= self.reach
            placed = self._placed(rays)
        return np.where(within[..., None], placed, np.nan)

    def undistort(
        self, places: Float[np.ndarray, "*places xy=2"]
    ) -> Float64[np.ndarray, "*places xy=2"]:
        """The rays that fall there, to 1e-12 focal lengths; NaN where none within `reach` does.

        Starts from the inverse of the lens without its tangential parts, and goes on by Newton's
        method.
        """
        flat = places.astype(np.float64).reshape(-1, 2)
        solved = np.empty(flat.shape)
        # What the steps need then stays in the processor's cache.
        for first in range(0, len(flat), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            solved[part] = self._solved(flat[part])
        return solved.reshape(places.shape)

    def _solved(
        self, places: Float64[np.ndarray, "places xy=2"]
    ) -> Float64[np.ndarray, "places xy=2"]:
        """`undistort` of a part."""
        radius, (lengths, fallen) = np.hypot(places[:, 0], places[:, 1]), self._table
        with np.errstate(all="ignore"):
            start = np.interp(radius, fallen, lengths)
            rays = places * np.where(radius > 0, start / radius, 1.0)[:, None]
            wanted = np.flatnonzero(np.isfinite(radius))
            for _ in range(_STEPS):
                off = self._placed(rays[wanted]) - places[wanted]
                # Relative to the ray: those of a fisheye's edge are long.
                short = np.abs(off).max(axis=1, initial=0) > _GOOD_ENOUGH * (1 + radius[wanted])
                wanted, off = wanted[short], off[short]
                if not len(wanted):
                    break
                rays[wanted] = self._stepped(rays[wanted], off)
            off = np.abs(self.distort(rays) - places).max(axis=1, initial=0)
            known = off <= _TOLERANCE * (1 + radius)
        return np.where(known[:, None], rays, np.nan)

    def _stepped(
        self, rays: Float64[np.ndarray, "rays xy=2"], off: Float64[np.ndarray, "rays xy=2"]
    ) -> Float64[np.ndarray, "rays xy=2"]:
        """Rays after one of Newton's steps, which never leads beyond the fold."""
        across, mixed, down = self._slopes(rays)
        determinant = across * down - mixed * mixed
        step = np.stack(
            [
                down * off[:, 0] - mixed * off[:, 1],
                across * off[:, 1] - mixed * off[:, 0],
            ],
            axis=1,
        )
        rays = rays - step / determinant[:, None]
        length = np.hypot(rays[:, 0], rays[:, 1])
        shrink: Float64[np.ndarray, "rays xy=2"] = np.minimum(1.0, self.reach / length)[:, None]
        return rays * np.where(np.isfinite(shrink), shrink, 1.0)

    def _placed(self, rays: Float64[np.ndarray, "*rays xy=2"]) -> Float64[np.ndarray, "*rays xy=2"]:
        """Where rays fall, wherever they are."""
        x, y = rays[..., 0], rays[..., 1]
        squared = x * x + y * y
        grown = self._growth(squared)[0]
        if self.model == "fisheye":
            return rays * grown[..., None]
        p1, p2 = self.coefficients[2:4]
        bent_x = x * grown + 2 * p1 * x * y + p2 * (squared + 2 * x * x)
        bent_y = y * grown + p1 * (squared + 2 * y * y) + 2 * p2 * x * y
        return np.stack([bent_x, bent_y], axis=-1)

    def _slopes(
        self, rays: Float64[np.ndarray, "*rays xy=2"]
    ) -> tuple[
        Float64[np.ndarray, "*rays"], Float64[np.ndarray, "*rays"], Float64[np.ndarray, "*rays"]
    ]:
        """Derivatives of where rays fall: d x/d x, d x/d y = d y/d x, d y/d y."""
        x, y = rays[..., 0], rays[..., 1]
        grown, slope = self._growth(x * x + y * y)
        p1, p2 = self.coefficients[2:4] if self.model == "opencv" else (0.0, 0.0)
        return (
            grown + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x,
            2 * x * y * slope + 2 * p1 * x + 2 * p2 * y,
            grown + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x,
        )

    def _growth(
        self, squared: Float64[np.ndarray, "*rays"]
    ) -> tuple[Float64[np.ndarray, "*rays"], Float64[np.ndarray, "*rays"]]:
        """By what rays of a squared length grow, tangential parts aside, and its derivative."""
        if self.model == "fisheye":
            return _fisheye_growth(self.coefficients, squared)
        k1, k2, _, _, k3, k4, k5, k6 = self.coefficients
        above = 1 + squared * (k1 + squared * (k2 + squared * k3))
        below = 1 + squared * (k4 + squared * (k5 + squared * k6))
        above_slope = k1 + squared * (2 * k2 + squared * 3 * k3)
        below_slope = k4 + squared * (2 * k5 + squared * 3 * k6)
        # Beyond a pole there is no lens.
        below = np.where(below > 0, below, np.nan)
        grown = above / below
        return grown, (above_slope - grown * below_slope) / below

    @property
    def _table(self) -> tuple[Float64[np.ndarray, " radius"], Float64[np.ndarray, " radius"]]:
        """Lengths of rays up to the fold, and how far from the principal point these fall."""
        return _table_of(self)

    def _is_good(self, lengths: Float64[np.ndarray, " radius"]) -> np.ndarray:
        """At which lengths rays of all directions fall so that neighbours stay neighbours."""
        turn = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
        rays = lengths[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        with np.errstate(all="ignore"):
            across, mixed, down = self._slopes(rays)
            good = (across * down - mixed * mixed > 0) & (across + down > 0)
        everywhere: np.ndarray = good.all(axis=1)
        return everywhere


@lru_cache(maxsize=64)
def _table_of(
    distortion: Distortion,
) -> tuple[Float64[np.ndarray, " radius"], Float64[np.ndarray, " radius"]]:
    """`Distortion._table`, worked out once for all frames of a lens."""
    lengths = np.tan(np.concatenate([[0.0], np.geomspace(1e-5, _WIDEST_RAD, _RADII)]))
    good = distortion._is_good(lengths)
    if not good.all():
        first = int(np.argmin(good))
        low, high = lengths[max(first - 1, 0)], lengths[first]
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if distortion._is_good(np.array([middle]))[0]:
                low = middle
            else:
                high = middle
        lengths = np.concatenate([lengths[:first], [low]])
    with np.errstate(all="ignore"):
        fallen = lengths * distortion._growth(lengths * lengths)[0]
    return lengths, np.maximum.accumulate(fallen)


def _fisheye_growth(
    coefficients: Sequence[float], squared: Float64[np.ndarray, "*rays"]
) -> tuple[Float64[np.ndarray, "*rays"], Float64[np.ndarray, "*rays"]]:
    """By what a fisheye lengthens rays of a squared length, and the derivative of that."""
    k1, k2, k3, k4 = coefficients
    length = np.sqrt(squared)
    angle = np.arctan(length)
    a = angle * angle
    fallen = angle * (1 + a * (k1 + a * (k2 + a * (k3 + a * k4))))
    slope = 1 + a * (3 * k1 + a * (5 * k2 + a * (7 * k3 + a * 9 * k4)))
    # d fallen / d length, over twice the length: that by the squared length.
    by_length = slope / (1 + squared)
    near = length < 1e-4
    safe = np.where(near, 1.0, length)
    # Near the axis both quotients cancel; their series take over.
    grown = np.where(near, 1 + squared * (k1 - 1 / 3), fallen / safe)
    derivative = np.where(near, k1 - 1 / 3, (by_length - grown) / (2 * safe * safe))
    return grown, derivative


@dataclass(frozen=True, kw_only=True)
class DistortedLens:
    """A camera's lens: in its picture, and in the undistorted one of the same size and intrinsics.

    Attributes:
        focal_px: Along x and y.
        centre_px: The principal point; centres of pixels are at half-integers.
        distortion: How it bends rays.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    distortion: Distortion

    @classmethod
    def of(cls, intrinsics: Float64[np.ndarray, "3 3"], distortion: Distortion) -> "DistortedLens":
        """The lens of a camera with these intrinsics."""
        (fx, _, cx), (_, fy, cy) = intrinsics[:2].tolist()
        return cls(focal_px=(fx, fy), centre_px=(cx, cy), distortion=distortion)

    def distorted(
        self, xy: Float[np.ndarray, "*places xy=2"]
    ) -> Float64[np.ndarray, "*places xy=2"]:
        """Places of the undistorted picture in the picture; NaN where the lens sees none."""
        rays = (xy - np.array(self.centre_px)) / self.focal_px
        return self.distortion.distort(rays) * self.focal_px + self.centre_px

    def undistorted(
        self, xy: Float[np.ndarray, "*places xy=2"]
    ) -> Float64[np.ndarray, "*places xy=2"]:
        """Places of the picture in the undistorted one; NaN where no ray of it falls there."""
        places = (xy - np.array(self.centre_px)) / self.focal_px
        return self.distortion.undistort(places) * self.focal_px + self.centre_px

    def fold_px(self, picture_hw: tuple[int, int]) -> float | None:
        """How far from the principal point the lens folds, in pixels, if within its picture.

        A lens whose rays all fall on pixels of their own may see no more than a part of the
        picture: the corners of a fisheye's are black.
        """
        if not self.distortion.folds:
            return None
        height, width = picture_hw
        across, down = np.linspace(0, width, 33), np.linspace(0, height, 33)
        border = np.concatenate(
            [np.stack([across, np.full(33, y)], axis=1) for y in (0.0, float(height))]
            + [np.stack([np.full(33, x), down], axis=1) for x in (0.0, float(width))]
        )
        if np.isfinite(self.undistorted(border)).all():
            return None
        return self.distortion.radius_at_reach * float(np.sqrt(np.prod(self.focal_px)))
