"""Small tensors for a device: frame numbers as indices and constants, which stay there."""

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
        return on_device(torch.tensor(frames, dtype=torch.int64), device)


@lru_cache(maxsize=1024)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A small constant, made once per device."""
    with torch.inference_mode(False):
        return on_device(torch.tensor(values, dtype=dtype), device)


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A few numbers made on the CPU, sent without waiting for what the device is doing."""
    if device.type != "cuda":
        return values.to(device)
    # Only from pinned memory does a copy go on by itself.
    return values.pin_memory().to(device, non_blocking=True)
