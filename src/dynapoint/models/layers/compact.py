"""Linear layers whose weights are stored in fewer bits than they are computed with."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

WeightStorage = Literal["float32", "bfloat16", "int8"]

_LARGEST_INT8 = 127


class CompactLinear(nn.Module):
    """A linear layer for inference with bfloat16 weights, or int8 weights and a scale per output.

    Only the weights are rounded: they are widened when they are used, and activations, sums and
    the bias keep the precision of the input (or of autocast).
    """

    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, storage: Literal["bfloat16", "int8"]) -> None:
        super().__init__()
        weight = layer.weight.detach()
        scale = None
        if storage == "int8":
            largest = weight.abs().amax(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)
            scale = largest / _LARGEST_INT8
            weight = (weight / scale[:, None]).round().to(torch.int8)
        else:
            weight = weight.to(torch.bfloat16)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        for name, value in (("weight", weight), ("scale", scale), ("bias", bias)):
            self.register_buffer(name, value)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """Apply the layer."""
        return self.rows(x, slice(None))

    def rows(self, x: Float[Tensor, "*batch width"], rows: slice) -> Float[Tensor, "*batch some"]:
        """Some of the layer's outputs alone."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        result = functional.linear(x.to(dtype), self.weight[rows].to(dtype))
        if self.scale is not None:
            # Whole numbers up to 127 are exact in every type, so the scale may come afterwards.
            result = result * self.scale[rows].to(dtype)
        return result if self.bias is None else result + self.bias[rows].to(dtype)


def linear_rows(
    layer: nn.Linear | CompactLinear, x: Float[Tensor, "*batch width"], rows: slice
) -> Float[Tensor, "*batch some"]:
    """Some of a linear layer's outputs alone."""
    if isinstance(layer, CompactLinear):
        return layer.rows(x, rows)
    bias = None if layer.bias is None else layer.bias[rows]
    return functional.linear(x, layer.weight[rows], bias)


def store_compactly(module: nn.Module, storage: WeightStorage) -> None:
    """Replace all linear layers within a module, one at a time; "float32" leaves them alone."""
    if storage == "float32":
        return
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, CompactLinear(child, storage))
        else:
            store_compactly(child, storage)
