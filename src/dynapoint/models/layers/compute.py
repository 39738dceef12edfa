"""How a network computes what it computes: precision, and how much of it at a time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from dynapoint.errors import ModelError
from dynapoint.models.layers.precision import cpu_multiplies_bf16

Precision = Literal["float32", "bfloat16"]
Part = TypeVar("Part")

# Parameters.
_SMALL = 20_000_000
# What PyTorch's CPU allocator on either system, cuBLAS and cuDNN say.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Choices that leave a network's answers as they are, but for rounding.

    `precision` is that of aggregator and decoder, `head_precision` that of the point head; cameras
    are always worked out in at least float32. "bfloat16" is autocast, as in the public code.
    The other fields say how much is computed at once, and so bound memory; where a device runs out
    of memory the amount is halved until it fits.
    """

    precision: Precision = "float32"
    head_precision: Precision = "float32"
    # Levels and target times are sequences of the decoder that do not attend to each other: as
    # many as have so many tokens go through it together, and at least one.
    decoder_tokens_at_once: int = 4096
    head_frames_at_once: int = 2
    # Activations of all blocks are computed again for the gradients: less memory, a third slower.
    checkpoint_blocks: bool = False
    # Blocks are compiled by torch.compile when they first run: worth it for many clips.
    compile_blocks: bool = False


def is_small(network: object) -> bool:
    """Whether a network is so small that threads cost what they bring (`dynapoint.threads`)."""
    if not isinstance(network, nn.Module):
        return False
    return sum(each.numel() for each in network.parameters()) < _SMALL


def default_options(device: torch.device | str) -> ComputeOptions:
    """What suits a device.

    On a GPU as the public code has it; on a CPU small parts, and bfloat16 only where the processor
    has instructions for it (AMX or AVX512-bf16).
    """
    if torch.device(device).type == "cuda":
        return ComputeOptions(
            precision="bfloat16", decoder_tokens_at_once=65_536, head_frames_at_once=8
        )
    quick = torch.device(device).type == "cpu" and cpu_multiplies_bf16()
    return ComputeOptions(precision="bfloat16" if quick else "float32")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Half precision where it is asked for; otherwise whatever the tensors have."""
    if precision == "float32":
        return nullcontext()
    # Rounded weights are kept for the backward pass only: each is used about once, and all of
    # them together would be half as large again as the network.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=torch.is_grad_enabled())


class NotEnoughMemoryError(ModelError):
    """Memory is short for the smallest part; parts of what it is a part of may still be halved."""


def in_parts(
    count: int, at_once: int, compute: Callable[[range], Part]
) -> Iterator[tuple[range, Part]]:
    """Compute ranges of `count` things, `at_once` at a time and fewer where memory is short.

    `compute` may go in parts itself: what is short there is answered here in its turn.

    Raises:
        NotEnoughMemoryError: memory is short even for one thing.
    """
    start = 0
    while start < count:
        part = range(start, min(start + at_once, count))
        try:
            result = compute(part)
        except (NotEnoughMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise NotEnoughMemoryError(
                    "not enough memory for even one frame at a time; use fewer frames or smaller "
                    "images"
                ) from error
            at_once = (len(part) + 1) // 2
            result = None
        # Outside the handler, whose exception would keep the failed tensors alive.
        if result is None:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        yield part, result
        start = part.stop


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory, which some libraries say in words only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | NotEnoughMemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def joined(parts: list[Tensor], dim: int) -> Tensor:
    """Parts put together, without a copy where there is one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)
