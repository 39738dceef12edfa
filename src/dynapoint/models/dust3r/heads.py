"""DUSt3R's heads: the tokens of one image of a pair to four raw values per pixel."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.dust3r.config import Dust3rConfig
from dynapoint.models.layers.dpt_head import FusionBlock

OUTPUTS = 4
"""x, y, z and confidence, before their activations."""


class LinearHead(nn.Module):
    """One linear layer whose outputs are the pixels of a patch."""

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.proj = nn.Linear(config.decoder.width, OUTPUTS * config.patch_size**2)

    def forward(
        self, levels: Sequence[Float[Tensor, "image patch _width"]], grid_hw: tuple[int, int]
    ) -> Float[Tensor, "image outputs height width"]:
        """Raw values of every pixel, from the last level alone."""
        values = self.proj(levels[-1]).transpose(1, 2).unflatten(2, grid_hw)
        return functional.pixel_shuffle(values, self.patch_size)


class DptScratch(nn.Module):
    """The convolutions that join the four levels, named as in the published checkpoints.

    The public code's ReLU is not in place here, as it is in VGGT: skips carry x itself.
    """

    def __init__(self, level_channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(channels, width, 3, padding=1, bias=False) for channels in level_channels
        )
        self.refinenet1 = FusionBlock(width, finer=True, relu_in_skip=False)
        self.refinenet2 = FusionBlock(width, finer=True, relu_in_skip=False)
        self.refinenet3 = FusionBlock(width, finer=True, relu_in_skip=False)
        self.refinenet4 = FusionBlock(width, finer=False, relu_in_skip=False)

    def forward(
        self, maps: Sequence[Float[Tensor, "image _channels _rows _columns"]]
    ) -> Float[Tensor, "image width rows columns"]:
        """From the coarsest map to the finest, which is doubled in size."""
        layers = (self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn)
        levels = [layer(level) for layer, level in zip(layers, maps, strict=True)]
        x = self.refinenet4(levels[3], None, _doubled(levels[3]))
        blocks = (self.refinenet3, self.refinenet2, self.refinenet1)
        for block, level in zip(blocks, reversed(levels[:3]), strict=True):
            # The coarsest map of a grid with odd sides is rounded up, and too large once doubled.
            rows, columns = level.shape[-2:]
            x = block(x[..., :rows, :columns], level, _doubled(level))
        return x


class DptPixelHead(nn.Module):
    """A DPT head (Ranftl et al. 2021) in CroCo's form, over levels of different widths."""

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        head, channels = config.head, config.head.level_channels
        widths = (config.encoder.width, *[config.decoder.width] * 3)
        resized: list[list[nn.Module]] = [
            [nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4)],
            [nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2)],
            [],
            [nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1)],
        ]
        self.act_postprocess = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, count, 1), *resize)
            for width, count, resize in zip(widths, channels, resized, strict=True)
        )
        self.scratch = DptScratch(channels, head.features)
        self.head = nn.Sequential(
            nn.Conv2d(head.features, head.features // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(head.features // 2, head.last_width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(head.last_width, OUTPUTS, 1),
        )

    def forward(
        self, levels: Sequence[Float[Tensor, "image patch _width"]], grid_hw: tuple[int, int]
    ) -> Float[Tensor, "image outputs height width"]:
        """Raw values of every pixel, from the four levels of the configuration."""
        maps = [
            resize(tokens.transpose(1, 2).unflatten(2, grid_hw))
            for tokens, resize in zip(levels, self.act_postprocess, strict=True)
        ]
        return self.head(self.scratch(maps))


def pixel_head(config: Dust3rConfig) -> LinearHead | DptPixelHead:
    """The kind of head that a configuration asks for, of random weights."""
    return LinearHead(config) if config.head.kind == "linear" else DptPixelHead(config)


def _doubled(x: Tensor) -> tuple[int, int]:
    return 2 * x.shape[-2], 2 * x.shape[-1]
