"""From images to maps at strides 2, 4 and 8: convolutions, alone or beside a trained encoder."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.nano.config import StemConfig
from dynapoint.models.nano.image_encoder import DEEP, HALF, PATCH, QUARTER, STAGES, ImageEncoder


@dataclass(frozen=True, kw_only=True)
class StemFeatures:
    """Feature maps of all frames at strides 2, 4 and 8."""

    half: Float[Tensor, "image half_width half_height half_width_px"]
    quarter: Float[Tensor, "image quarter_width quarter_height quarter_width_px"]
    patches: Float[Tensor, "image width rows columns"]
    # The encoder's own maps at strides 4 and 8, of which descriptors for matching are made.
    encoder_quarter: Float[Tensor, "image fine quarter_height quarter_width_px"] | None = None
    encoder_patches: Float[Tensor, "image coarse rows columns"] | None = None

    def without_encoder(self) -> "StemFeatures":
        """The same without the encoder's maps, once descriptors are made."""
        return replace(self, encoder_quarter=None, encoder_patches=None)

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the patches."""
        return self.patches.shape[-2], self.patches.shape[-1]

    def of_images(self, chosen: list[int]) -> "StemFeatures":
        """The maps of some of the images, in the order given."""
        fine, coarse = self.encoder_quarter, self.encoder_patches
        return StemFeatures(
            half=self.half[chosen],
            quarter=self.quarter[chosen],
            patches=self.patches[chosen],
            encoder_quarter=None if fine is None else fine[chosen],
            encoder_patches=None if coarse is None else coarse[chosen],
        )


class GroupNorm(nn.GroupNorm):
    """Group normalisation that answers in the type it is asked in.

    On a GPU autocast has it answer in float32, and all that follows up to the next convolution.
    """

    def forward(
        self, input: Float[Tensor, "image width rows columns"]
    ) -> Float[Tensor, "image width rows columns"]:
        """Normalise each image's groups of channels."""
        return super().forward(input).to(input.dtype)


def conv_norm(inputs: int, outputs: int, *, stride: int, groups: int) -> nn.Sequential:
    """A 3 × 3 convolution, group normalisation and GELU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        GroupNorm(groups, outputs),
        nn.GELU(),
    )


class ResidualUnit(nn.Module):
    """Two normalised 3 × 3 convolutions beside an identity; the second starts small."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            GroupNorm(groups, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            GroupNorm(groups, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(
        self, x: Float[Tensor, "image width rows columns"]
    ) -> Float[Tensor, "image width rows columns"]:
        """Refine a feature map."""
        return x + self.body(x)


class ConvStem(nn.Module):
    """Images to patch features with strides 2, 4 and 8; group normalisation keeps frames apart."""

    def __init__(self, config: StemConfig, width: int) -> None:
        super().__init__()
        groups = config.groups
        self.to_half = conv_norm(3, config.half_width, stride=2, groups=groups)
        self.to_quarter = nn.Sequential(
            conv_norm(config.half_width, config.quarter_width, stride=2, groups=groups),
            ResidualUnit(config.quarter_width, groups),
        )
        self.to_patches = nn.Sequential(
            conv_norm(config.quarter_width, width, stride=2, groups=groups),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, images: Float[Tensor, "image rgb=3 height width"]) -> StemFeatures:
        """Encode images in [0, 1] with sides that are multiples of 8."""
        half = self.to_half(2 * images - 1)
        quarter = self.to_quarter(half)
        return StemFeatures(half=half, quarter=quarter, patches=self.to_patches(quarter))


class EncoderStem(nn.Module):
    """The convolutional stem and projections of a trained encoder's maps, added at each stride.

    The encoder sees the images twice as large, so that its strides 4, 8, 16 and 32 are the stem's
    2, 4, 8 and 16; its deepest maps join those of stride 8. Maps are standardised channel by
    channel (`calibrate`), since their sizes differ by orders of magnitude.
    """

    def __init__(self, config: StemConfig, width: int) -> None:
        super().__init__()
        self.conv = ConvStem(config, width)
        self.encoder = ImageEncoder()
        half, quarter = STAGES[HALF].channels, STAGES[QUARTER].channels
        patch = STAGES[PATCH].channels + STAGES[DEEP].channels
        self.half_norm = ChannelNorm(half)
        self.quarter_norm = ChannelNorm(quarter)
        self.patch_norm = ChannelNorm(patch)
        self.to_half = nn.Conv2d(half, config.half_width, 1)
        self.to_quarter = nn.Conv2d(quarter, config.quarter_width, 1)
        self.to_patches = nn.Conv2d(patch, width, 1)

    def forward(self, images: Float[Tensor, "image rgb=3 height width"]) -> StemFeatures:
        """Encode images in [0, 1] with sides that are multiples of 8."""
        half, quarter, patch = self._maps(images)
        half, quarter = self.half_norm(half), self.quarter_norm(quarter)
        patch = self.patch_norm(patch)
        own_half = self.conv.to_half(2 * images - 1) + self.to_half(half)
        own_quarter = self.conv.to_quarter(own_half) + self.to_quarter(quarter)
        return StemFeatures(
            half=own_half,
            quarter=own_quarter,
            patches=self.conv.to_patches(own_quarter) + self.to_patches(patch),
            encoder_quarter=quarter,
            encoder_patches=patch[:, : STAGES[PATCH].channels],
        )

    @torch.no_grad()
    def calibrate(self, images: Float[Tensor, "image rgb=3 height width"]) -> None:
        """Take the mean and spread of each channel of the encoder's maps from given images."""
        norms = (self.half_norm, self.quarter_norm, self.patch_norm)
        for norm, maps in zip(norms, self._maps(images), strict=True):
            norm.calibrate(maps)

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        large = functional.interpolate(
            images, scale_factor=2.0, mode="bilinear", align_corners=False
        )
        maps = self.encoder(large.contiguous(memory_format=torch.channels_last))
        deep = functional.interpolate(
            maps[DEEP], size=maps[PATCH].shape[-2:], mode="bilinear", align_corners=False
        )
        return maps[HALF], maps[QUARTER], torch.cat([maps[PATCH], deep], dim=1)


class ChannelNorm(nn.Module):
    """Takes a fixed mean off each channel and divides by a fixed spread."""

    mean: Tensor
    spread: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    def calibrate(self, maps: Float[Tensor, "image channels rows columns"]) -> None:
        """Mean and spread of given maps from here on; the spread at least a thousandth."""
        self.mean.copy_(maps.mean(dim=(0, 2, 3)))
        self.spread.copy_(maps.std(dim=(0, 2, 3)).clamp_min(1e-3))

    def forward(
        self, maps: Float[Tensor, "image channels rows columns"]
    ) -> Float[Tensor, "image channels rows columns"]:
        """Standardised maps."""
        return (maps - self.mean[:, None, None]) / self.spread[:, None, None]


def build_stem(config: StemConfig, width: int) -> ConvStem | EncoderStem:
    """The stem that a configuration describes."""
    return EncoderStem(config, width) if config.encoder is not None else ConvStem(config, width)
