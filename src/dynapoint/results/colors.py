"""Colours for numbers: a few hand-picked anchors per scale, blended in linear steps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

# Dark blue over teal, green and yellow to deep red: small is cold, large is warm.
_WARM = (
    (38, 32, 92),
    (41, 98, 190),
    (42, 172, 190),
    (120, 205, 92),
    (244, 203, 56),
    (236, 112, 38),
    (148, 22, 24),
)
# Dark violet to pale yellow with lightness that rises evenly: small is dark.
_LIGHT = (
    (42, 10, 70),
    (62, 60, 130),
    (44, 112, 142),
    (48, 160, 128),
    (130, 205, 82),
    (248, 234, 90),
)
# Near black over red and orange to near white, for quantities that are mostly zero.
_HEAT = ((14, 12, 22), (92, 18, 70), (186, 44, 66), (238, 118, 44), (250, 200, 90), (255, 250, 225))


@dataclass(frozen=True, kw_only=True)
class ColorScale:
    """Anchors of a colour scale, from its lower to its upper end."""

    anchors: tuple[tuple[int, int, int], ...]

    def paint(self, share: Float[np.ndarray, "*map"]) -> UInt8[np.ndarray, "*map rgb=3"]:
        """Colours of shares in [0, 1]; values beyond are moved to the ends, NaN becomes gray."""
        stops = np.linspace(0.0, 1.0, len(self.anchors))
        known = np.where(np.isfinite(share), share, 0.0)
        table = np.array(self.anchors, dtype=np.float64)
        channels = [np.interp(known, stops, table[:, channel]) for channel in range(3)]
        colors = np.stack(channels, axis=-1)
        return np.where(np.isfinite(share)[..., None], colors, 128.0).round().astype(np.uint8)


WARM = ColorScale(anchors=_WARM)
LIGHT = ColorScale(anchors=_LIGHT)
HEAT = ColorScale(anchors=_HEAT)


def hue_colors(share: Float[np.ndarray, " entries"]) -> UInt8[np.ndarray, "entries rgb=3"]:
    """Bright, saturated colours around the wheel for shares in [0, 1), to tell tracks apart."""
    phase = 2 * np.pi * (share[:, None] + np.array([0.0, 1 / 3, 2 / 3]))
    return np.round(255 * (0.58 + 0.42 * np.cos(phase))).clip(0, 255).astype(np.uint8)
