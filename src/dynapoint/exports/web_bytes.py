"""What pages hold of each point and track, as bytes: certainty, motion, spacing, colours."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from dynapoint.exports.web_packing import ranks
from dynapoint.exports.web_scene import GridCloud, SplitCloud, TrackSet


@dataclass(frozen=True, kw_only=True)
class FusedPaint:
    """What a page knows of a fused cloud's points beside their places, the still ones first.

    Attributes:
        spacing: The smallest and the largest spacing, in scene units.
        spacing_share: Where the logarithm of a point's spacing lies between these, 0 to 255.
        certainty: 1 to 255 by the rank of the confidence.
        motion: Probability that a point moves, 0 to 255.
        colors: sRGB.
    """

    spacing: tuple[float, float]
    spacing_share: UInt8[np.ndarray, " point"]
    certainty: UInt8[np.ndarray, " point"]
    motion: UInt8[np.ndarray, " point"]
    colors: UInt8[np.ndarray, "point rgb=3"]


def fused_paint(cloud: SplitCloud, kept: Int64[np.ndarray, " mover"]) -> FusedPaint:
    """The paint of all still points and of the movers `kept`."""
    still, movers = len(cloud.still), cloud.paths.shape[1]
    order = np.concatenate([np.arange(still), still + kept])
    spacing = cloud.spacing.astype(np.float64)
    # Fewer movers have to cover as much.
    spacing[still:] *= (movers / max(1, len(kept))) ** 0.5
    spacing = spacing[order].clip(1e-9)
    small, large = (spacing.min(), spacing.max()) if len(spacing) else (1.0, 1.0)
    share = np.log(spacing / small) / max(np.log(large / small), 1e-9)
    return FusedPaint(
        spacing=(float(small), float(large)),
        spacing_share=share_bytes(share),
        certainty=ranks(cloud.confidence[order], np.sort(cloud.confidence)),
        motion=share_bytes(cloud.motion[order]),
        colors=cloud.colors[order],
    )


def grid_certainty(
    cloud: GridCloud, ordered: Float32[np.ndarray, " sample"]
) -> UInt8[np.ndarray, "row column"]:
    """1 to 255 by the rank of the confidence among `ordered`; 0 where there is no point."""
    rank = ranks(cloud.confidence, ordered)
    # Points on edges are hidden first.
    return np.where(cloud.on_edge, np.minimum(rank, np.uint8(1)), rank)


def grid_motion(cloud: GridCloud) -> UInt8[np.ndarray, "row column"]:
    """Probability of motion; the last bit says that the cell to the lower right is one surface."""
    joined = np.zeros(cloud.confidence.shape, dtype=np.uint8)
    joined[:-1, :-1] = cloud.joined
    return (share_bytes(cloud.motion) & np.uint8(254)) | joined


def track_arrays(tracks: TrackSet) -> tuple[np.ndarray, ...]:
    """Tracks one array after another: places as plain floats, for lines need them so."""
    return (
        tracks.points.astype("<f4"),
        tracks.colors,
        share_bytes(tracks.motion),
        share_bytes(tracks.visible),
    )


def share_bytes(share: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Shares in [0, 1] as 0 to 255."""
    return np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
