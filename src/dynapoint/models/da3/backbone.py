"""Depth Anything 3's vision transformer: DINOv2's layout, some of its blocks across all views."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.da3.config import ROPE_BASE, Da3Config
from dynapoint.models.da3.reference_view import (
    LEAST_VIEWS,
    Strategy,
    chosen_view,
    order_with_first,
)
from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.blocks import Block, run_block
from dynapoint.models.layers.dino import NORM_EPS, PatchProjection, normalised

# Added to the grid's sides before they are divided by the trained one's, as DINOv2 did.
_GRID_OFFSET = 0.1
_EMBEDDED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the heads read, at each of four layers, views in the order they were given in.

    Attributes:
        patches: Normalised patch tokens; where views are joined, behind those of the last block
            within the view, which are not.
        camera_tokens: The first tokens, not normalised; empty in networks of single pictures.
        first: The view that was taken first, or None where no view was chosen.
    """

    patches: tuple[Float[Tensor, "batch view patch channel"], ...]
    camera_tokens: tuple[Float[Tensor, "batch view channel"], ...]
    first: Int[Tensor, " batch"] | None


class Backbone(nn.Module):
    """The transformer; state names are the published ones behind `backbone.pretrained.`."""

    def __init__(self, config: Da3Config) -> None:
        super().__init__()
        self.config = config
        width, side = config.width, config.trained_side // config.patch_size
        self.trained_grid = side
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side**2, width))
        across = config.across_from
        if across is not None:
            self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.patch_embed = PatchProjection(config.patch_size, width)
        self.blocks = nn.ModuleList(
            Block(
                width,
                config.heads,
                mlp_ratio=4.0,
                scale_init=1.0,
                qk_norm=across is not None and index >= across,
                norm_eps=NORM_EPS,
            )
            for index in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.strategy: Strategy = "saddle_balanced"
        self.checkpoint_blocks = False

    def forward(
        self,
        images: Float[Tensor, "batch view rgb=3 height width"],
        known: Float[Tensor, "batch view channel"] | None = None,
        *,
        normalise: bool = False,
    ) -> Features:
        """Read images, normalised or in [0, 1]; tokens of `known` cameras choose no view."""
        batch, views, _, height, width = images.shape
        patch = self.config.patch_size
        grid_hw = (height // patch, width // patch)
        # A few at a time, so that normalised images of all views are never there at once.
        parts = images.flatten(0, 1).split(_EMBEDDED_AT_ONCE)
        tokens = torch.cat(
            [self.patch_embed(normalised(part) if normalise else part) for part in parts]
        )
        first_token = self.cls_token.expand(batch * views, -1, -1)
        x = torch.cat([first_token, tokens], dim=1) + self.positions(grid_hw)
        x = x.unflatten(0, (batch, views))
        across = self.config.across_from
        if across is None:
            return self._alone(x)
        return self._across(x, grid_hw, across, known)

    def _alone(self, x: Float[Tensor, "batch view token width"]) -> Features:
        shape, flat = x.shape[:2], x.flatten(0, 1)
        patches = []
        for index, block in enumerate(self.blocks):
            flat = run_block(block, flat, checkpoint=self.checkpoint_blocks)
            if index in self.config.layers:
                patches.append(self.norm(flat[:, 1:]).unflatten(0, shape))
        return Features(patches=tuple(patches), camera_tokens=(), first=None)

    def _across(
        self,
        x: Float[Tensor, "batch view token width"],
        grid_hw: tuple[int, int],
        across: int,
        known: Float[Tensor, "batch view width"] | None,
    ) -> Features:
        batch, views, tokens, _ = x.shape
        within, joint = self._turns(grid_hw, views, x)
        first = back = None
        local = x
        patches, cameras = [], []
        for index, block in enumerate(self.blocks):
            if index == across - 1 and known is None and views >= LEAST_VIEWS:
                first = chosen_view(x[:, :, 0], self.strategy)
                order, back = order_with_first(first, views)
                x = _ordered(x, order)
            if index == across:
                x = torch.cat([self._camera_tokens(x, known)[:, :, None], x[:, :, 1:]], dim=2)
            whole = index >= across and index % 2 == 1
            # What the block before the last one gave is let go before this one runs.
            local = local if whole else x
            flat = x.flatten(1, 2) if whole else x.flatten(0, 1)
            turns = joint if whole else within if index >= across else None
            flat = run_block(block, flat, positions=turns, checkpoint=self.checkpoint_blocks)
            x = flat.view(batch, views, tokens, -1)
            local = local if whole else x
            if index in self.config.layers:
                read, camera = self._read(local, x, back)
                patches.append(read)
                cameras.append(camera)
        return Features(patches=tuple(patches), camera_tokens=tuple(cameras), first=first)

    def _read(
        self,
        local: Float[Tensor, "batch view token width"],
        x: Float[Tensor, "batch view token width"],
        back: Int[Tensor, "batch view"] | None,
    ) -> tuple[Float[Tensor, "batch view patch channel"], Float[Tensor, "batch view channel"]]:
        """What the heads read of a layer: patches, and camera tokens."""
        patches, cameras = [], []
        for tokens in (local, x):
            camera, patch = tokens[:, :, 0], tokens[:, :, 1:]
            cameras.append(camera if back is None else _ordered(camera, back))
            patches.append(patch if back is None else _ordered(patch, back))
        patches[1] = self.norm(patches[1])
        return torch.cat(patches, dim=-1), torch.cat(cameras, dim=-1)

    def _turns(
        self, grid_hw: tuple[int, int], views: int, like: Tensor
    ) -> tuple[RotaryPositions, RotaryPositions]:
        """Positions within a view; and across views, where all patches are in one place."""
        head_width = self.config.width // self.config.heads

        def positions(grid: tuple[int, int]) -> RotaryPositions:
            return RotaryPositions.for_grid(
                specials=1, grid_hw=grid, head_width=head_width, base=ROPE_BASE, like=like
            )

        within, one = positions(grid_hw), positions((1, 1))
        place = torch.ones(len(within.cosine), dtype=torch.long, device=like.device)
        place[0] = 0
        alike = RotaryPositions(one.cosine[place], one.sine[place])
        return within, alike.repeat(views)

    def _camera_tokens(
        self,
        x: Float[Tensor, "batch view token width"],
        known: Float[Tensor, "batch view width"] | None,
    ) -> Float[Tensor, "batch view width"]:
        if known is not None:
            return known.to(x.dtype)
        batch, views = x.shape[:2]
        others = self.camera_token[:, 1:].expand(-1, views - 1, -1)
        tokens = torch.cat([self.camera_token[:, :1], others], dim=1)
        return tokens.to(x.dtype).expand(batch, -1, -1)

    def positions(self, grid_hw: tuple[int, int]) -> Float[Tensor, "1 token width"]:
        """Positional embedding of the class token and of a grid of patches.

        It is resized in float32, as published; unlike VGGT's by factors that are a little larger
        than the ratio of the sides, and without an antialiasing filter.
        """
        side = self.trained_grid
        if grid_hw == (side, side):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
        factors = [(count + _GRID_OFFSET) / side for count in grid_hw]
        grid = functional.interpolate(grid, scale_factor=factors, mode="bicubic")
        flat = grid.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
        return torch.cat([self.pos_embed[:, :1], flat], dim=1)


def _ordered(
    x: Float[Tensor, "batch view *rest"], order: Int[Tensor, "batch view"]
) -> Float[Tensor, "batch view *rest"]:
    rows = torch.arange(len(x), device=x.device)[:, None]
    return x[rows, order]


def layers_of(features: Features, views: Sequence[int]) -> list[Tensor]:
    """The patch tokens of some views, one after the other, of each layer."""
    chosen = list(views)
    return [layer[:, chosen].flatten(0, 1) for layer in features.patches]
