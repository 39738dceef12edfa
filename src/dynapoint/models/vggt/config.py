"""Configurations of the published networks, V-DPM and VGGT, and of their ablations."""

from dataclasses import dataclass, field, replace

from dynapoint.errors import ConfigError
from dynapoint.models.layers.config import (
    AggregatorConfig,
    CameraHeadConfig,
    DptHeadConfig,
    LevelDecoderConfig,
    PatchEmbedConfig,
)


@dataclass(frozen=True, kw_only=True)
class PublishedConfig:
    """All numbers of a published network.

    `levels` are the four (frame, global) pairs of the aggregator, counted from 0, that heads and
    decoder read. `decoder` None and `depth_head` true make VGGT.
    """

    name: str
    image_side: int = 518
    patch_embed: PatchEmbedConfig = field(default_factory=PatchEmbedConfig)
    aggregator: AggregatorConfig
    levels: tuple[int, int, int, int]
    head: DptHeadConfig = field(default_factory=DptHeadConfig)
    decoder: LevelDecoderConfig | None
    depth_head: bool
    camera: CameraHeadConfig

    def __post_init__(self) -> None:
        if sorted(set(self.levels)) != list(self.levels) or self.levels[-1] >= (
            self.aggregator.depth
        ):
            raise ConfigError(
                f"levels {self.levels} must be four different rising pairs of the aggregator's "
                f"{self.aggregator.depth}, counted from 0"
            )


def _published_camera_head() -> CameraHeadConfig:
    return CameraHeadConfig(
        trunk_depth=4,
        heads=16,
        iterations=4,
        layer_scale_init=0.01,
        start_encoding=(0.0,) * 9,
        square_pixels=False,
        start_from_matches=False,
    )


def vdpm() -> PublishedConfig:
    """V-DPM as published: 1,661,508,918 parameters (seeds: public code, commit 5e2a57c)."""
    return PublishedConfig(
        name="vdpm",
        aggregator=AggregatorConfig(width=1024, depth=24, heads=16, layer_scale_init=0.01),
        levels=(4, 11, 17, 23),
        decoder=LevelDecoderConfig(),
        depth_head=False,
        camera=_published_camera_head(),
    )


def vggt() -> PublishedConfig:
    """VGGT-1B as published, without its track head."""
    return PublishedConfig(
        name="vggt",
        aggregator=AggregatorConfig(
            width=1024, depth=24, heads=16, layer_scale_init=0.01, time_token=False
        ),
        levels=(4, 11, 17, 23),
        decoder=None,
        depth_head=True,
        camera=_published_camera_head(),
    )


def vdpm_miniature() -> PublishedConfig:
    """V-DPM's layout in small, for tests and for trying a training run on a CPU."""
    return PublishedConfig(
        name="vdpm-miniature",
        image_side=112,
        patch_embed=PatchEmbedConfig(depth=2, heads=2, trained_side=56),
        aggregator=AggregatorConfig(width=64, depth=4, heads=2, layer_scale_init=0.01),
        levels=(0, 1, 2, 3),
        head=DptHeadConfig(features=32, level_channels=(16, 24, 32, 32)),
        decoder=LevelDecoderConfig(depth=1, heads=2),
        depth_head=False,
        camera=replace(_published_camera_head(), trunk_depth=1, heads=2),
    )
