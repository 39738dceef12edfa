"""Patch tokens of images: DINOv2 with registers (Oquab et al. 2023, Darcet et al. 2024)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.layers.blocks import Block, run_block
from dynapoint.models.layers.config import PatchEmbedConfig

NORM_EPS = 1e-6
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's RGB values in [0, 1]; the published networks normalise their images by them."""


def normalised(images: Float[Tensor, "*batch rgb=3 height width"]) -> Tensor:
    """Images in [0, 1] in units of ImageNet's spread; the constants are float32 as published."""
    mean, std = (
        torch.tensor(values, device=images.device).to(images.dtype)[:, None, None]
        for values in (IMAGE_MEAN, IMAGE_STD)
    )
    return (images - mean) / std


class PatchProjection(nn.Module):
    """One convolution whose kernel and stride are the patch."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(
        self, images: Float[Tensor, "image rgb=3 height width"]
    ) -> Float[Tensor, "image patch channel"]:
        """Tokens in row-major order of the patches."""
        return self.proj(images).flatten(2).transpose(1, 2)


class DinoEncoder(nn.Module):
    """DINOv2 with registers; gives the normalised patch tokens and drops the others.

    `mask_token` is part of the published checkpoints and used by nothing here.
    """

    def __init__(self, config: PatchEmbedConfig, width: int) -> None:
        super().__init__()
        self.trained_grid = config.trained_side // config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + self.trained_grid**2, width) * 0.02)
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width), requires_grad=False)
        self.patch_embed = PatchProjection(config.patch_size, width)
        self.blocks = nn.ModuleList(
            Block(
                width,
                config.heads,
                mlp_ratio=config.mlp_ratio,
                scale_init=config.layer_scale_init,
                qk_norm=False,
                norm_eps=NORM_EPS,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.checkpoint_blocks = False

    def forward(
        self, images: Float[Tensor, "image rgb=3 height width"]
    ) -> Float[Tensor, "image patch channel"]:
        """Patch tokens of normalised images, in row-major order."""
        patch = self.patch_embed.proj.stride[0]
        grid_hw = (images.shape[-2] // patch, images.shape[-1] // patch)
        tokens = torch.cat(
            [self.cls_token.expand(len(images), -1, -1), self.patch_embed(images)], dim=1
        )
        tokens = tokens + self.positions(grid_hw)
        registers = self.register_tokens.expand(len(images), -1, -1)
        x = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        for block in self.blocks:
            x = run_block(block, x, checkpoint=self.checkpoint_blocks)
        return self.norm(x[:, 1 + registers.shape[1] :])

    def positions(self, grid_hw: tuple[int, int]) -> Float[Tensor, "1 token width"]:
        """Positional embedding of the class token and of a grid of patches.

        Away from the grid it was learned on it is resized by an antialiased bicubic filter, in
        float32 whatever the network's own precision, as published.
        """
        side = self.trained_grid
        if grid_hw == (side, side):
            return self.pos_embed
        dtype = self.pos_embed.dtype
        grid = self.pos_embed[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=grid_hw, mode="bicubic", antialias=True)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2).to(dtype)], dim=1)
