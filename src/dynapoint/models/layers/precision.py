"""Where half precision is quick, and where geometry and probabilities need more than it."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

# What Linux calls the instructions that multiply bfloat16: matrix tiles, and dot products.
_QUICK_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Widen half-precision values to float32 and leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cpu_multiplies_bf16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has bf16 instructions; without them bf16 is many times slower.

    Args:
        cpu_info: Where the system lists the processor's flags; False where it does not.
    """
    try:
        words = cpu_info.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not _QUICK_FLAGS.isdisjoint(words)
