"""What this machine multiplies quickly."""

import torch

from dynapoint.models.layers.precision import cpu_multiplies_bf16


def autocast_dtype(precision: str, device: str) -> torch.dtype | None:
    """The autocast type for a precision setting, None for plain float32."""
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    quick = torch.cuda.is_bf16_supported() if device.startswith("cuda") else cpu_multiplies_bf16()
    return torch.bfloat16 if quick else None
