"""Configurations of DUSt3R's network (arXiv 2312.14132) and of DPM, which adds heads to it."""

from dataclasses import dataclass
from typing import Literal

from dynapoint.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PairTrunkConfig:
    """A vision transformer over one image, or one of the twin decoders over the pair."""

    width: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0


@dataclass(frozen=True, kw_only=True)
class PairHeadConfig:
    """What turns an image's tokens into four values per pixel.

    "dpt": convolutions over four levels of tokens (Ranftl et al. 2021), of which the encoder's are
    the first. "linear": one linear layer on the last level; the other fields then mean nothing.
    """

    kind: Literal["dpt", "linear"] = "dpt"
    features: int = 256
    level_channels: tuple[int, int, int, int] = (96, 192, 384, 768)
    last_width: int = 128


@dataclass(frozen=True, kw_only=True)
class Dust3rConfig:
    """All numbers of a network for pairs of images.

    With `heads_per_image` 1 it is DUSt3R's, or MonST3R's: one map for each image. With 2 it is
    DPM's: one for each image and each of the two times.
    """

    name: str
    image_side: int = 512
    patch_size: int = 16
    rope_base: float = 100.0
    encoder: PairTrunkConfig
    decoder: PairTrunkConfig
    head: PairHeadConfig
    heads_per_image: Literal[1, 2]

    def __post_init__(self) -> None:
        for trunk in (self.encoder, self.decoder):
            if trunk.width % (4 * trunk.heads):
                raise ConfigError(
                    f"width {trunk.width} of {self.name} gives each of {trunk.heads} heads no "
                    "multiple of 4 channels, which its rotary positions need; change one of them"
                )
        if self.head.kind == "dpt" and len(set(self.levels)) < len(self.levels):
            raise ConfigError(
                f"a decoder of depth {self.decoder.depth} has no three different levels for the "
                "heads; use 4 blocks or more"
            )

    @property
    def levels(self) -> tuple[int, int, int, int]:
        """What DPT heads read: 0 is the encoder's output, k that of the decoder's k-th block."""
        depth = self.decoder.depth
        return 0, depth // 2, 3 * depth // 4, depth


def dust3r() -> Dust3rConfig:
    """DUSt3R_ViTLarge_BaseDecoder_512_dpt, which MonST3R's network equals."""
    return Dust3rConfig(
        name="dust3r",
        encoder=PairTrunkConfig(width=1024, depth=24, heads=16),
        decoder=PairTrunkConfig(width=768, depth=12, heads=12),
        head=PairHeadConfig(),
        heads_per_image=1,
    )


def dpm() -> Dust3rConfig:
    """DPM as its paper describes it (arXiv 2503.16318 §3): two heads for each image.

    That it starts from the 512 × 512 DUSt3R with DPT heads is UNCONFIRMED, as the paper names no
    checkpoint; its training resolutions of 512 × 288 and 512 × 336 are those of that one.
    """
    published = dust3r()
    return Dust3rConfig(
        name="dpm",
        encoder=published.encoder,
        decoder=published.decoder,
        head=published.head,
        heads_per_image=2,
    )


def dpm_miniature() -> Dust3rConfig:
    """DPM's layout in small, for tests and for trying a training run on a CPU."""
    return Dust3rConfig(
        name="dpm-miniature",
        image_side=96,
        encoder=PairTrunkConfig(width=48, depth=2, heads=3),
        decoder=PairTrunkConfig(width=32, depth=4, heads=2),
        head=PairHeadConfig(features=16, level_channels=(8, 12, 16, 24), last_width=8),
        heads_per_image=2,
    )
