"""What a refinement found, for those who ask how far to trust it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found, and what came of it.

    Attributes:
        poses: Whether the cameras' poses are the refined ones, or known to be right.
        known_poses: Whether they are those that were given, which stay.
        lens: Whether the focal length is.
        depth: Whether the own-time maps follow what matches tell. Where they do not, they are the
            network's, as far as frames agree on what stands still.
        start: What the solution grew from: "flow", "network" (its cameras), "features" or "none";
            or what it is: "still" (one camera for all frames) or "turning" (in one place).
        explained: Share of reliable matches within 3 pixels (of pictures of 256) of where still
            points and the refined cameras put them.
        explained_before: The same for what the network said.
        explained_plainly: The same for the refined cameras with the network's depths.
        coverage: Share of pixels that were matched reliably, over the pairs looked at.
        parallax: Share of pixels whose matches tell their depth.
        lens_sigma: How far the logarithm of the focal length may be off, by the matches and what
            was known before together.
        turn_sigma_deg: How far cameras may be turned from where they are, if all matches had
            errors of a pixel, none of which knew of another.
        noise_px: What right matches err by along an axis, in pixels of those pictures.
        still: Share of pixels that were found to be still.
        moving: Share of pixels that were found to move.
        seconds: Wall-clock seconds by stage.
    """

    poses: bool = False
    known_poses: bool = False
    lens: bool = False
    depth: bool = False
    start: str = "none"
    explained: float = 0.0
    explained_before: float = 0.0
    explained_plainly: float = 0.0
    coverage: float = 0.0
    parallax: float = 0.0
    lens_sigma: float = 1.0
    turn_sigma_deg: float = 180.0
    noise_px: float = 1.0
    still: float = 0.0
    moving: float = 0.0
    # Two runs that find the same are the same, however long they took.
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def changed(self) -> tuple[str, ...]:
        """What is refined, in words."""
        poses = self.poses and not self.known_poses
        parts = {"poses": poses, "lens": self.lens, "depth": self.depth}
        return tuple(name for name, is_refined in parts.items() if is_refined)

    def to_plain(self) -> dict[str, Any]:
        """Plain values by their names, numbers rounded to what they are worth."""
        plain = {name: _rounded(value) for name, value in asdict(self).items()}
        if not self.known_poses:
            # Scenes from before poses could be known do not say it.
            del plain["known_poses"]
        plain["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Findings":
        """What `to_plain` gave; raises KeyError, TypeError or ValueError for anything else."""
        # Scenes from before either was said do not have it.
        plain = {"known_poses": False, "noise_px": cls.noise_px, **plain}
        if plain.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("its entries have other names")
        kept: dict[str, Any] = {}
        for name, entry in cls.__dataclass_fields__.items():
            value = plain[name]
            if name == "seconds":
                kept[name] = {str(stage): _number(took) for stage, took in value.items()}
            elif isinstance(entry.default, float):
                kept[name] = _number(value)
            elif isinstance(value, type(entry.default)):
                kept[name] = value
            else:
                raise TypeError(f"{name} is a {type(value).__name__}")
        return cls(**kept)

    def lines(self) -> list[str]:
        """What was found, in plain words."""
        share = f"{100 * self.explained:.0f} % of the matches"
        if self.known_poses:
            return [self._line_of_known_poses(share)]
        if self.start == "none":
            return ["cameras are the network's own: no matches to refine them by"]
        before = f"the network's own {100 * self.explained_before:.0f} %"
        if not self.poses:
            return [
                f"cameras are the network's own: other cameras explain {share} (which cover "
                f"{100 * self.coverage:.0f} % of pixels), but are too uncertain"
            ]
        uncertain = f"; the focal length is uncertain by {100 * self.lens_sigma:.0f} %"
        # Given intrinsics are certain.
        kept = "" if self.lens or self.lens_sigma < 0.005 else uncertain
        return [f"refined {', '.join(self.changed)}: cameras explain {share}, {before}{kept}"]

    def _line_of_known_poses(self, share: str) -> str:
        if self.start == "none":
            return "cameras are the given ones: no matches to refine depth by"
        if not self.depth:
            return f"cameras are the given ones and depth the network's: they explain {share}"
        before = f"{100 * self.explained_before:.0f} % with the network's depth"
        return f"refined depth by the given cameras: they explain {share}, {before}"


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no finite number")
    return float(value)
