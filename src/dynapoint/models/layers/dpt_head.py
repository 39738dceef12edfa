"""VGGT's DPT head: four levels of patch tokens to a value per pixel (Ranftl et al. 2021)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.layers.config import DptHeadConfig

_EMBEDDING_BASE, _EMBEDDING_GAIN = 100.0, 0.1


class ResidualConvUnit(nn.Module):
    """Two convolutions beside a skip that carries relu(x), or x itself (`relu_in_skip` false).

    The ReLU of VGGT's public code works in place, so its skip adds what the ReLU has left; the
    published weights were trained that way. DUSt3R's ReLU does not.
    """

    def __init__(self, width: int, *, relu_in_skip: bool = True) -> None:
        super().__init__()
        self.relu_in_skip = relu_in_skip
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "image width rows columns"]
    ) -> Float[Tensor, "image width rows columns"]:
        """Refine a feature map."""
        activated = functional.relu(x)
        skip = activated if self.relu_in_skip else x
        return skip + self.conv2(functional.relu_(self.conv1(activated)))


class FusionBlock(nn.Module):
    """Joins a coarse map with a finer one and enlarges the sum."""

    def __init__(self, width: int, *, finer: bool, relu_in_skip: bool = True) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1 = ResidualConvUnit(width, relu_in_skip=relu_in_skip) if finer else None
        self.resConfUnit2 = ResidualConvUnit(width, relu_in_skip=relu_in_skip)

    def forward(
        self,
        coarse: Float[Tensor, "image width rows columns"],
        finer: Float[Tensor, "image width rows columns"] | None,
        size: tuple[int, int],
    ) -> Float[Tensor, "image width new_rows new_columns"]:
        """The fused map at `size`."""
        if self.resConfUnit1 is not None and finer is not None:
            coarse = coarse + self.resConfUnit1(finer)
        # The published order is resize, then convolve. A convolution of one pixel commutes with
        # interpolation, whose weights add up to one, and is four times cheaper beforehand.
        return _resized(self.out_conv(self.resConfUnit2(coarse)), size)


class Scratch(nn.Module):
    """The head's convolutional part, named as in the published checkpoints."""

    def __init__(self, config: DptHeadConfig, outputs: int) -> None:
        super().__init__()
        width = config.features
        convolutions = [
            nn.Conv2d(channels, width, 3, padding=1, bias=False)
            for channels in config.level_channels
        ]
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = convolutions
        self.refinenet1 = FusionBlock(width, finer=True)
        self.refinenet2 = FusionBlock(width, finer=True)
        self.refinenet3 = FusionBlock(width, finer=True)
        self.refinenet4 = FusionBlock(width, finer=False)
        self.output_conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(width // 2, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, outputs, 1),
        )

    def fuse(
        self, maps: Sequence[Float[Tensor, "image _channels _rows _columns"]]
    ) -> Float[Tensor, "image half_width rows columns"]:
        """From the coarsest map to the finest, which is doubled in size."""
        names = (self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn)
        first, second, third, fourth = (
            layer(level) for layer, level in zip(names, maps, strict=True)
        )
        x = self.refinenet4(fourth, None, _size(third))
        x = self.refinenet3(x, third, _size(second))
        x = self.refinenet2(x, second, _size(first))
        rows, columns = _size(first)
        return self.output_conv1(self.refinenet1(x, first, (2 * rows, 2 * columns)))


class DptHead(nn.Module):
    """Levels of patch tokens to `outputs` raw values per pixel, one frame apart from the other.

    `condition` > 0 adds a modulation of the normalised tokens by a vector of that width, which
    starts as the identity (V-DPM's ablation without decoder blocks).
    """

    def __init__(
        self, config: DptHeadConfig, *, token_width: int, outputs: int, condition: int = 0
    ) -> None:
        super().__init__()
        channels = config.level_channels
        self.norm = nn.LayerNorm(token_width)
        self.projects = nn.ModuleList(nn.Conv2d(token_width, c, 1) for c in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(config, outputs)
        self.modulation = nn.Linear(condition, 2 * token_width) if condition else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        levels: Sequence[Float[Tensor, "image patch token_width"]],
        grid_hw: tuple[int, int],
        image_hw: tuple[int, int],
        condition: Float[Tensor, "image condition"] | None = None,
    ) -> Float[Tensor, "image outputs height width"]:
        """Raw values of every pixel, before any activation."""
        aspect = image_hw[1] / image_hw[0]
        modulation = self._modulation(condition)
        maps = []
        for tokens, project, resize in zip(levels, self.projects, self.resize_layers, strict=True):
            normed = self.norm(tokens)
            if modulation is not None:
                shift, scale = modulation
                normed = normed * (1 + scale) + shift
            level = project(normed.transpose(1, 2).unflatten(2, grid_hw))
            maps.append(resize(with_positions(level, aspect)))
        x = _resized(self.scratch.fuse(maps), image_hw)
        return self.scratch.output_conv2(with_positions(x, aspect))

    def _modulation(self, condition: Tensor | None) -> tuple[Tensor, Tensor] | None:
        if self.modulation is None or condition is None:
            return None
        shift, scale = self.modulation(functional.silu(condition))[:, None].chunk(2, dim=-1)
        return shift, scale


def with_positions(
    x: Float[Tensor, "image channels rows columns"], aspect: float
) -> Float[Tensor, "image channels rows columns"]:
    """Add, in place, a tenth of a sinusoidal embedding of the pixels' places: half x's, half y's.

    `aspect` is the image's width over its height; places span a rectangle of that shape whose
    diagonal is 2. The angles are computed in float64 and the embedding is rounded to float32
    before it is scaled, as published.
    """
    channels, rows, columns = x.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    along_x = _embedding(columns, aspect / diagonal, channels // 2, x)
    along_y = _embedding(rows, 1 / diagonal, channels // 2, x)
    # Both halves together would be as large as a map, and memory that is new costs as much time as
    # the addition.
    x[:, : channels // 2] += along_x[:, None, :]
    x[:, channels // 2 :] += along_y[:, :, None]
    return x


def _embedding(
    count: int, span: float, channels: int, like: Tensor
) -> Float[Tensor, "channels count"]:
    """Sines, then cosines, of the places of `count` pixel centres in [-span, span]."""
    edge = span * (count - 1) / count
    place = torch.linspace(-edge, edge, count, dtype=torch.float64, device=like.device)
    octave = torch.arange(channels // 2, dtype=torch.float64, device=like.device)
    angle = _EMBEDDING_BASE ** (-octave / (channels / 2))[:, None] * place
    # Channels lie side by side, as in the maps that come of tokens: twenty times faster to add.
    embedding = torch.cat([angle.sin(), angle.cos()]).float().T.contiguous().T
    return (embedding * _EMBEDDING_GAIN).to(like.dtype)


def inverse_log(y: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sign(y) · (exp(|y|) − 1), the points' activation in VGGT."""
    return y.sign() * torch.expm1(y.abs())


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
