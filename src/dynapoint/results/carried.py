"""Where points of a frame go on in a window that does not hold the frame, and which are lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.handover import Landing, Places, depth_limit, landing
from dynapoint.results.scene_points import FrameMaps

if TYPE_CHECKING:
    from dynapoint.reductions.visibility import SeenSurface

# A point that moves less than so many spreads of the maps and this share of depth, from end to end
# of what two windows hold together, stands still as far as is known.
_STILL_SPREADS, _STILL_SHARE = 2.0, 0.005
# A pixel's point at a common time is that of a track within so many pixels.
_SAME_PX = 1.0
# By which share of its way a point that moves comes nearer to the surface that tells of it.
_TOWARDS_SURFACE = 0.25


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Later:
    """A frame of the next window that may see points which are hidden where windows meet.

    Attributes:
        frame: Index in the clip.
        surface: What its camera sees.
        points: Of its pixels, at its own time.
        moved: How far these are from there at the time of the first sighting, and confidence.
    """

    frame: int
    surface: "SeenSurface"
    points: Float32[np.ndarray, "height width xyz=3"]
    moved: FrameMaps

    def found(
        self, points: Float32[np.ndarray, "point xyz=3"], sighting: Sighting, spread: float
    ) -> tuple[Float32[np.ndarray, "point xyz=3"], Landing]:
        """Where points are at the frame's time, and where on its map they are then seen.

        A point moves as that pixel of the frame does which is nearest to it at the common time,
        if the two are one point as far as maps tell.

        Args:
            points: At the sighting's time, in the world.
            sighting: Tells the camera in whose pixels and depths it is measured what is near.
            spread: How far maps usually are apart, as a share of depth.
        """
        from scipy.spatial import KDTree  # noqa: PLC0415 - slow to import.

        way, confidence = self.moved
        flat = way.reshape(-1, 3)
        usable = np.flatnonzero(confidence.reshape(-1) > 0)
        limit = depth_limit(spread)
        ruler = _ruler(self.points.reshape(-1, 3)[usable] + flat[usable], sighting, limit)
        asked = _ruler(points, sighting, limit)
        good, ahead = np.isfinite(ruler).all(axis=1), np.isfinite(asked).all(axis=1)
        then = points.copy()
        near = np.zeros(len(points), dtype=bool)
        if good.any() and ahead.any():
            apart, index = KDTree(ruler[good]).query(asked[ahead], distance_upper_bound=_SAME_PX)
            near[ahead] = np.isfinite(apart)
            then[near] -= flat[usable[good][index[np.isfinite(apart)]]]
        seen = landing(self.surface, then[near], spread=spread)
        near[near] = seen.on
        # The pixels around the place tell more exactly than the nearest one.
        then[near] = points[near] - seen.places.mixed(way)
        seen = landing(self.surface, then[near], spread=spread)
        near[near] = seen.on
        return then, Landing(on=near, places=seen.places, to_surface=seen.to_surface)


def carried_on(
    before: CarriedPoints, sightings: Sequence[Sighting], later: Sequence[Later] = ()
) -> CarriedPoints:
    """The same points where the next window begins to tell of them.

    A point goes on as the place of the first frame that sees it. A point that none of them sees is
    lost: it stays where it was at the time of the first, and if it stood still it is looked for
    again at every later seam.

    Args:
        before: Points in the window that told of them so far.
        sightings: The same points in frames that both windows hold, the first to be tried first.
        later: Frames of the next window that are searched for what is hidden in all sightings.
    """
    spreads = [sighting.spread() for sighting in sightings]
    first, spread = sightings[0], spreads[0]
    waits = before.waits | _still(sightings, spread)
    points, confidence = first.points.copy(), before.confidence.copy()
    lost = np.ones(len(points), dtype=bool)
    anchors = []

    def go_on(
        frame: int, asked: np.ndarray, there: np.ndarray, sure: np.ndarray, found: Landing
    ) -> None:
        which = asked[found.on]
        if not len(which):
            return
        lost[which] = False
        points[which] = there[found.on]
        known = sure[which]
        confidence[which] = np.minimum(confidence[which], np.where(known > 0, known, np.inf))
        anchors.append(
            Anchor(
                frame=frame,
                which=which.astype(np.int32),
                places=found.places,
                to_surface=found.to_surface,
            )
        )

    for sighting, wide in zip(sightings, spreads, strict=True):
        asked = np.flatnonzero(lost & ((sighting.confidence > 0) | before.waits))
        there = sighting.points[asked]
        found = landing(sighting.surface, there, spread=wide)
        go_on(sighting.frame, asked, there, sighting.confidence, found)
    for each in later:
        asked = np.flatnonzero(lost & ((first.confidence > 0) | before.waits))
        there, found = each.found(first.points[asked], first, spread)
        go_on(each.frame, asked, there, first.confidence, found)
    return CarriedPoints(
        points=points,
        confidence=confidence,
        lost=lost,
        waits=lost & waits,
        anchors=tuple(anchors),
    )


def _ruler(
    points: Float32[np.ndarray, "point xyz=3"], sighting: Sighting, limit: float
) -> Float64[np.ndarray, "point 3"]:
    """Places in pixels of a camera, and depths in units in which the limit is a pixel."""
    pose = sighting.surface.world_from_camera.numpy()
    camera = points_in_camera(points.astype(np.float64), pose)
    xy = project(camera, sighting.surface.intrinsics.numpy())
    with np.errstate(all="ignore"):
        deep = np.log(camera[:, 2:]) / limit * _SAME_PX
    return np.concatenate([xy, deep], axis=1)


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
        still &= (other.confidence > 0) & (moved <= limit)
    return still
