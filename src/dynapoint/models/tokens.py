"""Where the special tokens of a frame sit among its tokens."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """A frame's tokens: camera, time, registers, then patches in row-major order (V-DPM's code)."""

    registers: int

    @property
    def camera(self) -> int:
        """Index of the camera token."""
        return 0

    @property
    def time(self) -> int:
        """Index of the time token, from which the target time's condition is read."""
        return 1

    @property
    def patch_start(self) -> int:
        """Index of the first patch token."""
        return 2 + self.registers

    def patches(
        self, tokens: Float[Tensor, "*batch token width"]
    ) -> Float[Tensor, "*batch patch width"]:
        """The patch tokens alone."""
        return tokens[..., self.patch_start :, :]
