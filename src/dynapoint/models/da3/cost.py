"""What Depth Anything 3 Small would cost, without loading it.

Its arithmetic was counted (docs/notes/da3.md): N frames of T tokens need N T (c + a N T)
operations, where a is what attention over the whole clip takes for a pair of tokens.
"""

from dynapoint.models.cards import DA3_SMALL

# Operations for a token and for a pair of tokens; the longer side of an image in patches.
_TOKEN, _PAIR, _PATCHES_ALONG = 6.78e7, 6.16e3, 36
MEMORY_BYTES = 1.2e9
"""Of a process with 24 frames at its own size, weights included."""


def operations_of_clip(frames: int, picture_hw: tuple[int, int]) -> float:
    """Floating-point operations of maps and cameras of a clip, in windows where it is long."""
    passes, at_once = DA3_SMALL.passes(frames)
    shorter = max(1, round(_PATCHES_ALONG * min(picture_hw) / max(picture_hw)))
    tokens = at_once * _PATCHES_ALONG * shorter
    return passes * tokens * (_TOKEN + _PAIR * tokens)
