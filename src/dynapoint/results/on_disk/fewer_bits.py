"""Arrays in fewer bits than they are answered in: how a lean scene's files hold them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the whole numbers in a file stand for, 0 to the largest of their type.

    Attributes:
        low: What 0 stands for; of equal ratios, 1.
        high: What the largest stands for.
        ratios: Whether steps are equal ratios, so that errors are shares of the values; 0 is then
            0. Else they are equal differences.
    """

    low: float
    high: float
    ratios: bool

    def __post_init__(self) -> None:
        good = math.isfinite(self.high - self.low) and self.low <= self.high
        if self.ratios:
            good = good and self.low > 0 and math.isfinite(self.high / self.low)
        if not good:
            raise ValueError(f"{self.low} to {self.high} is no scale")

    @classmethod
    def by_ratios(cls, values: Float[np.ndarray, "*places"]) -> "Scale":
        """The narrowest scale by ratios of values that are not negative."""
        above = values[values > 0]
        low, high = (1.0, 1.0) if above.size == 0 else (above.min(), above.max())
        return cls(low=float(low), high=float(high), ratios=True)

    def error(self, dtype: type[np.unsignedinteger]) -> float:
        """The largest error within the scale: a share of the value by ratios, else a length."""
        top = np.iinfo(dtype).max
        if self.ratios:
            return (self.high / self.low) ** (0.5 / (top - 1)) - 1
        return (self.high - self.low) / top / 2


SHARES = Scale(low=0.0, high=1.0, ratios=False)
"""Of probabilities."""


def to_codes(
    values: Float[np.ndarray, "first *places"], scale: Scale, dtype: type[np.unsignedinteger]
) -> UInt[np.ndarray, "first *places"]:
    """The nearest whole numbers; what lies beyond the scale becomes its end."""
    codes, top = np.empty(values.shape, dtype), np.iinfo(dtype).max
    for index, part in enumerate(values):
        codes[index] = np.round(_places(part.astype(np.float64), scale, top))
    return codes


def from_codes(
    codes: UInt[np.ndarray, "first *places"], scale: Scale
) -> Float32[np.ndarray, "first *places"]:
    """What whole numbers stand for; exactly at both ends of the scale."""
    top = np.iinfo(codes.dtype).max
    numbers = np.arange(top + 1)
    if scale.ratios:
        table = scale.low * (scale.high / scale.low) ** ((numbers - 1) / (top - 1))
        table[0] = 0.0
    else:
        table = scale.low + (scale.high - scale.low) * (numbers / top)
    return np.asarray(table.astype(np.float32)[codes])


def in_single(stored: np.ndarray, scale: Scale | None) -> Float32[np.ndarray, "..."]:
    """What a file in half precision, or in numbers on a scale, stands for; read-only."""
    single = stored.astype(np.float32) if scale is None else from_codes(stored, scale)
    single.flags.writeable = False
    return single


def _places(
    values: Float[np.ndarray, "*places"], scale: Scale, top: int
) -> Float[np.ndarray, "*places"]:
    """Where values lie among the whole numbers, between these."""
    inside = np.clip(values, scale.low, scale.high)
    if not scale.ratios:
        return (inside - scale.low) / max(scale.high - scale.low, math.ulp(0.0)) * top
    octaves = np.log(scale.high / scale.low)
    share = np.log(inside / scale.low) / octaves if octaves > 0 else np.zeros_like(inside)
    return np.where(values > 0, 1 + share * (top - 1), 0.0)
