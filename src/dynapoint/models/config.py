"""Frozen configurations of the video networks; presets are functions that return them."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dynapoint.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StemConfig:
    """A convolutional image encoder with strides 2, 4 and 8 whose finer maps serve as skips."""

    half_width: int = 48
    quarter_width: int = 96
    groups: int = 8
    patch_size: int = 8


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
class MatcherConfig:
    """Explicit matching on the quarter-resolution map: an addition to the published design."""

    width: int = 64
    hidden: int = 96
    # The frame block of this pair (counted from 1) gives tokens that join the stem's features. It
    # is best the first: global attention tells tokens where they are in other frames, and then
    # matches are learned by position wherever the camera stands still (docs/nano.md).
    after_pair: int = 1
    temperature_init: float = 0.07


@dataclass(frozen=True, kw_only=True)
class TimeDecoderConfig:
    """Blocks that move a frame's tokens to the target time (V-DPM §3.3).

    `scope` "all": global blocks attend over every frame, as published. "pair": a source frame
    attends to itself and the target frame only, which makes a decoded map independent of the
    clip's length and its cost linear in the frames asked for.
    """

    depth: int = 1
    heads: int = 3
    mlp_ratio: float = 4.0
    layer_scale_init: float | None = None
    scope: Literal["all", "pair"] = "pair"
    # The published code leaves the modulation at its default initialisation; "zero" starts the
    # attention branch switched off (adaLN-zero).
    modulation_init: Literal["default", "zero"] = "zero"
    # A learned vector added to the target frame's tokens: not in the published design.
    target_flag: bool = True


@dataclass(frozen=True, kw_only=True)
class DenseHeadConfig:
    """A light dense head: convolutions and pixel shuffles over tokens and the stem's skips."""

    quarter_width: int = 64
    half_width: int = 32
    groups: int = 8


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
class NetworkConfig:
    """All numbers of a video network of the V-DPM family."""

    name: str
    image_side: int = 160
    stem: StemConfig = field(default_factory=StemConfig)
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)
    matcher: MatcherConfig = field(default_factory=MatcherConfig)
    decoder: TimeDecoderConfig = field(default_factory=TimeDecoderConfig)
    head: DenseHeadConfig = field(default_factory=DenseHeadConfig)
    camera: CameraHeadConfig = field(default_factory=CameraHeadConfig)

    def to_json(self) -> str:
        """The configuration as JSON text, to be stored beside weights."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "NetworkConfig":
        """Rebuild a configuration from `to_json`'s text."""
        try:
            parts: dict[str, Any] = json.loads(text)
            return NetworkConfig(
                name=parts["name"],
                image_side=parts["image_side"],
                stem=StemConfig(**parts["stem"]),
                aggregator=AggregatorConfig(**parts["aggregator"]),
                matcher=MatcherConfig(**parts["matcher"]),
                decoder=TimeDecoderConfig(**parts["decoder"]),
                head=DenseHeadConfig(**parts["head"]),
                camera=CameraHeadConfig(
                    **{
                        **parts["camera"],
                        "start_encoding": tuple(parts["camera"]["start_encoding"]),
                    }
                ),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ConfigError(
                f"the network configuration found does not fit this version ({error}); "
                "use weights of this version or the version that wrote them"
            ) from error


def nano_1() -> NetworkConfig:
    """The first small network that ships with the package."""
    return NetworkConfig(name="nano-1", image_side=112)


def tiny() -> NetworkConfig:
    """A network small enough for tests."""
    return NetworkConfig(
        name="tiny",
        image_side=48,
        stem=StemConfig(half_width=8, quarter_width=16, groups=4),
        aggregator=AggregatorConfig(width=32, depth=2, heads=2, registers=2),
        matcher=MatcherConfig(width=16, hidden=16, after_pair=1),
        decoder=TimeDecoderConfig(heads=2),
        head=DenseHeadConfig(quarter_width=16, half_width=8, groups=4),
        camera=CameraHeadConfig(trunk_depth=1, heads=2),
    )
