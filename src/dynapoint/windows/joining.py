"""How the windows of a long clip became one scene, for those who ask how far to trust it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Joining:
    """What was found where windows meet, and which optimisation made the cameras.

    Attributes:
        windows: How many windows there are, wide ones included.
        window: The most frames that one has.
        overlap: How many frames neighbours share.
        refined: In how many windows the cameras are refined by the pictures (`refinement`).
        seam_turn_deg: By how much neighbours contradict each other in the direction of points that
            both see, in degrees: the median over seams.
        seam_depth: The same for the logarithm of depth.
        doubted: Seams at which the registration is in doubt, in words, at most a few.
        closures: Loop closures that were taken.
        closures_refused: Loop closures that were tried and refused.
        adjusted: Whether the adjustment over windows moved the cameras.
        residual_before: How far windows put pixels from where their frames do before that
            adjustment, as a share of their depth: the median over pixels and segments.
        residual_after: The same after it.
    """

    windows: int
    window: int
    overlap: int
    refined: int = 0
    seam_turn_deg: float = 0.0
    seam_depth: float = 0.0
    doubted: tuple[str, ...] = ()
    closures: int = 0
    closures_refused: int = 0
    adjusted: bool = False
    residual_before: float = 0.0
    residual_after: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """Plain values by their names."""
        plain = asdict(self)
        plain["doubted"] = list(self.doubted)
        return {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in plain.items()
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Joining":
        """What `to_plain` gave; raises KeyError, TypeError or ValueError for anything else."""
        if plain.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("its entries have other names")
        kept: dict[str, Any] = {}
        for name, entry in cls.__dataclass_fields__.items():
            value = plain[name]
            if name == "doubted":
                kept[name] = tuple(str(each) for each in value)
            elif entry.type is bool or isinstance(entry.default, bool):
                if not isinstance(value, bool):
                    raise TypeError(f"{name} is a {type(value).__name__}")
                kept[name] = value
            elif isinstance(entry.default, float):
                kept[name] = _number(value)
            else:
                kept[name] = _count(value)
        return cls(**kept)

    def lines(self) -> list[str]:
        """What was found, in plain words."""
        made = f"{self.windows} windows of up to {self.window} frames, {self.overlap} shared"
        lines = [
            f"{made}; where they meet they differ by {self.seam_turn_deg:.2f} degrees and "
            f"{100 * self.seam_depth:.1f} % of depth"
        ]
        by = "registration of the windows"
        if self.closures:
            by += f", {self.closures} loop closure{'s' * (self.closures > 1)}"
        if self.adjusted:
            by += ", adjustment over windows"
        inside = (
            f"; inside of {self.refined} of {self.windows} windows, refinement by the pictures"
            if self.refined
            else ""
        )
        lines.append(f"cameras by {by}{inside}")
        if len(self.doubted) == 1:
            lines.append(f"seam in doubt: {self.doubted[0]}")
        elif self.doubted:
            # The first one's reason stands for all, as they are mostly alike; `doubted` has them.
            names = [words.split(": ", 1)[0].removeprefix("frames ") for words in self.doubted]
            lines.append(f"seams in doubt: frames {', '.join(names)}; first: {self._first_reason}")
        return lines

    @property
    def _first_reason(self) -> str:
        return self.doubted[0].split(": ", 1)[-1]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no finite number")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is no count")
    return value
