"""Alternating frame-wise and global attention over the tokens of all frames (VGGT, V-DPM)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.blocks import Block, run_block
from dynapoint.models.layers.config import AggregatorConfig
from dynapoint.models.layers.frame_index import frame_index
from dynapoint.models.layers.tokens import TokenLayout


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """Outputs of the (frame, global) pairs that were asked for, each 2 × width channels.

    `layers[k]` is the output of the k-th kept pair: the tokens after its frame block joined with
    those after its global block.
    """

    layers: tuple[Float[Tensor, "batch frame token double_width"], ...]
    positions: RotaryPositions


def stack_of_blocks(config: AggregatorConfig) -> nn.ModuleList:
    """As many plain blocks as the configuration's depth."""
    return nn.ModuleList(
        Block(
            config.width,
            config.heads,
            mlp_ratio=config.mlp_ratio,
            scale_init=config.layer_scale_init,
            qk_norm=True,
        )
        for _ in range(config.depth)
    )


class Aggregator(nn.Module):
    """Adds camera, time and register tokens to each frame's patches and lets all frames talk.

    Camera and register tokens have two versions: one for the reference frame, frame 0 unless said
    otherwise, and one for all others. The time token is one vector for all frames (V-DPM's code).
    """

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = TokenLayout(registers=config.registers, time_token=config.time_token)
        width = config.width
        self.camera_token = nn.Parameter(torch.randn(1, 2, 1, width) * 0.02)
        self.register_token = nn.Parameter(torch.randn(1, 2, config.registers, width) * 0.02)
        self.time_conditioning_token = (
            nn.Parameter(torch.randn(1, 1, width)) if config.time_token else None
        )

        self.frame_blocks = stack_of_blocks(config)
        self.global_blocks = stack_of_blocks(config)
        self.checkpoint_blocks = False

    def forward(
        self,
        patches: Float[Tensor, "batch frame patch width"],
        grid_hw: tuple[int, int],
        keep: tuple[int, ...],
        *,
        reference: int = 0,
        added: Float[Tensor, "batch frame token_or_one width"] | None = None,
    ) -> Aggregated:
        """Run all pairs of blocks and keep the outputs of the pairs whose indices are in `keep`.

        `reference` is the frame that gets the first version of the camera and register tokens;
        `added` joins the tokens of all frames, special ones included, before the first block.
        """
        batch, frames, _, width = patches.shape
        x = torch.cat([self._special_tokens(batch, frames, reference), patches], dim=2)
        if added is not None:
            x = x + added
        tokens = x.shape[2]
        positions = RotaryPositions.for_grid(
            specials=self.layout.patch_start,
            grid_hw=grid_hw,
            head_width=width // self.config.heads,
            base=self.config.rope_base,
            like=patches,
        )
        all_positions = positions.repeat(frames)
        layers = []
        for index, (frame_block, global_block) in enumerate(
            zip(self.frame_blocks, self.global_blocks, strict=True)
        ):
            checkpoint = self.checkpoint_blocks
            framewise = run_block(
                frame_block,
                x.reshape(batch * frames, tokens, width),
                positions=positions,
                checkpoint=checkpoint,
            )
            joint = run_block(
                global_block,
                framewise.reshape(batch, frames * tokens, width),
                positions=all_positions,
                checkpoint=checkpoint,
            )
            x = joint.reshape(batch, frames, tokens, width)
            if index in keep:
                layers.append(torch.cat([framewise.reshape(x.shape), x], dim=-1))
        return Aggregated(layers=tuple(layers), positions=positions)

    def _special_tokens(
        self, batch: int, frames: int, reference: int
    ) -> Float[Tensor, "batch frame special width"]:
        camera = self._first_and_others(self.camera_token, frames, reference)
        registers = self._first_and_others(self.register_token, frames, reference)
        parts = [camera, registers]
        if self.time_conditioning_token is not None:
            time = self.time_conditioning_token[:, None].expand(1, frames, 1, -1)
            parts.insert(1, time)
        return torch.cat(parts, dim=2).expand(batch, -1, -1, -1)

    @staticmethod
    def _first_and_others(
        token: Float[Tensor, "1 2 count width"], frames: int, reference: int
    ) -> Float[Tensor, "1 frame count width"]:
        version = [0 if frame == reference else 1 for frame in range(frames)]
        return token[:, frame_index(version, token.device)]
