"""Where points of a frame go on in a window that does not hold the frame, and which are lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Int32

from dynapoint.results.handover import Places, landing
from dynapoint.results.scene_points import FrameMaps

if TYPE_CHECKING:
    from dynapoint.reductions.visibility import SeenSurface

# A point that moves less than so many spreads of the maps and this share of depth, from end to end
# of what two windows hold together, stands still as far as is known.
_STILL_SPREADS, _STILL_SHARE = 2.0, 0.005
# By which share of its way a point that moves comes nearer to the surface that tells of it.
_TOWARDS_SURFACE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchor:
    """Points that go on as places of one frame.

    Attributes:
        frame: Index in the clip.
        which: Indices of the points.
        places: Between the pixels of the frame's map; None where the points are its pixels.
        to_surface: From the points to the surface that the frame sees, at the frame's time.
    """

    frame: int
    which: Int32[np.ndarray, " place"]
    places: Places | None
    to_surface: Float32[np.ndarray, "place xyz=3"] | None

    def placed(
        self, points: Float32[np.ndarray, "place xyz=3"], moved: FrameMaps
    ) -> tuple[Float32[np.ndarray, "place xyz=3"], Float32[np.ndarray, " place"]]:
        """Points as the frame's pixels move, and their confidence.

        What tells of a point may lie a little before or behind it, as maps are not exact. While
        that moves the point comes nearer to it, by a share of the way; while it is still the point
        stays.

        Args:
            points: At the frame's time.
            moved: How far the frame's pixels are from their place then, and their confidence.
        """
        way, confidence = moved
        if self.places is None or self.to_surface is None:
            return points + way.reshape(-1, 3), confidence.reshape(-1)
        moved_by = self.places.mixed(way)
        length = np.linalg.norm(moved_by, axis=1)
        apart = np.linalg.norm(self.to_surface, axis=1)
        share = np.minimum(1.0, _TOWARDS_SURFACE * length / np.maximum(apart, 1e-30))
        moved_by += self.to_surface * share.astype(np.float32)[:, None]
        return points + moved_by, self.places.least(confidence)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """Points at the time of a frame that two windows hold, and what that frame's camera sees."""

    frame: int
    points: Float32[np.ndarray, "point xyz=3"]
    confidence: Float32[np.ndarray, " point"]
    surface: "SeenSurface"

    def spread(self) -> float:
        """How far the points that are seen are usually from the surface, as a share of depth."""
        import torch  # noqa: PLC0415 - opening a scene does not need it.

        from dynapoint.reductions.visibility import agreement  # noqa: PLC0415

        known = self.confidence > 0
        points = torch.from_numpy(self.points[known].astype(np.float64))
        return agreement(self.surface, points).spread


@dataclass(frozen=True, kw_only=True, eq=False)
class CarriedPoints:
    """Points of all pixels of a frame where a window begins to tell of them.

    Attributes:
        points: In the world: each at the time of its anchor's frame; lost ones where they were
            last known.
        confidence: The smallest on the way, without the times at which a point was lost.
        lost: Which points no anchor holds.
        waits: Which of these may be found again: those that stood still.
        anchors: Frames of the window and the points that go on as their pixels.
    """

    points: Float32[np.ndarray, "point xyz=3"]
    confidence: Float32[np.ndarray, " point"]
    lost: Bool[np.ndarray, " point"]
    waits: Bool[np.ndarray, " point"]
    anchors: tuple[Anchor, ...]

    BYTES_PER_POINT: ClassVar[int] = 66

    @property
    def frames(self) -> list[int]:
        """Frames whose pixels tell how the points move."""
        return [anchor.frame for anchor in self.anchors]

    def placed(
        self, moved: Mapping[int, FrameMaps]
    ) -> tuple[Float32[np.ndarray, "point xyz=3"], Float32[np.ndarray, " point"]]:
        """Points at a time of the window, and their confidence: 0 where they are lost.

        Args:
            moved: For each of `frames`, how far its pixels are from their own time's place then,
                in the world, and their confidence.
        """
        points = self.points.copy()
        confidence = np.zeros(len(points), dtype=np.float32)
        for anchor in self.anchors:
            which = anchor.which
            points[which], sure = anchor.placed(points[which], moved[anchor.frame])
            confidence[which] = np.minimum(sure, self.confidence[which])
        return points, confidence


def first_carried(
    frame: int,
    points: Float32[np.ndarray, "height width xyz=3"],
    confidence: Float32[np.ndarray, "height width"],
) -> CarriedPoints:
    """Points of a frame in a window that holds it: they are its pixels."""
    flat = np.array(confidence, dtype=np.float32).reshape(-1)
    which = np.flatnonzero(flat > 0).astype(np.int32)
    every = np.arange(flat.size, dtype=np.int32)
    lost = np.ones(flat.size, dtype=bool)
    lost[which] = False
    return CarriedPoints(
        points=np.array(points, dtype=np.float32).reshape(-1, 3),
        confidence=flat,
        lost=lost,
        waits=np.zeros(flat.size, dtype=bool),
        anchors=(Anchor(frame=frame, which=every, places=None, to_surface=None),),
    )


def carried_on(before: CarriedPoints, sightings: Sequence[Sighting]) -> CarriedPoints:
    """The same points where the next window begins to tell of them.

    A point goes on as the place of the first frame that sees it. A point that none of them sees is
    lost: it stays where it was at the time of the first, and if it stood still it is looked for
    again at every later seam.

    Args:
        before: Points in the window that told of them so far.
        sightings: The same points in frames that both windows hold, the first to be tried first.
    """
    spreads = [sighting.spread() for sighting in sightings]
    first = sightings[0]
    waits = before.waits | _still(sightings, spreads[0])
    points, confidence = first.points.copy(), before.confidence.copy()
    lost = np.ones(len(points), dtype=bool)
    anchors = []
    for sighting, spread in zip(sightings, spreads, strict=True):
        asked = np.flatnonzero(lost & ((sighting.confidence > 0) | before.waits))
        found = landing(sighting.surface, sighting.points[asked], spread=spread)
        which = asked[found.on]
        if not len(which):
            continue
        lost[which] = False
        points[which] = sighting.points[which]
        sure = sighting.confidence[which]
        confidence[which] = np.minimum(confidence[which], np.where(sure > 0, sure, np.inf))
        anchors.append(
            Anchor(
                frame=sighting.frame,
                which=which.astype(np.int32),
                places=found.places,
                to_surface=found.to_surface,
            )
        )
    return CarriedPoints(
        points=points,
        confidence=confidence,
        lost=lost,
        waits=lost & waits,
        anchors=tuple(anchors),
    )


def lost_points(
    points: Float32[np.ndarray, "point xyz=3"],
    before: CarriedPoints,
    known: Bool[np.ndarray, " point"],
) -> CarriedPoints:
    """All points where they were last known, to be looked for again at later seams."""
    return CarriedPoints(
        points=points,
        confidence=before.confidence,
        lost=np.ones(len(points), dtype=bool),
        waits=before.waits | known,
        anchors=(),
    )


def _still(sightings: Sequence[Sighting], spread: float) -> Bool[np.ndarray, " point"]:
    """Which points are known at all sightings, and stood still between them."""
    first = sightings[0]
    pose = first.surface.world_from_camera.numpy()
    depth = np.abs((first.points - pose[:3, 3]) @ pose[:3, 2])
    limit = (_STILL_SPREADS * spread + _STILL_SHARE) * depth
    still: Bool[np.ndarray, " point"] = first.confidence > 0
    for other in sightings[1:]:
        moved = np.linalg.norm(other.points - first.points, axis=1)
        still &= (other.confidence > 0) & (
            moved <= (_STILL_SPREADS * spread + _STILL_SHARE) * depth
        )
    return still
