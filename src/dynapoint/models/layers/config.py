"""Configurations of the layers that several families share."""

from dataclasses import dataclass
from typing import Literal

from dynapoint.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AggregatorConfig:
    """Alternating frame and global attention (V-DPM §3; VGGT's aggregator)."""

    width: int = 192
    depth: int = 4
    heads: int = 3
    mlp_ratio: float = 4.0
    registers: int = 4
    # VGGT has no time token; everything that moves points in time needs one.
    time_token: bool = True
    rope_base: float = 100.0
    # The published networks start layer scale at .01, which mutes a shallow network trained from
    # nothing; None leaves it out.
    layer_scale_init: float | None = None

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ConfigError(
                f"width {self.width} over {self.heads} heads must give head sizes divisible by 4 "
                "(two axes of rotate-half pairs); change width or heads"
            )


@dataclass(frozen=True, kw_only=True)
class TimeDecoderConfig:
    """Blocks that move a frame's tokens to the target time (V-DPM §3.3), and its ablations.

    `conditioning` "adaln": attention modulated by the target's time token; "additive": the token,
    through a linear layer, is added to all tokens; "head": no blocks (`depth` 0), the tokens that
    the motion head reads are modulated.
    """

    depth: int = 1
    heads: int = 3
    mlp_ratio: float = 4.0
    layer_scale_init: float | None = None
    conditioning: Literal["adaln", "additive", "head"] = "adaln"
    # The published code leaves the modulation at its default initialisation; "zero" starts the
    # attention branch switched off (adaLN-zero).
    modulation_init: Literal["default", "zero"] = "zero"
    # A learned vector added to the target frame's tokens: not in the published design.
    target_flag: bool = True

    def __post_init__(self) -> None:
        if (self.conditioning == "head") != (self.depth == 0):
            raise ConfigError(
                f"a time decoder of depth {self.depth} with conditioning {self.conditioning!r}: "
                'depth is 0 for "head" and at least 1 for all others'
            )


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """How the backbone is told the time that points are asked for (DePT3R §3).

    The paper does not say where its query embedding enters (UNCONFIRMED): `into` "frame" adds a
    learned vector to all tokens of the query frame, "camera_token" to that frame's camera token.
    `intrinsics` lets known intrinsics be given (fx / width, fy / height, cy / height, by a linear
    layer onto each frame's camera token; the paper states neither normalisation nor layer).
    """

    into: Literal["frame", "camera_token"] = "camera_token"
    intrinsics: bool = True
    # Spread of the learned vector at the start. Blocks with layer scale hardly notice a small one;
    # where there is none, one as large as the tokens would drown what they say (rms .6 there).
    mark_spread: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CameraHeadConfig:
    """Iterative camera head on the camera tokens (VGGT's camera head)."""

    trunk_depth: int = 2
    heads: int = 6
    iterations: int = 3
    mlp_ratio: float = 4.0
    layer_scale_init: float | None = None
    # What the first iteration adds its answer to: (translation, quaternion xyzw, fov_h, fov_w). The
    # published head starts at zeros; a network trained from nothing at a plausible camera.
    start_encoding: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.7, 0.9)
    # One focal length for both axes; the published head predicts two.
    square_pixels: bool = True
    # After the first iteration, restart from the pose that robustly explains the matches.
    start_from_matches: bool = True


@dataclass(frozen=True, kw_only=True)
class PatchEmbedConfig:
    """What turns an image into patch tokens.

    "dinov2": a DINOv2 vision transformer with registers (Darcet et al. 2024), whose positional
    embedding was learned for square images of `trained_side` pixels. "conv": one convolution with
    kernel and stride `patch_size`, in which case the other fields mean nothing.
    """

    kind: Literal["dinov2", "conv"] = "dinov2"
    patch_size: int = 14
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    registers: int = 4
    trained_side: int = 518
    layer_scale_init: float = 1.0

    def __post_init__(self) -> None:
        if self.trained_side % self.patch_size:
            raise ConfigError(
                f"trained_side {self.trained_side} is no multiple of patch_size "
                f"{self.patch_size}; change one of them"
            )


@dataclass(frozen=True, kw_only=True)
class DptHeadConfig:
    """A DPT head (Ranftl et al. 2021) in VGGT's form, over four levels of tokens."""

    features: int = 256
    level_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)


@dataclass(frozen=True, kw_only=True)
class LevelDecoderConfig:
    """V-DPM's time-conditioned decoder over the four levels of tokens, and its ablations.

    `conditioning` "adaln": the attention branch of every block is modulated, as published.
    "additive": the target time's token, through one linear layer, is added to all tokens and the
    blocks are plain. "head": no blocks; a copy of the point head whose normalised tokens are
    modulated. The paper's supplement names the last two without details; their exact form is
    UNCONFIRMED.
    """

    depth: int = 4
    heads: int = 16
    mlp_ratio: float = 4.0
    layer_scale_init: float = 0.01
    conditioning: Literal["adaln", "additive", "head"] = "adaln"
    # "default" is what the public code does; how the paper's own decoder was initialised is
    # UNCONFIRMED. "zero" starts the attention branches switched off (adaLN-zero).
    modulation_init: Literal["default", "zero"] = "default"

    def __post_init__(self) -> None:
        if (self.depth == 0) != (self.conditioning == "head"):
            raise ConfigError(
                f"decoder depth {self.depth} with conditioning {self.conditioning!r}: only "
                '"head" has no blocks, and it has none; change one of them'
            )
