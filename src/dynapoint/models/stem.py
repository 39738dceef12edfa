"""A convolutional image encoder for networks that are trained from nothing."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.models.config import StemConfig


@dataclass(frozen=True, kw_only=True)
class StemFeatures:
    """Feature maps of all frames at strides 2, 4 and 8."""

    half: Float[Tensor, "image half_width half_height half_width_px"]
    quarter: Float[Tensor, "image quarter_width quarter_height quarter_width_px"]
    patches: Float[Tensor, "image width rows columns"]

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the patches."""
        return self.patches.shape[-2], self.patches.shape[-1]

    def of_images(self, chosen: list[int]) -> "StemFeatures":
        """The maps of some of the images, in the order given."""
        return StemFeatures(
            half=self.half[chosen], quarter=self.quarter[chosen], patches=self.patches[chosen]
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
