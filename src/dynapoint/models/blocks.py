"""Transformer blocks: the plain pre-norm block and the one modulated by the target time."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.attention import Attention, RotaryPositions


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


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """Apply the network to each token."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm attention and MLP, each with an optional layer scale."""

    def __init__(
        self, width: int, heads: int, *, mlp_ratio: float, scale_init: float | None, qk_norm: bool
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, qk_norm=qk_norm)
        self.ls1 = layer_scale(width, scale_init)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.ls2 = layer_scale(width, scale_init)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        *,
        positions: RotaryPositions | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """Update a sequence by attention to itself."""
        x = x + self.ls1(self.attn(self.norm1(x), positions=positions))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Modulation(nn.Module):
    """One linear layer that turns a condition into shift, scale and gate."""

    def __init__(self, condition: int, width: int, *, zero: bool) -> None:
        super().__init__()
        self.lin = nn.Linear(condition, 3 * width)
        if zero:
            nn.init.zeros_(self.lin.weight)
            nn.init.zeros_(self.lin.bias)

    def forward(
        self, condition: Float[Tensor, "batch condition"]
    ) -> tuple[
        Float[Tensor, "batch 1 width"],
        Float[Tensor, "batch 1 width"],
        Float[Tensor, "batch 1 width"],
    ]:
        """Shift, scale and gate for all tokens of an example."""
        shift, scale, gate = self.lin(functional.silu(condition))[:, None].chunk(3, dim=-1)
        return shift, scale, gate


class ConditionalBlock(nn.Module):
    """A block whose attention branch is modulated by the target time (V-DPM's decoder).

    The MLP branch is not modulated; all tokens are, the special ones too.
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
        condition: Float[Tensor, "batch condition"],
        *,
        positions: RotaryPositions,
        context: Float[Tensor, "batch key width"] | None = None,
        context_positions: RotaryPositions | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """Update `x` by attention to itself, or to itself and `context` where there is one."""
        shift, scale, gate = self.modulation(condition)
        normed = self.norm1(x) * (1 + scale) + shift
        if context is None or context_positions is None:
            attended = self.attn(normed, positions=positions)
        else:
            other = self.norm1(context) * (1 + scale) + shift
            attended = self.attn(
                normed,
                positions=positions,
                context=torch.cat([normed, other], dim=1),
                context_positions=RotaryPositions(
                    torch.cat([positions.cosine, context_positions.cosine]),
                    torch.cat([positions.sine, context_positions.sine]),
                ),
            )
        x = x + gate * attended
        return x + self.ls2(self.mlp(self.norm2(x)))
