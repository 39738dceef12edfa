"""What the published network would cost on this machine, without loading it.

Its arithmetic was counted (docs/notes/published.md): with N frames of T tokens, the encoder needs
N T (c + a N T) operations, and each of the N target times N T (d + a N T) for all frames, where a
is what attention over the whole clip takes for a pair of tokens. A product of matrices of the
network's width says how fast this machine is.
"""

import os
import time
from dataclasses import dataclass

from dynapoint.models.cards import VDPM
from dynapoint.threads import chosen_threads, computing

# Operations for a token in the encoder and for one target time, and for a pair of tokens.
_ENCODER, _DECODER, _PAIR = 2.2e9, 3.2e9, 9.75e4
# The longer side of an image in patches, and the bytes kept of each patch: four levels of 2 x 1024.
_PATCHES_ALONG, _BYTES_KEPT = 37, 4 * 2048 * 4
_BESIDE_WEIGHTS_BYTES = 1.0e9
# The whole network runs at this share of a large product's rate (.76 to .92 were measured).
_OF_THE_PRODUCT = 0.85
_ROWS, _WIDTH, _COLUMNS = 512, 2048, 4096


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What tracks of frame 0 of a clip, its maps and cameras take.

    Attributes:
        operations: Floating-point operations.
        memory_bytes: At most, weights included.
    """

    operations: float
    memory_bytes: float


def cost_of(frames: int, picture_hw: tuple[int, int]) -> Cost:
    """The cost of a clip of so many frames of a size, by the published network in float32."""
    longer, shorter = max(picture_hw), min(picture_hw)
    tokens = frames * _PATCHES_ALONG * max(1, round(_PATCHES_ALONG * shorter / longer))
    encoder = tokens * (_ENCODER + _PAIR * tokens)
    decoder = frames * tokens * (_DECODER + _PAIR * tokens)
    memory = 4.0 * VDPM.parameters + _BESIDE_WEIGHTS_BYTES + _BYTES_KEPT * tokens
    return Cost(operations=encoder + decoder, memory_bytes=memory)


def cost_of_clip(frames: int, picture_hw: tuple[int, int]) -> Cost:
    """The cost of a clip of any length: of all its windows, and the memory of one.

    Without windows that are predicted again and those that close loops.
    """
    windows, at_once = VDPM.passes(frames)
    each = cost_of(at_once, picture_hw)
    return Cost(operations=windows * each.operations, memory_bytes=each.memory_bytes)


def operations_a_second() -> float:
    """How fast this machine would run it; measured in a few tenths of a second."""
    import torch  # noqa: PLC0415 - slow to import.

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    a = torch.ones(_ROWS, _WIDTH, device=device, dtype=dtype)
    b = torch.ones(_WIDTH, _COLUMNS, device=device, dtype=dtype)
    seconds = []
    with torch.inference_mode(), computing(chosen_threads(small=False)):
        for _ in range(3):
            start = time.perf_counter()
            # Bringing a number to the processor waits for the GPU.
            float((a @ b)[0, 0])
            seconds.append(time.perf_counter() - start)
    return _OF_THE_PRODUCT * 2.0 * _ROWS * _WIDTH * _COLUMNS / min(seconds)


def machine_bytes() -> int | None:
    """The memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def duration_words(seconds: float) -> str:
    """A rough duration, in the unit that people would say it in."""
    for unit, length, limit in (("s", 1, 90), ("minutes", 60, 90), ("hours", 3600, 36)):
        if seconds / length < limit:
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{round(seconds / 86400)} days"
