"""Depth Anything 3's dense heads: DPT (Ranftl et al. 2021) with a second chain for rays, or sky."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.da3.config import Da3Config
from dynapoint.models.layers.config import DptHeadConfig
from dynapoint.models.layers.dpt_head import FusionBlock, with_positions

DEPTH_OUTPUTS, RAY_OUTPUTS = 2, 7

Levels = Sequence[Float[Tensor, "image _channels _rows _columns"]]


class Chain(nn.Module):
    """Four fusion blocks, from the coarsest map to the finest, which is doubled in size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (
            FusionBlock(width, finer=level < 4, relu_in_skip=False) for level in (1, 2, 3, 4)
        )

    def forward(self, levels: Levels) -> Float[Tensor, "image width rows columns"]:
        """The fused map."""
        first, second, third, fourth = levels
        x = self.refinenet4(fourth, None, _size(third))
        x = self.refinenet3(x, third, _size(second))
        x = self.refinenet2(x, second, _size(first))
        rows, columns = _size(first)
        return self.refinenet1(x, first, (2 * rows, 2 * columns))


class Pyramid(nn.Module):
    """Four levels of patch tokens as maps of four sizes, each of `features` channels.

    `placed` adds a normalisation of the tokens and an embedding of the pixels' places, which the
    networks of single pictures do without.
    """

    def __init__(self, config: DptHeadConfig, token_width: int, *, placed: bool) -> None:
        super().__init__()
        channels, width = config.level_channels, config.features
        self.norm = nn.LayerNorm(token_width) if placed else None
        self.projects = nn.ModuleList(nn.Conv2d(token_width, each, 1) for each in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )
        self.layer_rn = nn.ModuleList(
            nn.Conv2d(each, width, 3, padding=1, bias=False) for each in channels
        )

    def forward(
        self,
        layers: Sequence[Float[Tensor, "image patch token_width"]],
        grid_hw: tuple[int, int],
        aspect: float,
    ) -> list[Tensor]:
        """The maps, the finest first."""
        maps = []
        for tokens, project, resize, even in zip(
            layers, self.projects, self.resize_layers, self.layer_rn, strict=True
        ):
            normed = tokens if self.norm is None else self.norm(tokens)
            level = project(normed.transpose(1, 2).unflatten(2, grid_hw))
            level = level if self.norm is None else with_positions(level, aspect)
            maps.append(even(resize(level)))
        return maps


class DepthHead(nn.Module):
    """The finest fused map as raw values of every pixel."""

    def __init__(self, config: DptHeadConfig, *, outputs: int, sky: bool, placed: bool) -> None:
        super().__init__()
        width = config.features
        self.placed = placed
        self.chain = Chain(width)
        self.output_conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.output_conv2 = _last(width // 2, outputs)
        self.sky_output_conv2 = _last(width // 2, 1) if sky else None

    def forward(
        self, levels: Levels, image_hw: tuple[int, int]
    ) -> Float[Tensor, "image outputs height width"]:
        """Values before any activation; sky, where there is any, is the last."""
        x = functional.interpolate(
            self.output_conv1(self.chain(levels)),
            size=image_hw,
            mode="bilinear",
            align_corners=True,
        )
        if self.placed:
            x = with_positions(x, image_hw[1] / image_hw[0])
        values = self.output_conv2(x)
        if self.sky_output_conv2 is None:
            return values
        return torch.cat([values, self.sky_output_conv2(x)], dim=1)


class RayHead(nn.Module):
    """A chain of its own for rays, at 8/14 of the images' size.

    The published head has four outputs of which the last is used; only that is built.
    """

    def __init__(self, config: DptHeadConfig) -> None:
        super().__init__()
        width = config.features
        half = width // 2
        self.chain = Chain(width)
        widths = (width, half, width, half, width, half)
        self.output_conv1 = nn.Sequential(
            *(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        )
        self.output_conv = nn.Conv2d(half, 32, 3, padding=1)
        self.output_norm = nn.LayerNorm(32)
        self.output_last = nn.Conv2d(32, RAY_OUTPUTS, 1)

    def forward(
        self, levels: Levels, aspect: float
    ) -> Float[Tensor, "image outputs=7 rows columns"]:
        """Directions, origins and raw confidence."""
        x = self.output_conv(with_positions(self.output_conv1(self.chain(levels)), aspect))
        normed = self.output_norm(x.movedim(1, -1)).movedim(-1, 1)
        return self.output_last(functional.relu_(normed))


class DenseHeads(nn.Module):
    """All that is said of pixels, from the layers that the heads read."""

    def __init__(self, config: Da3Config) -> None:
        super().__init__()
        joined = config.across_from is not None
        self.pyramid = Pyramid(config.head, config.head_width, placed=joined)
        self.depth = DepthHead(
            config.head, outputs=DEPTH_OUTPUTS if joined else 1, sky=not joined, placed=joined
        )
        self.rays = RayHead(config.head) if joined else None

    def forward(
        self,
        layers: Sequence[Float[Tensor, "image patch token_width"]],
        grid_hw: tuple[int, int],
        image_hw: tuple[int, int],
    ) -> Float[Tensor, "image outputs height width"]:
        """Raw values of depth, and confidence or sky."""
        return self.depth(self.pyramid(layers, grid_hw, image_hw[1] / image_hw[0]), image_hw)

    def ray_values(
        self,
        layers: Sequence[Float[Tensor, "image patch token_width"]],
        grid_hw: tuple[int, int],
        image_hw: tuple[int, int],
    ) -> Float[Tensor, "image outputs=7 rows columns"]:
        """Raw values of rays; the network has views joined."""
        assert self.rays is not None
        aspect = image_hw[1] / image_hw[0]
        return self.rays(self.pyramid(layers, grid_hw, aspect), aspect)


def _last(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, 32, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(32, outputs, 1)
    )


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
