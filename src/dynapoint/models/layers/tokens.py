"""How images become tokens: which sizes fit, and where a frame's special tokens sit."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dynapoint.errors import ConfigError, ShapeError


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """A frame's tokens: camera, time, registers, then patches in row-major order (V-DPM's code).

    VGGT has the same order without the time token.
    """

    registers: int
    time_token: bool = True

    @property
    def camera(self) -> int:
        """Index of the camera token."""
        return 0

    @property
    def time(self) -> int:
        """Index of the time token, from which the target time's condition is read."""
        if not self.time_token:
            raise ConfigError("this network has no time token; use one that decodes other times")
        return 1

    @property
    def patch_start(self) -> int:
        """Index of the first patch token."""
        return 1 + self.time_token + self.registers

    def patches(
        self, tokens: Float[Tensor, "*batch token width"]
    ) -> Float[Tensor, "*batch patch width"]:
        """The patch tokens alone."""
        return tokens[..., self.patch_start :, :]


def check_sides(image_hw: tuple[int, int], patch: int) -> None:
    """Refuse images that are not of whole patches.

    Raises:
        ShapeError: They are not.
    """
    height, width = image_hw
    if height % patch or width % patch or min(height, width) < patch:
        raise ShapeError(
            f"image sides must be multiples of {patch}, got {height} × {width}; resize the images "
            "first"
        )
