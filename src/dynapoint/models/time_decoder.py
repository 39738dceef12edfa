"""Blocks that move frames' tokens to a target time (V-DPM's time-conditioned decoder)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.models.attention import RotaryPositions
from dynapoint.models.blocks import ConditionalBlock
from dynapoint.models.config import TimeDecoderConfig


class TimeDecoder(nn.Module):
    """Frame and joint blocks whose attention is modulated by the target frame's time token."""

    def __init__(self, config: TimeDecoderConfig, *, width: int, condition: int) -> None:
        super().__init__()
        self.config = config

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                ConditionalBlock(
                    width,
                    config.heads,
                    condition=condition,
                    mlp_ratio=config.mlp_ratio,
                    scale_init=config.layer_scale_init,
                    zero_modulation=config.modulation_init == "zero",
                )
                for _ in range(config.depth)
            )

        self.frame_blocks = blocks()
        self.global_blocks = blocks()
        self.target_embedding = (
            nn.Parameter(torch.randn(width) * 0.02) if config.target_flag else None
        )

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
        if self.config.scope == "pair":
            return self._pairs(
                tokens, conditions, positions, sources=sources, targets=targets, added=added
            )
        return self._all(
            tokens, conditions, positions, sources=sources, targets=targets, added=added
        )

    def _pairs(
        self,
        tokens: Tensor,
        conditions: Tensor,
        positions: RotaryPositions,
        *,
        sources: Sequence[int],
        targets: Sequence[int],
        added: Tensor | None,
    ) -> Tensor:
        x = tokens[:, list(sources)]
        if added is not None:
            x = x + added
        batch, pairs = x.shape[:2]
        x = x.flatten(0, 1)
        target = self._flagged(tokens[:, list(targets)]).flatten(0, 1)
        condition = conditions[:, list(targets)].flatten(0, 1)
        for frame_block, joint_block in zip(self.frame_blocks, self.global_blocks, strict=True):
            x = frame_block(x, condition, positions=positions)
            x = joint_block(
                x, condition, positions=positions, context=target, context_positions=positions
            )
        return x.unflatten(0, (batch, pairs))

    def _all(
        self,
        tokens: Tensor,
        conditions: Tensor,
        positions: RotaryPositions,
        *,
        sources: Sequence[int],
        targets: Sequence[int],
        added: Tensor | None,
    ) -> Tensor:
        batch, frames, count, width = tokens.shape
        joint_positions = positions.repeat(frames)
        results: list[Tensor | None] = [None] * len(sources)
        for time in dict.fromkeys(targets):
            wanted = [k for k, target in enumerate(targets) if target == time]
            x = tokens.clone()
            x[:, time] = self._flagged(tokens[:, time])
            if added is not None:
                for k in wanted:
                    x[:, sources[k]] = x[:, sources[k]] + added[:, k]
            per_frame = conditions[:, time].repeat_interleave(frames, dim=0)
            for frame_block, joint_block in zip(self.frame_blocks, self.global_blocks, strict=True):
                x = frame_block(
                    x.reshape(batch * frames, count, width), per_frame, positions=positions
                )
                x = joint_block(
                    x.reshape(batch, frames * count, width),
                    conditions[:, time],
                    positions=joint_positions,
                ).reshape(batch, frames, count, width)
            for k in wanted:
                results[k] = x[:, sources[k]]
        return torch.stack([result for result in results if result is not None], dim=1)

    def _flagged(self, tokens: Tensor) -> Tensor:
        return tokens if self.target_embedding is None else tokens + self.target_embedding
