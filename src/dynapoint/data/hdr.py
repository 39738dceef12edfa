"""High dynamic range video to sRGB: what is no brighter than paper stays, what is rolls off.

PQ (SMPTE ST 2084) and HLG (ITU-R BT.2100) code the light of a display; both are brought to linear
light in units of the light of white paper, 203 cd/m² (ITU-R BT.2408), and from BT.2020's primaries
to BT.709's. Then the largest of red, green and blue is left as it is up to 0.6 and from there bent
so that 1000 cd/m² becomes 1 (Reinhard et al. 2002, eq. 4, on what lies above); all three are
scaled alike, which keeps the hue. Last comes sRGB's transfer function.
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from dynapoint.data.colours import codes_of_light

PQ, HLG = 16, 18
"""Transfer characteristics as numbered by ITU-T H.273."""
_BT2020_PRIMARIES = 9

_PAPER_WHITE = 203.0
_PEAK = 1000.0
_KNEE = 0.6

# BT.2020 to BT.709, both with the white point D65 (ITU-R BT.2087, rounded there to four digits).
_BT709_FROM_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    dtype=np.float32,
)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)


def hdr_name(transfer: int) -> str | None:
    """PQ or HLG, or None for a transfer characteristic that is neither."""
    return {PQ: "PQ", HLG: "HLG"}.get(int(transfer))


def srgb_from_hdr(
    coded: UInt16[np.ndarray, "height width rgb=3"], *, transfer: int, primaries: int
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A picture coded as PQ or HLG in full-range RGB, 65535 being 1, as sRGB.

    Args:
        coded: The picture.
        transfer: `PQ` or `HLG`.
        primaries: As numbered by ITU-T H.273; all but BT.2020's are taken for BT.709's.
    """
    light = _light_table(int(transfer))[coded]
    if transfer == HLG:
        # The system's gamma of a display of 1000 cd/m² works on luminance (BT.2100, table 5).
        luminance = light @ _LUMINANCE
        light = light * (_PEAK / _PAPER_WHITE * luminance**0.2)[..., None]
    if primaries == _BT2020_PRIMARIES:
        light = light @ _BT709_FROM_BT2020.T
    light = np.maximum(light, 0)
    return codes_of_light(None)[np.round(_rolled_off(light) * 65535).astype(np.uint16)]


def _rolled_off(
    light: Float32[np.ndarray, "*pixels rgb=3"],
) -> Float32[np.ndarray, "*pixels rgb=3"]:
    """Linear light, 1 being white paper, brought into [0, 1]."""
    largest = light.max(axis=-1, keepdims=True)
    excess = (largest - _KNEE) / (1 - _KNEE)
    peak = (_PEAK / _PAPER_WHITE - _KNEE) / (1 - _KNEE)
    bent = _KNEE + (1 - _KNEE) * excess * (1 + excess / peak**2) / (1 + excess)
    target = np.minimum(np.where(excess > 0, bent, largest), 1)
    return light * (target / np.maximum(largest, 1e-6))


@cache
def _light_table(transfer: int) -> Float32[np.ndarray, " code"]:
    """Light for every code: PQ's in units of white paper, HLG's that of the scene in [0, 1]."""
    code = np.arange(65536) / 65535
    if transfer == PQ:
        root = code ** (32 / 2523)
        ratio = np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)
        return (10000 / _PAPER_WHITE * ratio ** (8192 / 1305)).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
