"""What all clouds are made with: which pixels are shown, how fine they are, points that move."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from dynapoint.exports.options import ExportOptions
from dynapoint.results.reconstruction import Reconstruction

# Colours with all channels below the first are black, those with all above the second are white.
_BLACK, _WHITE = 16, 240
# This share of pixels, in percent, is seen more finely than the voxels of a fused cloud.
_NEAR_PERCENTILE = 10.0


@dataclass(frozen=True, kw_only=True)
class MovingCloud:
    """The same points at several times.

    Attributes:
        times: The times, as indices of frames.
        points: World (OpenCV axes), scene units.
        usable: Where a point's position at a time means something.
        colors: sRGB.
        confidence: Larger is better.
        spacing: About how far each point is from its neighbours, in scene units.
        moves: Of a long clip which points move: each is shown at the times whose turn its frame
            has, and points that stand still have one place. None where all are followed.
    """

    times: list[int]
    points: Float32[np.ndarray, "time point xyz=3"]
    usable: Bool[np.ndarray, "time point"]
    colors: UInt8[np.ndarray, "point rgb=3"]
    confidence: Float32[np.ndarray, " point"]
    spacing: Float32[np.ndarray, " point"]
    moves: Bool[np.ndarray, " point"] | None = None


def near_voxel(
    footprint: Float32[np.ndarray, "frame map_height map_width"],
    weight: Float32[np.ndarray, "frame map_height map_width"],
) -> float | None:
    """Voxels as fine as near things were seen, or they would lose detail that only far ones lack.

    None where nothing is before its camera.
    """
    # Points behind their camera have no footprint.
    seen = footprint[(weight > 0) & (footprint > 0)]
    return float(np.percentile(seen, _NEAR_PERCENTILE)) if len(seen) else None


def footprints(
    rec: Reconstruction, frames: list[int]
) -> Float32[np.ndarray, "frame map_height map_width"]:
    """How far apart neighbouring map pixels are at their points' depths, in scene units."""
    focal_px = rec.map_intrinsics[frames, 0, 0].astype(np.float32)
    depth = np.stack([rec.depth_of(frame) for frame in frames])
    return depth.clip(0) / focal_px[:, None, None]


def shown_weight(
    points: Float32[np.ndarray, "*map xyz=3"] | Sequence[Float32[np.ndarray, "_ _ xyz=3"]],
    confidence: Float32[np.ndarray, "*map"],
    colors: UInt8[np.ndarray, "*map rgb=3"],
    options: ExportOptions,
) -> Float32[np.ndarray, "*map"]:
    """Confidence of the points to be shown; 0 where there is none or the options hide a point.

    Points may be one array, or one for each frame.
    """
    usable = np.stack([np.isfinite(part).all(axis=-1) for part in points])
    usable &= np.isfinite(confidence) & (confidence > 0)
    if options.confidence_percentile > 0 and usable.any():
        usable &= confidence >= np.percentile(confidence[usable], options.confidence_percentile)
    if options.hide_pixels == "black":
        usable &= (colors >= _BLACK).any(axis=-1)
    elif options.hide_pixels == "white":
        usable &= (colors <= _WHITE).any(axis=-1)
    return np.where(usable, confidence, np.float32(0))
