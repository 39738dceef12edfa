"""Where geometry and probabilities need more than autocast's half precision."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Widen half-precision values to float32 and leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
