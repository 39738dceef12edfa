"""The sizes of Depth Anything 3 that may be used for any purpose."""

from dataclasses import dataclass

from dynapoint.models.layers.config import DptHeadConfig

CAMERA_ENCODER_HEADS, CAMERA_ENCODER_DEPTH = 16, 4
ROPE_BASE = 100.0


@dataclass(frozen=True, kw_only=True)
class Da3Config:
    """One network.

    Attributes:
        name: As users write it.
        width, depth, heads: Of the vision transformer.
        layers: Blocks, counted from 0, whose outputs the heads read.
        across_from: From this block on, every odd block sees all views at once, and queries and
            keys are normalised and told where they are. None in the networks of single pictures,
            which have no cameras and a head with sky.
        head: Of depth, and of rays where views are joined.
        image_side: The longer side of the images, in pixels.
        trained_side: Of the square images that the positional embedding is for.
    """

    name: str
    width: int
    depth: int
    heads: int
    layers: tuple[int, int, int, int]
    across_from: int | None
    head: DptHeadConfig
    image_side: int = 504
    trained_side: int = 518
    patch_size: int = 14

    @property
    def head_width(self) -> int:
        """How many channels the heads read: two blocks' outputs where views are joined."""
        return self.width if self.across_from is None else 2 * self.width


def da3_small() -> Da3Config:
    """DA3-SMALL."""
    return Da3Config(
        name="da3-small",
        width=384,
        depth=12,
        heads=6,
        layers=(5, 7, 9, 11),
        across_from=4,
        head=DptHeadConfig(features=64, level_channels=(48, 96, 192, 384)),
    )


def da3_base() -> Da3Config:
    """DA3-BASE."""
    return Da3Config(
        name="da3-base",
        width=768,
        depth=12,
        heads=12,
        layers=(5, 7, 9, 11),
        across_from=4,
        head=DptHeadConfig(features=128, level_channels=(96, 192, 384, 768)),
    )


def da3_metric() -> Da3Config:
    """DA3METRIC-LARGE."""
    return Da3Config(
        name="da3-metric",
        width=1024,
        depth=24,
        heads=16,
        layers=(4, 11, 17, 23),
        across_from=None,
        head=DptHeadConfig(features=256, level_channels=(256, 512, 1024, 1024)),
    )


def da3_miniature() -> Da3Config:
    """The layout in small, for tests."""
    return Da3Config(
        name="da3-miniature",
        width=64,
        depth=6,
        heads=2,
        layers=(2, 3, 4, 5),
        across_from=2,
        head=DptHeadConfig(features=16, level_channels=(8, 12, 16, 24)),
        image_side=112,
        trained_side=98,
    )
