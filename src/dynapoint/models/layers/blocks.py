"""Transformer blocks: the plain pre-norm block and the one modulated by the target time."""

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint as checkpointed

from dynapoint.models.layers.attention import Attention, RotaryPositions
from dynapoint.models.layers.config import LevelDecoderConfig, TimeDecoderConfig

# Without gradients MLPs work on so many tokens at a time, which bounds their hidden layer.
MLP_TOKENS_AT_ONCE = 4096


def run_block(block: nn.Module, *args: Any, checkpoint: bool = False, **kwargs: Any) -> Tensor:
    """Call a block; with `checkpoint` its activations are computed again for the gradients."""
    if checkpoint and torch.is_grad_enabled():
        return checkpointed(block, *args, use_reentrant=False, **kwargs)
    return block(*args, **kwargs)


def of_segments(
    tokens: Float[Tensor, "batch token width"], segments: int, wanted: Sequence[int]
) -> Float[Tensor, "batch wanted_token width"]:
    """The tokens of some of the equal segments that make up a sequence (the frames of a clip)."""
    return tokens.unflatten(1, (segments, -1))[:, list(wanted)].flatten(1, 2)


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), init))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Scale each channel."""
        return x * self.gamma


def layer_scale(width: int, init: float | None) -> nn.Module:
    """A layer scale, or nothing where `init` is None."""
    return nn.Identity() if init is None else LayerScale(width, init)


def plus_branch(
    x: Float[Tensor, "*batch width"],
    branch: Float[Tensor, "*batch width"],
    scale: nn.Module,
) -> Float[Tensor, "*batch width"]:
    """A residual stream and what a branch adds to it; a layer scale multiplies on the way."""
    return torch.addcmul(x, branch, scale.gamma) if isinstance(scale, LayerScale) else x + branch


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """Apply the network to each token."""
        hidden = self.fc1(x)
        if torch.is_grad_enabled():
            return self.fc2(functional.gelu(hidden))
        # In place: a second hidden layer would be the largest array of all, in fresh memory.
        return self.fc2(torch.ops.aten.gelu_(hidden))


def plus_mlp(
    x: Float[Tensor, "batch token width"], norm: nn.Module, mlp: Mlp, scale: nn.Module
) -> Float[Tensor, "batch token width"]:
    """A residual stream and what an MLP adds to it, which without gradients is added in place."""
    tokens = x.numel() // x.shape[-1]
    if torch.is_grad_enabled() or tokens <= MLP_TOKENS_AT_ONCE:
        return plus_branch(x, mlp(norm(x)), scale)
    flat = x.flatten(0, -2)
    # Equal parts: each reads all weights, which is too much for a few tokens left over.
    equal = -(-tokens // -(-tokens // MLP_TOKENS_AT_ONCE))
    for part in flat.split(equal):
        part.copy_(plus_branch(part, mlp(norm(part)), scale))
    return flat.view(x.shape)


class Block(nn.Module):
    """Pre-norm attention and MLP, each with an optional layer scale."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float,
        scale_init: float | None,
        qk_norm: bool,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads, qk_norm=qk_norm)
        self.ls1 = layer_scale(width, scale_init)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.ls2 = layer_scale(width, scale_init)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        *,
        positions: RotaryPositions | None = None,
        segments: int = 1,
        wanted: Sequence[int] | None = None,
        context: Float[Tensor, "batch key width"] | None = None,
        context_positions: RotaryPositions | None = None,
    ) -> Float[Tensor, "batch wanted_token width"]:
        """Update a sequence by attention to itself, and to `context` where there is one.

        With `wanted`, all tokens are attended to but only those segments' are worked out.
        """
        normed = self.norm1(x)
        if wanted is not None:
            x = of_segments(x, segments, wanted)
            attended = attend_from(self.attn, normed, positions, segments, wanted)
        elif context is None:
            attended = self.attn(normed, positions=positions)
        else:
            attended = attend_to_both(
                self.attn, normed, self.norm1(context), positions, context_positions
            )
        x = plus_branch(x, attended, self.ls1)
        return plus_mlp(x, self.norm2, self.mlp, self.ls2)


def attend_from(
    attention: Attention,
    normed: Float[Tensor, "batch token width"],
    positions: RotaryPositions | None,
    segments: int,
    wanted: Sequence[int],
) -> Float[Tensor, "batch wanted_token width"]:
    """Attention to a whole sequence, worked out for the tokens of some of its segments."""
    return attention(
        of_segments(normed, segments, wanted),
        positions=None if positions is None else positions.of_segments(segments, wanted),
        context=normed,
        context_positions=positions,
    )


def attend_to_both(
    attention: Attention,
    normed: Float[Tensor, "batch token width"],
    context: Float[Tensor, "batch key width"],
    positions: RotaryPositions | None,
    context_positions: RotaryPositions | None,
) -> Float[Tensor, "batch token width"]:
    """Attention of a sequence to itself and to another one at once."""
    joint = None
    if positions is not None and context_positions is not None:
        joint = RotaryPositions(
            torch.cat([positions.cosine, context_positions.cosine]),
            torch.cat([positions.sine, context_positions.sine]),
        )
    return attention(
        normed,
        positions=positions,
        context=torch.cat([normed, context], dim=1),
        context_positions=joint,
    )


class Modulation(nn.Module):
    """One linear layer that turns a condition into shift, scale and gate."""

    def __init__(self, condition: int, width: int, *, zero: bool) -> None:
        super().__init__()
        self.lin = nn.Linear(condition, 3 * width)
        if zero:
            nn.init.zeros_(self.lin.weight)
            nn.init.zeros_(self.lin.bias)

    def forward(
        self, condition: Float[Tensor, "batch segment condition"]
    ) -> tuple[
        Float[Tensor, "batch segment 1 width"],
        Float[Tensor, "batch segment 1 width"],
        Float[Tensor, "batch segment 1 width"],
    ]:
        """Shift, scale and gate for all tokens of a segment."""
        shift, scale, gate = self.lin(functional.silu(condition))[:, :, None].chunk(3, dim=-1)
        return shift, scale, gate


class ConditionalBlock(nn.Module):
    """A block whose attention branch is modulated by the target time (V-DPM's decoder).

    The MLP branch is not modulated; all tokens are, the special ones too. A condition counts for
    a whole sequence, or for each of the equal segments (frames) that it consists of.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        condition: int,
        mlp_ratio: float,
        scale_init: float | None,
        zero_modulation: bool,
    ) -> None:
        super().__init__()
        self.modulation = Modulation(condition, width, zero=zero_modulation)
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.attn = Attention(width, heads, qk_norm=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.ls2 = layer_scale(width, scale_init)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        condition: Float[Tensor, "batch *segment condition"],
        *,
        positions: RotaryPositions,
        context: Float[Tensor, "batch key width"] | None = None,
        context_positions: RotaryPositions | None = None,
        segments: int = 1,
        wanted: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch wanted_token width"]:
        """Update `x` by attention to itself, and to `context` where there is one.

        With `wanted`, all tokens are attended to but only those segments' are worked out.
        """
        per_segment = condition if condition.ndim == 3 else condition[:, None]
        shift, scale, gate = self.modulation(per_segment)

        def modulated(tokens: Tensor) -> Tensor:
            split = self.norm1(tokens).unflatten(1, (shift.shape[1], -1))
            return torch.addcmul(shift, split, 1 + scale).flatten(1, 2)

        normed = modulated(x)
        if wanted is not None:
            attended = attend_from(self.attn, normed, positions, segments, wanted)
            x = of_segments(x, segments, wanted)
            gate = gate if gate.shape[1] == 1 else gate[:, list(wanted)]
        elif context is None:
            attended = self.attn(normed, positions=positions)
        else:
            attended = attend_to_both(
                self.attn, normed, modulated(context), positions, context_positions
            )
        x = x + (attended.unflatten(1, (gate.shape[1], -1)) * gate).flatten(1, 2)
        return plus_mlp(x, self.norm2, self.mlp, self.ls2)


def steered_block(
    config: TimeDecoderConfig | LevelDecoderConfig, *, width: int, condition: int
) -> Block | ConditionalBlock:
    """A block of a decoder that is told the time: a plain one where its tokens have been told."""
    if config.conditioning == "additive":
        return Block(
            width,
            config.heads,
            mlp_ratio=config.mlp_ratio,
            scale_init=config.layer_scale_init,
            qk_norm=True,
        )
    return ConditionalBlock(
        width,
        config.heads,
        condition=condition,
        mlp_ratio=config.mlp_ratio,
        scale_init=config.layer_scale_init,
        zero_modulation=config.modulation_init == "zero",
    )


_compiled: dict[type[nn.Module], Callable[..., Tensor]] = {}


def compile_block(block: nn.Module, compiled: bool) -> None:
    """Let a block run compiled, or as it is written.

    All blocks of a class share one compiled function, whose weights are arguments, so that a
    network of a hundred blocks compiles a handful of graphs.
    """
    block.__dict__.pop("forward", None)
    if compiled:
        kind = type(block)
        function = _compiled.setdefault(kind, torch.compile(kind.forward))
        block.forward = MethodType(function, block)
