"""Frozen configurations of the video networks; presets are functions that return them."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from dynapoint.errors import ConfigError
from dynapoint.models.layers.config import (
    AggregatorConfig,
    CameraHeadConfig,
    QueryConfig,
    TimeDecoderConfig,
)


@dataclass(frozen=True, kw_only=True)
class StemConfig:
    """A convolutional image encoder with strides 2, 4 and 8 whose finer maps serve as skips."""

    half_width: int = 48
    quarter_width: int = 96
    groups: int = 8
    patch_size: int = 8
    # An encoder trained on real pictures, whose maps join the stem's (models.nano.image_encoder).
    encoder: Literal["efficientnet-lite0"] | None = None


@dataclass(frozen=True, kw_only=True)
class MatcherConfig:
    """Explicit matching on the quarter-resolution map: an addition to the published design."""

    width: int = 64
    hidden: int = 96
    # The frame block of this pair (counted from 1) gives tokens that join the stem's features. It
    # is best the first: global attention tells tokens where they are in other frames, and then
    # matches are learned by position wherever the camera stands still (docs/notes/nano.md).
    after_pair: int = 1
    temperature_init: float = 0.07
    missing_init: float = 0.0
    # Descriptors start as projections of the encoder's maps, to which learned ones are added.
    from_encoder: bool = False


@dataclass(frozen=True, kw_only=True)
class DenseHeadConfig:
    """A light dense head: convolutions and pixel shuffles over tokens and the stem's skips."""

    quarter_width: int = 64
    half_width: int = 32
    groups: int = 8


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """All numbers of a small network of one of the three systems.

    With a `decoder` it is V-DPM's: tokens of all frames, moved to a time. With a `query` it is
    DePT3R's: the backbone knows the time. With neither it is DPM's: the aggregator takes two frames
    at a time, has `depth` blocks that see one frame and as many for each of the two that see both.
    """

    name: str
    image_side: int = 160
    stem: StemConfig = field(default_factory=StemConfig)
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)
    matcher: MatcherConfig = field(default_factory=MatcherConfig)
    decoder: TimeDecoderConfig | None = field(default_factory=TimeDecoderConfig)
    query: QueryConfig | None = None
    head: DenseHeadConfig = field(default_factory=DenseHeadConfig)
    camera: CameraHeadConfig = field(default_factory=CameraHeadConfig)

    def __post_init__(self) -> None:
        if self.decoder is not None and self.query is not None:
            raise ConfigError(
                f"network {self.name!r} has a time decoder and a query embedding; give it one"
            )

    @property
    def system(self) -> Literal["dpm", "vdpm", "dept3r"]:
        """Which of the three systems it is a network of."""
        if self.decoder is not None:
            return "vdpm"
        return "dpm" if self.query is None else "dept3r"

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
                decoder=_decoder(parts["decoder"]),
                query=QueryConfig(**parts["query"]) if parts.get("query") else None,
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


def _decoder(found: dict[str, Any] | None) -> TimeDecoderConfig | None:
    if found is None:
        return None
    # Files of nano-1 still name a scope, of which "pair" is the only one that was ever used.
    return TimeDecoderConfig(**{name: value for name, value in found.items() if name != "scope"})


def nano_1() -> NetworkConfig:
    """The first small network that ships with the package."""
    return NetworkConfig(name="nano-1", image_side=112)


def nano_2() -> NetworkConfig:
    """The second small network: smaller, with an encoder that has seen real pictures."""
    return NetworkConfig(
        name="nano-2",
        image_side=128,
        stem=StemConfig(half_width=32, quarter_width=64, encoder="efficientnet-lite0"),
        aggregator=AggregatorConfig(width=128, depth=4, heads=2),
        # Where the encoder's own maps match best before any training.
        matcher=MatcherConfig(
            width=96, hidden=64, from_encoder=True, temperature_init=0.1, missing_init=7.0
        ),
        decoder=TimeDecoderConfig(heads=2),
        head=DenseHeadConfig(quarter_width=48, half_width=24),
        camera=CameraHeadConfig(trunk_depth=1, heads=4, mlp_ratio=1.5),
    )


def comparison(name: str) -> NetworkConfig:
    """The V-DPM network, of 1.7 M parameters, that systems and ablations are compared with."""
    return NetworkConfig(
        name=name,
        image_side=96,
        stem=StemConfig(half_width=24, quarter_width=48),
        aggregator=AggregatorConfig(width=96, depth=3, heads=2),
        matcher=MatcherConfig(width=48, hidden=48),
        decoder=TimeDecoderConfig(heads=2),
        head=DenseHeadConfig(quarter_width=32, half_width=16),
        camera=CameraHeadConfig(trunk_depth=1, heads=4, mlp_ratio=1.5),
    )


def comparison_dpm(name: str) -> NetworkConfig:
    """DPM's kind of network, of the size of `comparison`."""
    return replace(comparison(name), decoder=None)


def comparison_dept3r(name: str, query: QueryConfig | None = None) -> NetworkConfig:
    """DePT3R's kind of network, of the size of `comparison`."""
    base = comparison(name)
    # One more pair of blocks stands for the decoder that it has none of.
    return replace(
        base,
        aggregator=replace(base.aggregator, depth=4, time_token=False),
        decoder=None,
        query=replace(query or QueryConfig(), mark_spread=0.1),
    )


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
