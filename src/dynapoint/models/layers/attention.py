"""Multi-head attention with q/k norm and two-dimensional rotary positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.layers.compact import CompactLinear, linear_rows

# Below this many keys a written-out softmax trains faster on CPUs than the fused kernel, whose
# backward pass is several times slower there. Without gradients the fused kernel always wins: on
# two AVX2 cores 1.5-3 x at 171 to 3,132 keys and heads of 64 or 128.
EXPLICIT_SOFTMAX_MAX_KEYS = 1024
# Without gradients queries and keys are normalised and turned in place, so many tokens at a time,
# which stay in the processor's cache.
_TURNED_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class RotaryPositions:
    """Cosines and sines of a frame's token positions.

    Special tokens are at (0, 0); patches come from 1 on, or from `first_patch`.

    The first half of a head's channels turns with the row, the second with the column; channel i
    is paired with i + n/2 within each half. Frequencies and angles are float32, as in the
    published code.
    """

    cosine: Float[Tensor, "token head"]
    sine: Float[Tensor, "token head"]

    @staticmethod
    def for_grid(
        *,
        specials: int,
        grid_hw: tuple[int, int],
        head_width: int,
        base: float,
        like: Tensor,
        first_patch: int = 1,
    ) -> "RotaryPositions":
        """Positions of `specials` tokens at the origin followed by a row-major patch grid."""
        rows, columns = grid_hw
        device = like.device
        row = torch.arange(rows, device=device).repeat_interleave(columns) + first_patch
        column = torch.arange(columns, device=device).repeat(rows) + first_patch
        origin = torch.zeros(specials, device=device, dtype=row.dtype)
        half = head_width // 2
        exponent = torch.arange(0, half, 2, device=device, dtype=torch.float32) / half
        frequency = 1.0 / base**exponent
        angles = []
        for position in (torch.cat([origin, row]), torch.cat([origin, column])):
            angle = position.float()[:, None] * frequency
            angles += [angle, angle]
        # In bfloat16, which autocast makes of patches, angles would be an eighth of a radian off.
        stacked = torch.cat(angles, dim=-1).to(torch.promote_types(like.dtype, torch.float32))
        return RotaryPositions(stacked.cos(), stacked.sin())

    def repeat(self, frames: int) -> "RotaryPositions":
        """The positions of `frames` frames' tokens in a row."""
        return RotaryPositions(self.cosine.repeat(frames, 1), self.sine.repeat(frames, 1))

    def split(self, tokens: int) -> "list[RotaryPositions]":
        """The positions of `tokens` tokens after the other, and of those that are left."""
        pairs = zip(self.cosine.split(tokens), self.sine.split(tokens), strict=True)
        return [RotaryPositions(*pair) for pair in pairs]

    def of_segments(self, segments: int, wanted: Sequence[int]) -> "RotaryPositions":
        """The positions of some of the equal segments that make up a sequence."""
        chosen = list(wanted)
        return RotaryPositions(
            self.cosine.unflatten(0, (segments, -1))[chosen].flatten(0, 1),
            self.sine.unflatten(0, (segments, -1))[chosen].flatten(0, 1),
        )

    def apply(
        self, x: Float[Tensor, "batch heads token head"]
    ) -> Float[Tensor, "batch heads token head"]:
        """Turn the channels of queries or keys by their positions."""
        quarter = x.shape[-1] // 4
        a, b, c, d = x.split(quarter, dim=-1)
        turned = torch.cat([-b, a, -d, c], dim=-1)
        return x * self.cosine.to(x.dtype) + turned * self.sine.to(x.dtype)


class Attention(nn.Module):
    """Attention of a sequence to itself or to another one."""

    def __init__(self, width: int, heads: int, *, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.qkv: nn.Linear | CompactLinear = nn.Linear(width, 3 * width)
        self.q_norm: nn.Module = nn.LayerNorm(self.head_width) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(self.head_width) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "batch token width"],
        *,
        positions: RotaryPositions | None = None,
        context: Float[Tensor, "batch key width"] | None = None,
        context_positions: RotaryPositions | None = None,
    ) -> Float[Tensor, "batch token width"]:
        """Attend from `x` to `context`, or to `x` itself where there is none."""
        width = x.shape[-1]
        if context is None:
            q, k, v = self._heads(self.qkv(x), 3)
            context_positions = positions
        else:
            (q,) = self._heads(linear_rows(self.qkv, x, slice(None, width)), 1)
            k, v = self._heads(linear_rows(self.qkv, context, slice(width, None)), 2)
        if positions is None or context_positions is None:
            positions = context_positions = None
        q = self._prepared(q, self.q_norm, positions)
        k = self._prepared(k, self.k_norm, context_positions)
        attended = attend(q, k, v)
        # Of long sequences these are large.
        del q, k, v
        return self.proj(attended.transpose(1, 2).flatten(2))

    def _prepared(
        self,
        x: Float[Tensor, "batch heads token head"],
        norm: nn.Module,
        positions: RotaryPositions | None,
    ) -> Float[Tensor, "batch heads token head"]:
        """Queries or keys normalised and turned; without gradients in their own place."""

        def prepared(part: Tensor, places: RotaryPositions | None) -> Tensor:
            normed = norm(part)
            # On a GPU autocast leaves norms in float32, and the kernel rounds what it gets all the
            # same: turned in half precision they take half the memory traffic.
            normed = normed.to(part.dtype) if self.training else normed
            return normed if places is None else places.apply(normed)

        # A compiler joins these steps by itself.
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return prepared(x, positions)
        if positions is None and isinstance(norm, nn.Identity):
            return x
        sequences = x.split(max(1, _TURNED_AT_ONCE // x.shape[2]))
        for sequence in sequences:
            parts = sequence.split(_TURNED_AT_ONCE, dim=2)
            places = [None] * len(parts) if positions is None else positions.split(_TURNED_AT_ONCE)
            for part, place in zip(parts, places, strict=True):
                part.copy_(prepared(part, place))
        return x

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        batch, token, _ = x.shape
        split = x.view(batch, token, parts, self.heads, self.head_width)
        return split.permute(2, 0, 3, 1, 4).unbind(0)


def attend(
    q: Float[Tensor, "batch heads token head"],
    k: Float[Tensor, "batch heads key head"],
    v: Float[Tensor, "batch heads key head"],
) -> Float[Tensor, "batch heads token head"]:
    """Softmax attention, by what is faster on the device."""
    trains_on_cpu = q.device.type == "cpu" and torch.is_grad_enabled()
    if trains_on_cpu and k.shape[-2] <= EXPLICIT_SOFTMAX_MAX_KEYS:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        return scores.softmax(dim=-1) @ v
    return functional.scaled_dot_product_attention(q, k, v)
