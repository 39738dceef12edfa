"""The decoder's block of DUSt3R: attention to oneself, then to the other image, then an MLP."""

from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.models.layers.attention import Attention, RotaryPositions, attend
from dynapoint.models.layers.blocks import Mlp, plus_mlp

NORM_EPS = 1e-6
"""Of all layer norms of these networks."""


class CrossAttention(nn.Module):
    """Attention of a sequence to another one, with a projection each, as published."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        context: Float[Tensor, "batch key width"],
        *,
        positions: RotaryPositions,
        context_positions: RotaryPositions,
    ) -> Float[Tensor, "batch token width"]:
        """Attend from `x` to `context`, each at its own positions."""
        q = positions.apply(self._heads(self.projq(x)))
        k = context_positions.apply(self._heads(self.projk(context)))
        mixed = attend(q, k, self._heads(self.projv(context)))
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class CrossBlock(nn.Module):
    """One layer of a decoder for one image of a pair; the other image's has weights of its own."""

    def __init__(self, width: int, heads: int, *, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads, qk_norm=False)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_y = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        other: Float[Tensor, "batch key width"],
        *,
        positions: RotaryPositions,
        other_positions: RotaryPositions,
    ) -> Float[Tensor, "batch token width"]:
        """Update an image's tokens; `other` are those of the other image one layer before."""
        x = x + self.attn(self.norm1(x), positions=positions)
        x = x + self.cross_attn(
            self.norm2(x),
            self.norm_y(other),
            positions=positions,
            context_positions=other_positions,
        )
        return plus_mlp(x, self.norm3, self.mlp, nn.Identity())
