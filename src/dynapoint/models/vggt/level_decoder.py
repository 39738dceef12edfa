"""V-DPM's time-conditioned decoder: levels of tokens of all frames, moved to target times."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.blocks import ConditionalBlock, run_block, steered_block
from dynapoint.models.layers.config import LevelDecoderConfig


class LevelDecoder(nn.Module):
    """Frame and global blocks in turn, steered by the time token of the target frame.

    A sequence is one level of one example at one target time. Sequences never attend to each
    other, so they may be computed together or one after another.
    """

    def __init__(self, config: LevelDecoderConfig, *, width: int, rope_base: float) -> None:
        super().__init__()
        self.config = config
        self.rope_base = rope_base
        self.frame_blocks = nn.ModuleList(
            steered_block(config, width=width, condition=width) for _ in range(config.depth)
        )
        self.global_blocks = nn.ModuleList(
            steered_block(config, width=width, condition=width) for _ in range(config.depth)
        )
        additive = config.conditioning == "additive"
        self.condition = nn.Linear(width, width) if additive else None
        self.checkpoint_blocks = False

    def forward(
        self,
        tokens: Float[Tensor, "sequence frame token width"],
        conditions: Float[Tensor, "sequence frame width"],
        *,
        specials: int,
        grid_hw: tuple[int, int],
        frames: Sequence[int],
    ) -> Float[Tensor, "sequence wanted token width"]:
        """Tokens of the wanted `frames` at the times whose tokens are in `conditions`.

        `conditions` holds one vector per source frame: all the same where all frames go to one
        time. The last global block attends to all frames but works out the wanted ones alone.
        """
        sequences, count, each, width = tokens.shape
        positions = RotaryPositions.for_grid(
            specials=specials,
            grid_hw=grid_hw,
            head_width=width // self.config.heads,
            base=self.rope_base,
            like=tokens,
        )
        of_all = positions.repeat(count)
        x = tokens
        if self.condition is not None:
            x = x + self.condition(functional.silu(conditions))[:, :, None]
        wanted = None if list(frames) == list(range(count)) else list(frames)
        for index, (frame_block, global_block) in enumerate(
            zip(self.frame_blocks, self.global_blocks, strict=True)
        ):
            x = self._run(
                frame_block, x.flatten(0, 1), conditions.flatten(0, 1)[:, None], positions
            )
            x = x.reshape(sequences, count * each, width)
            only = wanted if index == self.config.depth - 1 else None
            x = self._run(global_block, x, conditions, of_all, only).unflatten(1, (-1, each))
        return x

    def _run(
        self,
        block: nn.Module,
        x: Float[Tensor, "batch token width"],
        conditions: Float[Tensor, "batch segment width"],
        positions: RotaryPositions,
        wanted: list[int] | None = None,
    ) -> Float[Tensor, "batch wanted_token width"]:
        steered = (conditions,) if isinstance(block, ConditionalBlock) else ()
        return run_block(
            block,
            x,
            *steered,
            positions=positions,
            segments=conditions.shape[1],
            wanted=wanted,
            checkpoint=self.checkpoint_blocks,
        )
