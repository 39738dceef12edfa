"""Where points of a frame go on in a window that does not hold the frame, and which are lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

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
        points: Where they are at the frame's time, in the world.
        places: Between the pixels of the frame's map; None where the points are its pixels.
        to_surface: From the points to the surface that the frame sees, at the frame's time.
        deeper: How many times deeper they are than the surface.
    """

    frame: int
    which: Int32[np.ndarray, " place"]
    points: Float32[np.ndarray, "place xyz=3"]
    places: Places | None
    to_surface: Float32[np.ndarray, "place xyz=3"] | None
    deeper: Float32[np.ndarray, " place"] | None = None

    def placed(
        self, moved: FrameMaps
    ) -> tuple[Float32[np.ndarray, "place xyz=3"], Float32[np.ndarray, " place"]]:
        """Points as the frame's pixels move, and their confidence.

        What tells of a point may lie a little before or behind it, as maps are not exact. While
        that moves the point comes nearer to it, by a share of the way; while it is still the point
        stays.

        Args:
            moved: How far the frame's pixels are from their place then, and their confidence.
        """
        way, confidence = moved
        if self.places is None or self.to_surface is None or self.deeper is None:
            return self.points + way.reshape(-1, 3), confidence.reshape(-1)
        moved_by = self.places.mixed(way)
        length = np.linalg.norm(moved_by, axis=1)
        apart = np.linalg.norm(self.to_surface, axis=1)
        share = np.minimum(1.0, _TOWARDS_SURFACE * length / np.maximum(apart, 1e-30))
        share = share.astype(np.float32)
        # As a camera sees it, what is deeper goes farther.
        moved_by *= (self.deeper + share * (1 - self.deeper))[:, None]
        moved_by += self.to_surface * share[:, None]
        return self.points + moved_by, self.places.least(confidence)

    def only(self, kept: Bool[np.ndarray, " place"]) -> "Anchor":
        """Some of the places; of an anchor between pixels."""
        if self.places is None or self.to_surface is None or self.deeper is None or kept.all():
            return self
        return Anchor(
            frame=self.frame,
            which=self.which[kept],
            points=self.points[kept],
            places=Places(pixels=self.places.pixels[kept], shares=self.places.shares[kept]),
            to_surface=self.to_surface[kept],
            deeper=self.deeper[kept],
        )


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
        points: In the world, at the time at which the window begins to tell; of the lost, where
            they were last known.
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

    BYTES_PER_POINT: ClassVar[int] = 80

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
            points[which], sure = anchor.placed(moved[anchor.frame])
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
    own = np.array(points, dtype=np.float32).reshape(-1, 3)
    every = np.arange(flat.size, dtype=np.int32)
    lost = np.ones(flat.size, dtype=bool)
    lost[which] = False
    return CarriedPoints(
        points=own,
        confidence=flat,
        lost=lost,
        waits=np.zeros(flat.size, dtype=bool),
        anchors=(Anchor(frame=frame, which=every, points=own, places=None, to_surface=None),),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A frame of the next window, by whose pixels points may go on.

    Attributes:
        frame: Index in the clip.
        surface: What its camera sees.
        points: Of its pixels, at its own time.
        moved: How far these are from there at the time of each sighting, and confidence.
    """

    frame: int
    surface: "SeenSurface"
    points: Float32[np.ndarray, "height width xyz=3"]
    moved: tuple[FrameMaps, ...]

    def found(
        self, asked: Int64[np.ndarray, " point"], sightings: Sequence[Sighting], spread: float
    ) -> Anchor:
        """Which of some points the frame sees, and where they are then.

        The frame of a sighting sees those that lie on its surface. In another frame, a point moves
        as that pixel does which is nearest to it at the time of the first sighting, if the two are
        one point as far as maps tell.

        Args:
            asked: Indices of points.
            sightings: All that there are.
            spread: How far maps usually are apart, as a share of depth.
        """
        mine = [each for each in sightings if each.frame == self.frame]
        if mine:
            then = mine[0].points[asked]
            seen = landing(self.surface, then, spread=spread)
            return self._anchor(asked[seen.on], then[seen.on], seen)
        near, then = self._nearest(sightings[0], asked, spread)
        way = self.moved[0][0]
        seen = landing(self.surface, then, spread=spread)
        # The pixels around the place tell more exactly than the nearest one.
        near = near[seen.on]
        then = sightings[0].points[near] - seen.places.mixed(way)
        seen = landing(self.surface, then, spread=spread)
        return self._anchor(near[seen.on], then[seen.on], seen)

    def apart(
        self, anchor: Anchor, sightings: Sequence[Sighting], limit: float
    ) -> Float64[np.ndarray, " place"]:
        """How far the two windows have points apart at the times of other frames, in pixels.

        The largest of these; 0 where there is no other. Depths that differ by the limit count as a
        pixel.
        """
        most = np.zeros(len(anchor.which))
        for sighting, (way, _) in zip(sightings, self.moved, strict=True):
            if sighting.frame == self.frame or anchor.places is None or anchor.deeper is None:
                continue
            moved = anchor.places.mixed(way) * anchor.deeper[:, None]
            here = _ruler(anchor.points + moved, sighting, limit)
            there = _ruler(sighting.points[anchor.which], sighting, limit)
            most = np.maximum(most, np.nan_to_num(np.linalg.norm(here - there, axis=1), nan=np.inf))
        return most

    def _anchor(
        self,
        which: Int64[np.ndarray, " place"],
        points: Float32[np.ndarray, "place xyz=3"],
        seen: Landing,
    ) -> Anchor:
        return Anchor(
            frame=self.frame,
            which=which.astype(np.int32),
            points=points,
            places=seen.places,
            to_surface=seen.to_surface,
            deeper=seen.deeper,
        )

    def _nearest(
        self, sighting: Sighting, asked: Int64[np.ndarray, " point"], spread: float
    ) -> tuple[Int64[np.ndarray, " near"], Float32[np.ndarray, "near xyz=3"]]:
        """Those of some points that a pixel is near to, and where these take them."""
        from scipy.spatial import KDTree  # noqa: PLC0415 - slow to import.

        way, confidence = self.moved[0]
        usable = np.flatnonzero(confidence.reshape(-1) > 0)
        flat, limit = way.reshape(-1, 3)[usable], depth_limit(spread)
        pixels = _ruler(self.points.reshape(-1, 3)[usable] + flat, sighting, limit)
        places = _ruler(sighting.points[asked], sighting, limit)
        good, ahead = np.isfinite(pixels).all(axis=1), np.isfinite(places).all(axis=1)
        if not good.any() or not ahead.any():
            return asked[:0], sighting.points[:0]
        apart, index = KDTree(pixels[good]).query(places[ahead], distance_upper_bound=_SAME_PX)
        met = np.isfinite(apart)
        near = asked[ahead][met]
        return near, sighting.points[near] - flat[good][index[met]]


def carried_on(
    before: CarriedPoints, sightings: Sequence[Sighting], candidates: Sequence[Candidate]
) -> CarriedPoints:
    """The same points where the next window begins to tell of them.

    A point goes on as a place of the first frame that sees it and has it where the window before
    has it at the other times, too; if there is none, as a place of the frame that comes nearest to
    this. A point that no frame sees is lost: it stays where it was at the time of the first
    sighting, and if it stood still it is looked for again at every later seam.

    Args:
        before: Points in the window that told of them so far.
        sightings: The same points in frames that both windows hold.
        candidates: Frames of the next window, the first to be tried first.
    """
    first = sightings[0]
    spreads = {sighting.frame: sighting.spread() for sighting in sightings}
    spread = spreads[first.frame]
    limit = depth_limit(spread)
    apart = np.full(len(first.points), np.inf)
    chosen = np.full(len(first.points), -1)
    anchors = []
    for index, candidate in enumerate(candidates):
        asked = np.flatnonzero((apart > _SAME_PX) & ((first.confidence > 0) | before.waits))
        anchor = candidate.found(asked, sightings, spreads.get(candidate.frame, spread))
        now = candidate.apart(anchor, sightings, limit)
        better = (now < apart[anchor.which]) | (chosen[anchor.which] < 0)
        chosen[anchor.which[better]] = index
        apart[anchor.which[better]] = now[better]
        anchors.append((index, anchor))
    kept = [anchor.only(chosen[anchor.which] == number) for number, anchor in anchors]
    lost = chosen < 0
    waits = before.waits | _still(sightings, spread)
    sure = np.where(first.confidence > 0, first.confidence, np.inf)
    return CarriedPoints(
        points=first.points,
        confidence=np.minimum(before.confidence, sure),
        lost=lost,
        waits=lost & waits,
        anchors=tuple(anchor for anchor in kept if len(anchor.which)),
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
