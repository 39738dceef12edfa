"""Moving objects as masks: moving pixels of one motion and one place, the same id in every frame.

Two steps, so that no more than one frame's points at all times are needed at once. `moving_regions`
cuts one frame's moving pixels into regions: neighbours are joined if they lie on one surface and
move alike, and regions apart in the image are joined if one motion of a rigid thing explains both
and they are near each other (something passes in front of them). `moving_objects` gives regions of
several frames one id where, at one common time, they are seen in one place of one image.

Maps of different frames disagree about where things are. How far, what stands still says, and
regions may be apart by as much; errors along the ray hardly move what is seen in the image.

Neither knows what a thing is: two that touch and move as one are one object, and one whose parts
move apart without a surface between them (a walker's legs behind a table) may be several.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Generic

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

from dynapoint.errors import InputError
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.geometry.similarity import fit_similarity, move
from dynapoint.reductions.usable import usable_points
from dynapoint.types import Array

_MOVING = 0.5
# Neighbours on one surface differ by less than this share in their distance from the camera.
_SURFACE_STEP = 0.05
# Neighbours that move alike differ by less than this share of the faster one's motion, beside what
# a turn by half a radian does to two points: half of what lies between them.
_MOTION_STEP = 0.25
_TURN_STEP = 0.5
# One rigid motion explains another region's if it misses it by less than this share.
_COMMON_MOTION = 0.15
# Regions nearer than this share of the larger one's size may be one thing, hidden in between.
_COMMON_PLACE = 0.5
# Points of a region that stand for it where regions are compared, and how many are compared.
_SAMPLES = 300
_MOST_REGIONS = 40
# Regions of two frames are one object if such a share of the smaller one lies in the larger one,
# within so many of the distances between neighbouring pixels, or within the expected error of the
# maps, but within this share of the smaller one's extent.
_OVERLAP = 0.3
_NEAR_PIXELS = 2.5
_NEAR_EXTENT = 0.5
# Their distances may differ by this share beside the expected error and what they extend over.
_DISTANCE_STEP = 0.02
# Of so many frames, an object must fill this share of all; what is seen in only one of them must
# fill this share of it and move with this probability.
_FEWEST_FRAMES = 3
_LEAST_SHARE = 0.0005
_LONE_SHARE = 0.01
_LONE_SCORE = 0.75


@dataclass(frozen=True, kw_only=True)
class MovingRegions(Generic[Array]):
    """Regions of one frame that move, each as one thing.

    Attributes:
        region: 0 where nothing moves, else 1 to the number of regions, the largest first.
        score: For each region the mean probability that its pixels move.
    """

    region: Int[Array, "height width"]
    score: Float[Array, " region"]


@dataclass(frozen=True, kw_only=True)
class MovingObjects(Generic[Array]):
    """Objects that move, in several frames of a clip.

    Attributes:
        instance: 0 for the background, else 1 to the number of objects in every frame, the one with
            the most pixels in all frames first.
        score: For each object the mean probability that its pixels move.
        pixels: For each object its pixels in all frames together.
    """

    instance: Int[Array, "frame height width"]
    score: Float[Array, " object"]
    pixels: Int[Array, " object"]


def moving_regions(
    points: Float[Tensor, "time height width xyz=3"],
    probability: Float[Tensor, "height width"],
    *,
    own_time: int,
    world_from_camera: Float[Tensor, "4 4"],
    confidence: Float[Tensor, "time height width"] | None = None,
    least_share: float = 0.001,
) -> MovingRegions:
    """The moving pixels of one frame in regions that move as one.

    Args:
        points: Points of one frame's pixels at some times, its own among them, in the world.
        probability: How likely each pixel moves (`segment_clip`); above 0.5 counts.
        own_time: Which of the times is the frame's own.
        world_from_camera: The frame's camera, from which distances are taken.
        confidence: 0 where a pixel is unusable at a time; None if all are usable. Times at which a
            pixel is unusable do not tell it from its neighbours.
        least_share: Regions below this share of the frame's pixels are dropped.

    Raises:
        InputError: `own_time` is none of the times.
    """
    if not 0 <= own_time < len(points):
        raise InputError(
            f"own_time is {own_time} but points are given at {len(points)} times; give the index "
            "of the frame's own time among them, from 0"
        )
    known = usable_points(points, confidence).cpu().numpy()
    sure = probability.detach().cpu().double().numpy()
    moving = (sure > _MOVING) & known[own_time]
    height, width = moving.shape
    chosen = np.flatnonzero(moving)
    # From here on everything is about the moving pixels, in the order of the image.
    place = np.full(height * width, -1)
    place[chosen] = np.arange(len(chosen))
    tracks = points.detach().cpu().flatten(1, 2)[:, torch.from_numpy(chosen)].numpy()
    known = known.reshape(len(known), -1)[:, chosen]
    eye = world_from_camera[:3, 3].detach().cpu().to(points.dtype).numpy()
    distance = np.linalg.norm(tracks[own_time] - eye, axis=-1)
    motion = np.where(known[..., None], tracks - tracks[own_time], np.nan)
    joined = [
        _alike(pair, tracks[own_time], motion, distance)
        for pair in _neighbours(place.reshape(height, width))
    ]
    label = _components(np.concatenate(joined, axis=1), len(chosen))
    label = _largest_first(label, least=max(least_share * moving.size, 1.0))
    label = _with_parts_joined(label, tracks[own_time], motion)
    label = _largest_first(label, least=1.0)
    region = np.zeros(height * width, dtype=np.int64)
    region[chosen] = label + 1
    weight = np.bincount(label[label >= 0], sure.ravel()[chosen][label >= 0])
    score = weight / np.maximum(np.bincount(label[label >= 0]), 1)
    return MovingRegions(
        region=torch.from_numpy(region.reshape(height, width)).to(points.device),
        score=torch.from_numpy(score).to(probability),
    )


def moving_objects(
    region: Int[Tensor, "frame height width"],
    points: Float[Tensor, "frame height width xyz=3"],
    probability: Float[Tensor, "frame height width"],
    *,
    world_from_camera: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    confidence: Float[Tensor, "frame height width"] | None = None,
) -> MovingObjects:
    """One id for each moving object in all frames.

    Regions of different frames that overlap in one image at the common time, at one distance, are
    one object, those that share the most pixels first. Two regions of one frame never become one.
    Of three and more frames, what fills less than .05 % of all is dropped, and what is found in one
    only unless it fills 1 % of it and moves with a probability of .75: most are errors of the maps.

    Args:
        region: `MovingRegions.region` of each frame.
        points: Points of the pixels of all frames, placed at one common time, in one world.
        probability: How likely each pixel moves.
        world_from_camera: The camera that the regions are compared in, best that of the common
            time.
        intrinsics: Of that camera, in pixels of the maps.
        confidence: 0 where a pixel is unusable at the common time; None if all are usable. A region
            without any usable pixel before the camera is an object of its own.
    """
    labels = region.detach().cpu().numpy()
    known = usable_points(points, confidence).cpu().numpy()
    sure = probability.detach().cpu().double().numpy()
    camera_from_world = invert_rigid(world_from_camera.detach().cpu().double())
    moved = transform_points(camera_from_world, points.detach().cpu().double().flatten(0, 2))
    where = moved.numpy().reshape(points.shape)
    known &= where[..., 2] > 0
    lens = intrinsics.detach().cpu().double().numpy()
    found = [(f, r) for f in range(len(labels)) for r in np.unique(labels[f]) if r > 0]
    seen = [_Seen(f, where[f][(labels[f] == r) & known[f]], lens) for f, r in found]
    still = [place[~(p > _MOVING) & k] for place, p, k in zip(where, sure, known, strict=True)]
    owner = _tied(seen, _disagreement(still), focal_px=float(lens[0, 0]))
    instance = np.full(labels.shape, -1)
    several = len(labels) >= _FEWEST_FRAMES
    for (frame, number), name in zip(found, owner, strict=True):
        mask = labels[frame] == number
        weak = mask.mean() < _LONE_SHARE or sure[frame][mask].mean() < _LONE_SCORE
        if not (several and weak and owner.count(name) == 1):
            instance[frame][mask] = name
    least = _LEAST_SHARE * labels.size if several else 1.0
    instance = _largest_first(instance.ravel(), least=least).reshape(labels.shape)
    inside = instance >= 0
    pixels = np.bincount(instance[inside])
    weight = np.bincount(instance[inside], sure[inside])
    return MovingObjects(
        instance=torch.from_numpy(instance + 1).to(region.device),
        score=torch.from_numpy(weight / np.maximum(pixels, 1)).to(probability),
        pixels=torch.from_numpy(pixels).to(region.device),
    )


def _neighbours(place: Int[np.ndarray, "height width"]) -> list[Int[np.ndarray, "2 edge"]]:
    """Pairs of chosen pixels beside, below and across from each other; -1 is not chosen."""
    pairs = [
        (place[:, :-1], place[:, 1:]),
        (place[:-1], place[1:]),
        (place[:-1, :-1], place[1:, 1:]),
        (place[:-1, 1:], place[1:, :-1]),
    ]
    stacked = [np.stack([first.ravel(), second.ravel()]) for first, second in pairs]
    return [pair[:, (pair >= 0).all(axis=0)] for pair in stacked]


def _alike(
    pair: Int[np.ndarray, "2 edge"],
    own: Float[np.ndarray, "point xyz=3"],
    motion: Float[np.ndarray, "time point xyz=3"],
    distance: Float[np.ndarray, " point"],
) -> Int[np.ndarray, "2 joined"]:
    """Those pairs that lie on one surface and move alike at all times at which both are known."""
    a, b = pair
    far, near = np.maximum(distance[a], distance[b]), np.minimum(distance[a], distance[b])
    joined = far <= (1 + _SURFACE_STEP) * near
    pair = pair[:, joined]
    a, b = pair
    between = _length(own[a] - own[b])
    joined = np.ones(pair.shape[1], dtype=bool)
    for step in motion:
        speed = _length(step)
        allowed = _MOTION_STEP * np.maximum(speed[a], speed[b]) + _TURN_STEP * between
        # Where either is unknown the comparison is with NaN and so does not part them.
        joined &= ~(_length(step[a] - step[b]) > allowed)
    return pair[:, joined]


def _length(vectors: Float[np.ndarray, "point xyz=3"]) -> Float[np.ndarray, " point"]:
    """Lengths, in a fraction of the time that `numpy.linalg.norm` takes along so short an axis."""
    return np.sqrt(np.einsum("pi,pi->p", vectors, vectors))


def _components(pair: Int[np.ndarray, "2 edge"], count: int) -> Int[np.ndarray, " point"]:
    """For each of `count` nodes the number of its connected component."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(pair.shape[1], dtype=bool), (pair[0], pair[1])), (count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _largest_first(label: Int[np.ndarray, " point"], *, least: float) -> Int[np.ndarray, " point"]:
    """Labels renumbered from 0 by falling size; -1 where they were -1 or are smaller than `least`.

    Of equal sizes the one that comes first in the image comes first.
    """
    inside = label >= 0
    names, first, size = np.unique(label[inside], return_index=True, return_counts=True)
    order = np.lexsort((first, -size))
    rank = np.full(label.max(initial=-1) + 1, -1)
    kept = order[size[order] >= least]
    rank[names[kept]] = np.arange(len(kept))
    renumbered = np.full(len(label), -1)
    renumbered[inside] = rank[label[inside]]
    return renumbered


def _with_parts_joined(
    label: Int[np.ndarray, " point"],
    own: Float[np.ndarray, "point xyz=3"],
    motion: Float[np.ndarray, "time point xyz=3"],
) -> Int[np.ndarray, " point"]:
    """Regions joined that one rigid motion explains and that are near each other."""
    total = int(label.max(initial=-1)) + 1
    count = min(total, _MOST_REGIONS)
    if count < 2:
        return label
    parts = [_Part(own[label == r], motion[:, label == r]) for r in range(count)]
    pairs = [
        (a, b)
        for a in range(count)
        for b in range(a + 1, count)
        if parts[a].near(parts[b]) and (parts[a].explains(parts[b]) and parts[b].explains(parts[a]))
    ]
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    merged = _components(edges, total)
    return np.where(label >= 0, merged[label], -1)


class _Part:
    """A region as some of its points, with their motions."""

    def __init__(
        self,
        own: Float[np.ndarray, "point xyz=3"],
        motion: Float[np.ndarray, "time point xyz=3"],
    ) -> None:
        step = max(len(own) // _SAMPLES, 1)
        self.own, self.motion = own[::step], motion[:, ::step]
        self.size = float(np.linalg.norm(np.ptp(self.own, axis=0)))

    def near(self, other: "_Part") -> bool:
        """Whether the gap between two regions is small against the larger one."""
        gap = KDTree(self.own).query(other.own)[0].min()
        return bool(gap <= _COMMON_PLACE * max(self.size, other.size))

    def explains(self, other: "_Part") -> bool:
        """Whether the rigid motion of this region is also the other's, at every known time."""
        for mine, others in zip(self.motion, other.motion, strict=True):
            known, there = np.isfinite(mine).all(axis=-1), np.isfinite(others).all(axis=-1)
            if known.sum() < 3 or not there.any():
                continue
            source = torch.from_numpy(self.own[known])[None]
            target = source + torch.from_numpy(mine[known])
            fitted = fit_similarity(source, target, torch.ones(source.shape[:2]), rigid=True)
            aim = torch.from_numpy(other.own[there])[None]
            wanted = torch.from_numpy(others[there])
            miss = float((move(fitted, aim) - aim - wanted).norm(dim=-1).median())
            moved = float(wanted.norm(dim=-1).median())
            if miss > _COMMON_MOTION * moved + 1e-6 * self.size:
                return False
        return True


class _Seen:
    """A region of one frame as one camera sees it at the common time."""

    def __init__(
        self, frame: int, camera: Float[np.ndarray, "_ xyz=3"], lens: Float[np.ndarray, "3 3"]
    ) -> None:
        self.frame = frame
        self.size = len(camera)
        xy = camera[:, :2] / camera[:, 2:] * np.diag(lens)[:2]
        self.tree = KDTree(xy)
        self.some = xy[:: max(self.size // _SAMPLES, 1)]
        if self.size:
            self.spacing = max(_spacing(self.tree), 1.0)
            self.extent_px = _extent(xy)
            self.distance = float(np.median(np.linalg.norm(camera, axis=-1)))
            self.extent = _extent(camera) / self.distance

    def share_in(self, larger: "_Seen", error: float, *, focal_px: float) -> float:
        """Which share of this region is in a larger one, 0 if it is before or behind it."""
        depth = error + _DISTANCE_STEP + 0.5 * (self.extent + larger.extent)
        if abs(np.log(self.distance / larger.distance)) > depth:
            return 0.0
        reach = max(
            _NEAR_PIXELS * max(self.spacing, larger.spacing),
            min(error * focal_px, _NEAR_EXTENT * self.extent_px),
        )
        away = larger.tree.query(self.some, distance_upper_bound=reach)[0]
        return float((away <= reach).mean())


def _extent(points: Float[np.ndarray, "point dim"]) -> float:
    """Twice the median distances from the middle: outliers do not count."""
    return 2 * float(np.linalg.norm(np.median(np.abs(points - np.median(points, 0)), 0)))


def _disagreement(still: list[Float[np.ndarray, "_ xyz=3"]]) -> Float[np.ndarray, "frame frame"]:
    """Median distance of still points to the nearest of another frame, in shares of distance."""
    trees = [KDTree(points) for points in still]
    error = np.zeros((len(still), len(still)))
    for one, points in enumerate(still):
        some = points[:: max(len(points) // _SAMPLES, 1)]
        distance = np.linalg.norm(some, axis=-1)
        for other, tree in enumerate(trees):
            if other != one and len(some) and tree.n:
                error[one, other] = float(np.median(tree.query(some)[0] / distance))
    return np.maximum(error, error.T)


def _tied(seen: list[_Seen], error: Float[np.ndarray, "_ _"], *, focal_px: float) -> list[int]:
    """For each region the number of its object."""
    shared = []
    for a, b in combinations(range(len(seen)), 2):
        small, large = sorted((seen[a], seen[b]), key=lambda region: region.size)
        if small.frame != large.frame and small.size:
            share = small.share_in(large, error[small.frame, large.frame], focal_px=focal_px)
            if share >= _OVERLAP:
                shared.append((-share * small.size, a, b))
    owner = list(range(len(seen)))
    for _, a, b in sorted(shared):
        both = [i for i, name in enumerate(owner) if name in (owner[a], owner[b])]
        if owner[a] != owner[b] and len({seen[i].frame for i in both}) == len(both):
            owner = [owner[a] if name == owner[b] else name for name in owner]
    return owner


def _spacing(tree: KDTree) -> float:
    """The median distance between neighbouring points of a region."""
    if tree.n < 2:
        return 0.0
    step = max(tree.n // _SAMPLES, 1)
    return float(np.median(tree.query(tree.data[::step], k=2)[0][:, 1]))
