"""Which view comes first: Depth Anything 3 treats one view apart, and chooses it by its tokens."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Strategy = Literal["saddle_balanced", "saddle_sim_range", "first", "middle"]
LEAST_VIEWS = 3
"""Fewer views are left in their order."""


def chosen_view(
    tokens: Float[Tensor, "batch view width"], strategy: Strategy = "saddle_balanced"
) -> Int[Tensor, " batch"]:
    """The view of each example that comes first, by its class tokens.

    "saddle_balanced" takes the view that is most average in three things: how alike it is to the
    others, how long its token is, and how much the token's channels vary. "saddle_sim_range" takes
    the one whose likeness to others varies most.
    """
    batch, views, _ = tokens.shape
    if strategy in ("first", "middle"):
        fixed = 0 if strategy == "first" else views // 2
        return torch.full((batch,), fixed, dtype=torch.long, device=tokens.device)
    length = tokens.norm(dim=-1)
    unit = tokens / length[..., None]
    alike = unit @ unit.transpose(1, 2)
    own = torch.eye(views, dtype=alike.dtype, device=alike.device)
    others = alike - own
    if strategy == "saddle_sim_range":
        return (others.amax(dim=-1) - others.amin(dim=-1)).argmax(dim=-1)
    measures = (others.sum(dim=-1) / (views - 1), length, unit.var(dim=-1))
    return sum((_spread(each) - 0.5).abs() for each in measures).argmin(dim=-1)  # type: ignore[union-attr]


def order_with_first(
    first: Int[Tensor, " batch"], views: int
) -> tuple[Int[Tensor, "batch view"], Int[Tensor, "batch view"]]:
    """The order that begins with a view and keeps the others as they are, and the way back."""
    every = torch.arange(views, device=first.device).expand(len(first), -1)
    # The chosen one's key is smaller than all others, which keep theirs.
    keys = torch.where(every == first[:, None], -1, every)
    order = keys.argsort(dim=1)
    return order, order.argsort(dim=1)


def _spread(values: Float[Tensor, "batch view"]) -> Float[Tensor, "batch view"]:
    """Mapped to [0, 1] over the views."""
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    return (values - low) / (high - low + 1e-8)
