"""What this machine multiplies quickly."""

from pathlib import Path

import torch


def cpu_multiplies_bf16() -> bool:
    """Whether the processor has bf16 instructions; without them bf16 is many times slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def autocast_dtype(precision: str, device: str) -> torch.dtype | None:
    """The autocast type for a precision setting, None for plain float32."""
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    quick = torch.cuda.is_bf16_supported() if device.startswith("cuda") else cpu_multiplies_bf16()
    return torch.bfloat16 if quick else None
