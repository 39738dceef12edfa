"""Blocks that move a frame's tokens to a target time (V-DPM's time-conditioned decoder).

A source frame attends to itself and to the target frame only, so that a decoded map does not depend
on the clip's length and costs the same for each frame asked for; the published decoder, which
attends to all frames, is `level_decoder`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.blocks import ConditionalBlock, steered_block
from dynapoint.models.layers.config import TimeDecoderConfig
from dynapoint.models.layers.frame_index import frame_index


class TimeDecoder(nn.Module):
    """Frame and joint blocks steered by the target frame's time token."""

    def __init__(self, config: TimeDecoderConfig, *, width: int, condition: int) -> None:
        super().__init__()
        self.config = config
        self.frame_blocks = nn.ModuleList(
            steered_block(config, width=width, condition=condition) for _ in range(config.depth)
        )
        self.global_blocks = nn.ModuleList(
            steered_block(config, width=width, condition=condition) for _ in range(config.depth)
        )
        self.target_embedding = (
            nn.Parameter(torch.randn(width) * 0.02) if config.target_flag and config.depth else None
        )
        self.condition: nn.Linear | None = None
        if config.conditioning != "adaln":
            # Shift of all tokens; for "head", which has no blocks, their scale as well.
            outputs = width if config.conditioning == "additive" else 2 * width
            self.condition = nn.Linear(condition, outputs)
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)

    def forward(
        self,
        tokens: Float[Tensor, "batch frame token width"],
        conditions: Float[Tensor, "batch frame condition"],
        positions: RotaryPositions,
        *,
        sources: Sequence[int],
        targets: Sequence[int],
        added: Float[Tensor, "batch pair token width"] | None = None,
    ) -> Float[Tensor, "batch pair token width"]:
        """Tokens of frame `sources[k]` moved to the time of frame `targets[k]`, for every k.

        `added` is what is known of each pair beforehand (matching hints), added to its tokens.
        """
        source = frame_index(sources, tokens.device)
        target_frame = frame_index(targets, tokens.device)
        x = tokens[:, source]
        if added is not None:
            x = x + added
        batch, pairs = x.shape[:2]
        x = x.flatten(0, 1)
        target = tokens[:, target_frame].flatten(0, 1)
        if self.target_embedding is not None:
            target = target + self.target_embedding
        condition = conditions[:, target_frame].flatten(0, 1)
        if self.condition is not None:
            shift, *scale = self.condition(functional.silu(condition))[:, None].split(
                x.shape[-1], dim=-1
            )
            x = x * (1 + scale[0]) + shift if scale else x + shift
        for frame_block, joint_block in zip(self.frame_blocks, self.global_blocks, strict=True):
            steered = (condition,) if isinstance(frame_block, ConditionalBlock) else ()
            x = frame_block(x, *steered, positions=positions)
            x = joint_block(
                x, *steered, positions=positions, context=target, context_positions=positions
            )
        return x.unflatten(0, (batch, pairs))
