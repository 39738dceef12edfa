"""What a refinement found, for those who ask how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found, and what came of it.

    Attributes:
        poses: Whether the cameras' poses are the refined ones.
        lens: Whether the focal length is.
        depth: Whether the own-time maps are.
        start: What the solution grew from: "flow", "features", "given" poses, or "none".
        explained: Share of reliable matches within 3 pixels (of pictures of 256) of where still
            points and the refined cameras put them.
        explained_before: The same for what the network said.
        coverage: Share of pixels that were matched reliably, over the pairs looked at.
        parallax: Share of pixels whose matches tell their depth.
        lens_sigma: How far the logarithm of the focal length may be off, by the matches and what
            was known before together.
        still: Share of pixels that were found to be still.
        moving: Share of pixels that were found to move.
        seconds: Wall-clock seconds by stage.
    """

    poses: bool = False
    lens: bool = False
    depth: bool = False
    start: str = "none"
    explained: float = 0.0
    explained_before: float = 0.0
    coverage: float = 0.0
    parallax: float = 0.0
    lens_sigma: float = 1.0
    still: float = 0.0
    moving: float = 0.0
    # Two runs that find the same are the same, however long they took.
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
