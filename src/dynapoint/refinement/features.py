"""A second start, for frames too far apart for flow, in any order: features that they share.

SIFT (Lowe 2004) in all pictures; matches that are mutual and distinct; for each pair an essential
matrix (Nistér 2004, within MAGSAC, as OpenCV has them) under the focal length that most matches of
the clip agree with. The pairs with most matches make a tree that gives every frame a pose;
translations are as long as the network's depth wants. An adjustment of the features' own
depths, held only loosely by the network's, then mends all of it, the lens too.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dynapoint.refinement.adjustment import Freedom, Plan, Problem, adjust, residuals_px
from dynapoint.refinement.flow import sample
from dynapoint.refinement.setting import Setting
from dynapoint.refinement.shared_features import Features, distinct_matches, features_in
from dynapoint.refinement.views import Views

_FEWEST_MATCHES = 20
_AGREES_PX = 1.0
# Frames in order that are compared with each other; all with all where there are few.
_ALL_WITH_ALL, _NEAREST = 14, 4
_ZOOMS = (0.65, 0.8, 1.0, 1.25, 1.55)
# Pairs that flow is measured between: the best of each frame.
_PAIRS_OF_FRAME = 3
_MOST_MATCHES = 200
_DEPTH_SIGMA, _LENS_SIGMA = 1.0, 0.05
_PLAN = Plan(iterations=30, first_px=16.0, last_px=1.0, robust="cauchy")


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureStart:
    """Cameras that features led to, with the network's depths scaled to them, and good pairs."""

    views: Views
    pairs: list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """Matches of two frames, in pixels of the small pictures, and the pose that they agree with."""

    first: int
    second: int
    first_px: Float64[np.ndarray, "match xy=2"]
    second_px: Float64[np.ndarray, "match xy=2"]
    second_from_first: Float64[np.ndarray, "4 4"]


def start_from_features(
    setting: Setting,
    pictures: UInt8[np.ndarray, "frame tall wide"] | None = None,
    *,
    known_lens: bool = False,
) -> FeatureStart | None:
    """Cameras of frames in any order; None where some frame shares too little with the others.

    Args:
        setting: The small pictures and the network's answer.
        pictures: Larger ones of the same; None for the small ones themselves.
        known_lens: Whether the lens is to stay as it is.
    """
    found = _detected(setting, setting.meter.pictures if pictures is None else pictures)
    frames = setting.frames
    matched = [
        (first, second, *_matched(found[first], found[second]))
        for first, second in combinations(range(frames), 2)
        if frames <= _ALL_WITH_ALL or second - first <= _NEAREST
    ]
    matched = [pair for pair in matched if len(pair[2]) >= _FEWEST_MATCHES]
    zooms = (1.0,) if known_lens else _ZOOMS
    pairs, zoom = _most_agreed(setting, matched, zooms)
    poses = _poses_of_tree(setting, pairs, zoom)
    if poses is None:
        return None
    views = replace(setting.views, camera_from_world=poses, log_lens=float(np.log(zoom)))
    views = _adjusted(setting, pairs, views, known_lens=known_lens)
    return FeatureStart(views=views, pairs=_best_pairs(frames, pairs))


def _detected(setting: Setting, pictures: UInt8[np.ndarray, "frame tall wide"]) -> list[Features]:
    """Features of each frame, with their places in the small pictures."""
    import cv2  # noqa: PLC0415 - slow to import.

    height, width = setting.grid.picture_hw
    ratio = np.array([width / pictures.shape[2], height / pictures.shape[1]])
    found = []
    for picture, usable in zip(pictures, setting.meter.usable, strict=True):
        mask = cv2.resize(usable, picture.shape[::-1], interpolation=cv2.INTER_NEAREST)
        there = features_in(picture, usable=mask > 0)
        found.append(replace(there, places_px=there.places_px * ratio))
    return found


def _matched(first: Features, second: Features) -> tuple[np.ndarray, np.ndarray]:
    """Places of matches in both pictures; none of pictures with too few features."""
    if min(len(first), len(second)) < _FEWEST_MATCHES:
        return np.zeros((0, 2)), np.zeros((0, 2))
    return distinct_matches(first, second)


def _most_agreed(
    setting: Setting,
    matched: list[tuple[int, int, np.ndarray, np.ndarray]],
    zooms: tuple[float, ...],
) -> tuple[list[_Pair], float]:
    """The zoom at which most matches agree with a pose of their pair, and those pairs."""
    best: tuple[int, list[_Pair], float] = (-1, [], 1.0)
    for zoom in sorted(zooms, key=lambda each: abs(np.log(each))):
        pairs = [pair for found in matched if (pair := _posed(setting, found, zoom)) is not None]
        count = sum(len(pair.first_px) for pair in pairs)
        # Another lens must gain something, for nearly all do as well where there is no turn.
        if count > 1.02 * best[0]:
            best = count, pairs, zoom
    return best[1], best[2]


def _posed(
    setting: Setting, matched: tuple[int, int, np.ndarray, np.ndarray], zoom: float
) -> _Pair | None:
    """The pose that most matches of a pair agree with; None where too few do."""
    import cv2  # noqa: PLC0415 - slow to import.

    first, second, first_px, second_px = matched
    lens = setting.lens
    near, far = (
        (px - lens.centre_px[frame]) / (lens.focal_px[frame] * zoom)
        for frame, px in ((first, first_px), (second, second_px))
    )
    try:
        essential, agreeing = cv2.findEssentialMat(
            near,
            far,
            np.eye(3),
            method=cv2.USAC_MAGSAC,
            prob=0.9999,
            threshold=_AGREES_PX / float(lens.focal_px.mean() * zoom),
        )
        if essential is None or essential.shape != (3, 3):
            return None
        chosen = agreeing.ravel() > 0
        if chosen.sum() < _FEWEST_MATCHES:
            return None
        count, rotation, shift, ahead = cv2.recoverPose(
            essential, near[chosen], far[chosen], np.eye(3)
        )
    except cv2.error:
        return None
    kept = np.flatnonzero(chosen)[ahead.ravel() > 0]
    if count < _FEWEST_MATCHES or len(kept) < _FEWEST_MATCHES:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, shift.ravel()
    return _Pair(
        first=first,
        second=second,
        first_px=first_px[kept],
        second_px=second_px[kept],
        second_from_first=pose,
    )


def _poses_of_tree(
    setting: Setting, pairs: list[_Pair], zoom: float
) -> Float64[np.ndarray, "frame 4 4"] | None:
    """Poses along the tree of the pairs with most matches, from frame 0; None if it misses some."""
    poses = {0: np.eye(4)}
    while len(poses) < setting.frames:
        edge = [pair for pair in pairs if (pair.first in poses) != (pair.second in poses)]
        if not edge:
            return None
        pair = max(edge, key=lambda each: len(each.first_px))
        step = pair.second_from_first.copy()
        step[:3, 3] *= _length(setting, pair, zoom)
        if pair.first in poses:
            poses[pair.second] = step @ poses[pair.first]
        else:
            poses[pair.first] = np.linalg.inv(step) @ poses[pair.second]
    return np.stack([poses[frame] for frame in range(setting.frames)])


def _length(setting: Setting, pair: _Pair, zoom: float) -> float:
    """How long the way between two cameras is, for the network's depth of their matches."""
    rotation, direction = pair.second_from_first[:3, :3], pair.second_from_first[:3, 3]
    lens = setting.lens
    rays = []
    for frame, px in ((pair.first, pair.first_px), (pair.second, pair.second_px)):
        slope = (px - lens.centre_px[frame]) / (lens.focal_px[frame] * zoom)
        rays.append(np.concatenate([slope, np.ones((len(slope), 1))], axis=1))
    turned = rays[0] @ rotation.T
    # Of depths a, b with a·turned + direction = b·ray, by least squares: a alone is wanted.
    across = turned - rays[1] * ((turned * rays[1]).sum(1) / (rays[1] ** 2).sum(1))[:, None]
    beside = direction - rays[1] * ((rays[1] @ direction) / (rays[1] ** 2).sum(1))[:, None]
    depth = -(across * beside).sum(1) / np.maximum((across**2).sum(1), 1e-12)
    network = np.exp(_log_depth_at(setting, pair.first, pair.first_px))
    usable = depth > 1e-6
    return float(np.median(network[usable] / depth[usable])) if usable.any() else 1e-3


def _log_depth_at(
    setting: Setting, frame: int, xy_px: Float64[np.ndarray, "point xy=2"]
) -> Float64[np.ndarray, " point"]:
    """The network's log depth at places of a picture."""
    rows, columns = setting.grid.hw
    height, width = setting.grid.picture_hw
    on_map = setting.views.log_depth[frame].reshape(rows, columns).astype(np.float32)
    places = xy_px * [columns / width, rows / height]
    return sample(on_map, places[None])[0].astype(np.float64)


def _adjusted(setting: Setting, pairs: list[_Pair], views: Views, *, known_lens: bool) -> Views:
    """Cameras and lens after an adjustment of the matches themselves."""
    problem = _problem(setting, pairs)
    start = views.with_depth(problem.prior_log_depth)
    solved = adjust(problem, start, _PLAN, Freedom(lens=not known_lens))
    off = residuals_px(problem, solved)
    used = (problem.weight.sum(axis=1) > 0) & (off.min(axis=1) < np.inf)
    change = (solved.log_depth - problem.prior_log_depth)[used]
    # The clip's depths as a whole go with the translations that were found.
    shift = float(np.median(change)) if change.size else 0.0
    poses = solved.camera_from_world.copy()
    poses[:, :3, 3] *= np.exp(-shift)
    return replace(views, camera_from_world=poses, log_lens=solved.log_lens)


def _problem(setting: Setting, pairs: list[_Pair]) -> Problem:
    """Matches of both directions as pixels of their own, one slot each."""
    per_frame: list[list[tuple[int, np.ndarray, np.ndarray]]] = [[] for _ in range(setting.frames)]
    for pair in pairs:
        some = slice(None, None, -(-len(pair.first_px) // _MOST_MATCHES))
        per_frame[pair.first].append((pair.second, pair.first_px[some], pair.second_px[some]))
        per_frame[pair.second].append((pair.first, pair.second_px[some], pair.first_px[some]))
    slots = max(len(found) for found in per_frame)
    most = max(sum(len(px) for _, px, _ in found) for found in per_frame)
    shape = (setting.frames, most)
    xy = np.tile(setting.lens.centre_px[:, None], (1, most, 1))
    target = np.tile(np.arange(setting.frames)[:, None], (1, slots))
    place: Float32[np.ndarray, "frame slot pixel xy=2"] = np.zeros(
        (setting.frames, slots, most, 2), dtype=np.float32
    )
    weight = np.zeros((setting.frames, slots, most), dtype=np.float32)
    log_depth = np.zeros(shape)
    for frame, found in enumerate(per_frame):
        end = 0
        for slot, (other, here_px, there_px) in enumerate(found):
            here = slice(end, end := end + len(here_px))
            target[frame, slot] = other
            xy[frame, here] = here_px
            place[frame, slot, here], weight[frame, slot, here] = there_px, 1.0
            log_depth[frame, here] = _log_depth_at(setting, frame, here_px)
    lens = setting.lens
    return Problem(
        lens=lens,
        normal=(xy - lens.centre_px[:, None]) / lens.focal_px[:, None],
        target=target,
        place_px=place,
        weight=weight,
        prior_log_depth=log_depth,
        depth_sigma=_DEPTH_SIGMA,
        lens_sigma=_LENS_SIGMA,
    )


def _best_pairs(frames: int, pairs: list[_Pair]) -> list[tuple[int, int]]:
    """For each frame the pairs in which it shares most."""
    chosen: set[tuple[int, int]] = set()
    for frame in range(frames):
        own = [pair for pair in pairs if frame in {pair.first, pair.second}]
        own.sort(key=lambda pair: -len(pair.first_px))
        chosen |= {(pair.first, pair.second) for pair in own[:_PAIRS_OF_FRAME]}
    return sorted(chosen)
