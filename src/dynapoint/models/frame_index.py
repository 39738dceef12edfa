"""Frame numbers as index tensors that stay on their device."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor


def frame_index(frames: Sequence[int], device: torch.device) -> Int[Tensor, " frame"]:
    """An index tensor, made once: a list would be copied to the device at every use of it."""
    return _made(tuple(frames), device)


@lru_cache(maxsize=4096)
def _made(frames: tuple[int, ...], device: torch.device) -> Int[Tensor, " frame"]:
    # What inference mode makes cannot be used where gradients are wanted later.
    with torch.inference_mode(False):
        return torch.tensor(frames, dtype=torch.int64, device=device)


@lru_cache(maxsize=1024)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A small constant, made once per device."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
