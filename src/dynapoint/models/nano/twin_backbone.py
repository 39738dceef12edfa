"""Two frames that look at each other through decoders of their own (DUSt3R's form, in small)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.models.layers.aggregator import Aggregated, stack_of_blocks
from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.config import AggregatorConfig
from dynapoint.models.layers.tokens import TokenLayout


@dataclass(frozen=True, kw_only=True)
class FrameTokens:
    """Tokens of frames that know nothing of each other.

    `early` are those after the first block, `tokens` those after the last.
    """

    early: Float[Tensor, "*batch token width"]
    tokens: Float[Tensor, "*batch token width"]
    positions: RotaryPositions


class TwinBackbone(nn.Module):
    """An encoder that sees one frame, and two decoders, each for one of a pair of frames.

    Each decoder block attends to its own frame and to the other one as the layer before left it,
    as in DUSt3R, but in one attention instead of two.
    """

    def __init__(self, config: AggregatorConfig, *, early: int) -> None:
        super().__init__()
        self.config, self.early = config, early
        self.layout = TokenLayout(registers=config.registers, time_token=False)
        self.special_tokens = nn.Parameter(
            torch.randn(self.layout.patch_start, config.width) * 0.02
        )
        self.encoder_blocks = stack_of_blocks(config)
        self.first_blocks = stack_of_blocks(config)
        self.second_blocks = stack_of_blocks(config)

    def encode(
        self, patches: Float[Tensor, "image patch width"], grid_hw: tuple[int, int]
    ) -> FrameTokens:
        """Tokens of each image for itself."""
        specials = self.special_tokens.expand(len(patches), -1, -1)
        x = torch.cat([specials, patches], dim=1)
        positions = RotaryPositions.for_grid(
            specials=self.layout.patch_start,
            grid_hw=grid_hw,
            head_width=self.config.width // self.config.heads,
            base=self.config.rope_base,
            like=patches,
        )
        early = x
        for index, block in enumerate(self.encoder_blocks):
            x = block(x, positions=positions)
            if index == self.early:
                early = x
        return FrameTokens(early=early, tokens=x, positions=positions)

    def decode(self, frames: FrameTokens) -> Aggregated:
        """Pairs of frames, (pair, frame = 2, ...), to what they tell of each other."""
        positions = frames.positions
        first, second = frames.tokens[:, 0], frames.tokens[:, 1]
        for first_block, second_block in zip(self.first_blocks, self.second_blocks, strict=True):
            first, second = (
                first_block(
                    first, positions=positions, context=second, context_positions=positions
                ),
                second_block(
                    second, positions=positions, context=first, context_positions=positions
                ),
            )
        joint = torch.stack([first, second], dim=1)
        # Early tokens come before any look at the other frame, so both halves are the same.
        early = torch.cat([frames.early, frames.early], dim=-1)
        return Aggregated(
            layers=(early, torch.cat([frames.tokens, joint], dim=-1)), positions=positions
        )
