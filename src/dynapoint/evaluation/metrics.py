"""Errors of predicted point maps, motion apart from geometry, as pure functions of arrays.

For a pair of frames (0, 1), `points[time, frame]` holds four maps in the camera of frame 0. With
P = points[i, i] (own time), Q = points[j, i] (the other time) and D = Q - P: own-time EPE measures
geometry, the motion ratio how much of D is explained, leak how much still things move, match
recall whether the maps of two frames meet. Definitions and anchors: docs/scoring.md.

Results hold sums, so that adding the results of pairs and clips pools them exactly. A prediction
that is not finite counts as a point at the origin, never as left out.
"""

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from dynapoint.errors import ShapeError
from dynapoint.geometry.arrays import points_in_camera, project, rotation_angle_rad

MOVING_FRACTION_OF_DISTANCE = 0.01
MATCH_RADIUS_PX = 4.0


Summable = TypeVar("Summable", bound="Totals")


class Totals:
    """Gives a frozen dataclass of sums an exact `+`, written once for all."""

    def __add__(self: Summable, other: Summable) -> Summable:
        """The totals of both."""
        summed = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)  # type: ignore[arg-type]
        }
        return type(self)(**summed)


@dataclass(frozen=True, kw_only=True)
class PairScores(Totals):
    """Sums over pairs; the properties are the metrics, NaN where nothing was there to measure.

    Errors are in mean distances of the compared points from the camera of the pair's first frame.
    A direction is one frame of a pair, moved to the time of the other.
    """

    pairs: int = 0
    own_time_error: float = 0.0
    four_map_error: float = 0.0
    motion_error: float = 0.0
    motion_length: float = 0.0
    leaked: float = 0.0
    leak_directions: int = 0
    own_time_spearman_sum: float = 0.0
    decoded_spearman_sum: float = 0.0
    confidence_pairs: int = 0

    @property
    def own_time_epe(self) -> float:
        """Mean over pairs of the error of the two own-time maps, scaled by those two alone."""
        return _ratio(self.own_time_error, self.pairs)

    @property
    def four_map_epe(self) -> float:
        """Mean over pairs of the error of all four maps under one scale (the papers' EPE)."""
        return _ratio(self.four_map_error, self.pairs)

    @property
    def motion_ratio(self) -> float:
        """Summed error of D over summed length of D, over all moving pixels; 1 = nothing moved."""
        return _ratio(self.motion_error, self.motion_length)

    @property
    def leak(self) -> float:
        """Mean over directions of the mean predicted motion of pixels that do not move."""
        return _ratio(self.leaked, self.leak_directions)

    @property
    def own_time_spearman(self) -> float:
        """Mean over pairs of the rank correlation of confidence and -error of own-time maps."""
        return _ratio(self.own_time_spearman_sum, self.confidence_pairs)

    @property
    def decoded_spearman(self) -> float:
        """Mean over pairs of the rank correlation of confidence and -error of the Q maps."""
        return _ratio(self.decoded_spearman_sum, self.confidence_pairs)


@dataclass(frozen=True, kw_only=True)
class MatchCounts(Totals):
    """How many points were searched for in the other frame, and how many were found."""

    visible: int = 0
    matched: int = 0
    visible_moving: int = 0
    matched_moving: int = 0

    @property
    def recall(self) -> float:
        """Share of visible points whose nearest point of the other frame is the right one."""
        return _ratio(self.matched, self.visible)

    @property
    def recall_moving(self) -> float:
        """The same share among points that move."""
        return _ratio(self.matched_moving, self.visible_moving)


def score_pairs(
    truth_points: Float[np.ndarray, "pair time=2 frame=2 height width xyz=3"]
    | Float[Tensor, "pair time=2 frame=2 height width xyz=3"],
    predicted_points: Float[np.ndarray, "pair time=2 frame=2 height width xyz=3"]
    | Float[Tensor, "pair time=2 frame=2 height width xyz=3"],
    confidence: Float[np.ndarray, "pair time=2 frame=2 height width"]
    | Float[Tensor, "pair time=2 frame=2 height width"]
    | None = None,
) -> PairScores:
    """Score pairs of frames held in memory: own-time and four-map EPE, motion ratio and leak.

    Args:
        truth_points: `[pair, time, frame]`, in the camera of frame 0 of the pair and any unit; NaN
            where there is no surface.
        predicted_points: the same of the prediction, in its own unit.
        confidence: of `predicted_points`, larger is better; adds the rank correlations.

    Returns:
        Sums over all pairs; a pair without any compared point adds nothing.

    Raises:
        ShapeError: the arrays do not have the same shape.
    """
    if tuple(truth_points.shape) != tuple(predicted_points.shape):
        raise ShapeError(
            f"predicted points have shape {tuple(predicted_points.shape)}; wanted that of the "
            f"truth, {tuple(truth_points.shape)}."
        )
    total = PairScores()
    for index in range(len(truth_points)):
        total += _score_pair(
            truth=_numpy(truth_points[index]).reshape(2, 2, -1, 3),
            predicted=finite_or_origin(_numpy(predicted_points[index])).reshape(2, 2, -1, 3),
            confidence=None if confidence is None else _numpy(confidence[index]).reshape(2, 2, -1),
        )
    return total


def match_recall(
    *,
    truth_points: Float[np.ndarray, "time=2 frame=2 grid xyz=3"],
    predicted_points: Float[np.ndarray, "time=2 frame=2 grid xyz=3"],
    visible: Bool[np.ndarray, "time=2 frame=2 grid"],
    grid_xy: Float[np.ndarray, "grid xy=2"],
    intrinsics: Float[np.ndarray, "3 3"] | Float[np.ndarray, "frame=2 3 3"],
    world_from_camera: Float[np.ndarray, "frame=2 4 4"],
) -> MatchCounts:
    """Count points of one frame whose nearest 3D point of the other frame is the right pixel.

    For each direction (i to j), the predicted points[j, i] that are visible in frame j are looked
    up among the predicted points[j, j]; the pixel found is right when it lies within 4 pixels of
    where the true point projects to in frame j. Points and poses are in the camera of frame 0 of
    the pair, `grid_xy` and `intrinsics` (of both frames, or of each) in pixels of the full image.
    """
    # SciPy stays out of a GPU machine's training, which imports this module for `score_pairs`.
    from scipy.spatial import KDTree  # noqa: PLC0415

    predicted = finite_or_origin(_numpy(predicted_points))
    compared = compared_points(truth_points)
    moving = moving_points(truth_points, compared)
    lenses = np.broadcast_to(intrinsics, (2, 3, 3))
    total = MatchCounts()
    for source, target in ((0, 1), (1, 0)):
        candidates = compared[target]
        searched = visible[target, source] & compared[source]
        if not candidates.any() or not searched.any():
            continue
        shown = points_in_camera(truth_points[target, source][searched], world_from_camera[target])
        true_xy = project(shown, lenses[target])
        tree = KDTree(predicted[target, target][candidates])
        _, nearest = tree.query(predicted[target, source][searched])
        distance_px = np.linalg.norm(grid_xy[candidates][nearest] - true_xy, axis=-1)
        right = distance_px <= MATCH_RADIUS_PX
        moves = moving[source][searched]
        total += MatchCounts(
            visible=int(right.size),
            matched=int(right.sum()),
            visible_moving=int(moves.sum()),
            matched_moving=int(right[moves].sum()),
        )
    return total


def normalised_errors(
    truth: Float[np.ndarray, "point xyz=3"], predicted: Float[np.ndarray, "point xyz=3"]
) -> Float[np.ndarray, " point"]:
    """Distances after dividing each side by its own mean distance from the camera (origin).

    The papers' EPE is their mean. Predictions that are not finite count as the origin.
    """
    predicted = finite_or_origin(_numpy(predicted))
    truth = _numpy(truth)
    return np.linalg.norm(
        predicted / _mean_distance(predicted) - truth / _mean_distance(truth), axis=-1
    )


def track_epe(
    truth: Float[np.ndarray, "time grid xyz=3"], predicted: Float[np.ndarray, "time grid xyz=3"]
) -> float:
    """Mean error of the tracks of one frame's pixels under one scale for all times.

    Compared are the points that the truth (NaN where there is none) holds at all times; NaN when
    there are none.
    """
    valid = np.isfinite(truth).all(axis=(0, 2))
    if not valid.any():
        return float("nan")
    errors = normalised_errors(truth[:, valid].reshape(-1, 3), predicted[:, valid].reshape(-1, 3))
    return float(errors.mean())


def rotation_errors_deg(
    truth_world_from_camera: Float[np.ndarray, "frame 4 4"],
    predicted_world_from_camera: Float[np.ndarray, "frame 4 4"],
) -> Float[np.ndarray, " frame"]:
    """Angles in degrees between true and predicted orientation; 180 where that is not finite."""
    with np.errstate(invalid="ignore"):
        angles = rotation_angle_rad(
            truth_world_from_camera[:, :3, :3], predicted_world_from_camera[:, :3, :3]
        )
    return np.rad2deg(np.nan_to_num(angles, nan=np.pi))


def focal_error_percent(
    truth_focal_px: float, predicted_focal_px: Float[np.ndarray, " frame"]
) -> float:
    """100 |median predicted fx / true fx - 1|; a focal length that is not finite counts as 0."""
    focal = np.where(np.isfinite(predicted_focal_px), predicted_focal_px, 0.0)
    return float(100 * abs(np.median(focal) / truth_focal_px - 1))


def spearman(first: Float[np.ndarray, " value"], second: Float[np.ndarray, " value"]) -> float:
    """Rank correlation with mean ranks for ties; 0 when either side is constant.

    Values that are not finite rank below all others.
    """
    ranks = [_mean_ranks(np.where(np.isfinite(side), side, -np.inf)) for side in (first, second)]
    centred = [rank - rank.mean() for rank in ranks]
    spread = np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    return float((centred[0] * centred[1]).sum() / spread) if spread > 0 else 0.0


def finite_or_origin(points: Float[np.ndarray, "*any xyz=3"]) -> Float[np.ndarray, "*any xyz=3"]:
    """The points, with the origin in place of those that have a coordinate that is not finite."""
    return np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, 0.0)


def compared_points(
    truth_points: Float[np.ndarray, "time frame grid xyz=3"],
) -> Bool[np.ndarray, "frame grid"]:
    """Which pixels of each frame have a true point at all the times given."""
    return np.isfinite(truth_points).all(axis=(0, 3))


def moving_points(
    truth_points: Float[np.ndarray, "time=2 frame=2 grid xyz=3"],
    compared: Bool[np.ndarray, "frame=2 grid"],
) -> Bool[np.ndarray, "frame=2 grid"]:
    """Which compared pixels move by more than 1 % of the pair's median distance."""
    if not compared.any():
        return compared
    distances = np.linalg.norm(_stacked(truth_points, compared), axis=-1)
    threshold = MOVING_FRACTION_OF_DISTANCE * np.median(distances)
    # Sky is NaN, and a comparison with NaN is false, so only compared pixels can come out true.
    motion = np.stack([truth_points[1 - i, i] - truth_points[i, i] for i in (0, 1)])
    return (np.linalg.norm(motion, axis=-1) > threshold) & compared


def _score_pair(
    *,
    truth: Float[np.ndarray, "time=2 frame=2 grid xyz=3"],
    predicted: Float[np.ndarray, "time=2 frame=2 grid xyz=3"],
    confidence: Float[np.ndarray, "time=2 frame=2 grid"] | None,
) -> PairScores:
    compared = compared_points(truth)
    if not compared.any():
        return PairScores()
    own_truth, own_predicted = _own_time(truth, compared), _own_time(predicted, compared)
    all_truth, all_predicted = _stacked(truth, compared), _stacked(predicted, compared)
    own_errors = normalised_errors(own_truth, own_predicted)
    all_errors = normalised_errors(all_truth, all_predicted)
    motion = _score_motion(
        truth=truth / _mean_distance(all_truth),
        predicted=predicted / _mean_distance(all_predicted),
        compared=compared,
        moving=moving_points(truth, compared),
    )
    scores = motion + PairScores(
        pairs=1,
        own_time_error=float(own_errors.mean()),
        four_map_error=float(all_errors.mean()),
    )
    if confidence is None:
        return scores
    decoded_errors = all_errors[len(own_errors) :]
    return scores + PairScores(
        own_time_spearman_sum=spearman(_own_time(confidence, compared), -own_errors),
        decoded_spearman_sum=spearman(_decoded(confidence, compared), -decoded_errors),
        confidence_pairs=1,
    )


def _score_motion(
    *,
    truth: Float[np.ndarray, "time=2 frame=2 grid xyz=3"],
    predicted: Float[np.ndarray, "time=2 frame=2 grid xyz=3"],
    compared: Bool[np.ndarray, "frame=2 grid"],
    moving: Bool[np.ndarray, "frame=2 grid"],
) -> PairScores:
    """Motion error and leak of a pair whose four maps already share one scale."""
    total = PairScores()
    for frame in (0, 1):
        true_motion = truth[1 - frame, frame] - truth[frame, frame]
        motion = predicted[1 - frame, frame] - predicted[frame, frame]
        moves, still = moving[frame], compared[frame] & ~moving[frame]
        error = np.linalg.norm(motion[moves] - true_motion[moves], axis=-1).sum()
        length = np.linalg.norm(true_motion[moves], axis=-1).sum()
        total += PairScores(motion_error=float(error), motion_length=float(length))
        if still.any():
            leaked = float(np.linalg.norm(motion[still], axis=-1).mean())
            total += PairScores(leaked=leaked, leak_directions=1)
    return total


def _own_time(maps: np.ndarray, compared: Bool[np.ndarray, "frame=2 grid"]) -> np.ndarray:
    return np.concatenate([maps[i, i][compared[i]] for i in (0, 1)])


def _decoded(maps: np.ndarray, compared: Bool[np.ndarray, "frame=2 grid"]) -> np.ndarray:
    return np.concatenate([maps[1 - i, i][compared[i]] for i in (0, 1)])


def _stacked(maps: np.ndarray, compared: Bool[np.ndarray, "frame=2 grid"]) -> np.ndarray:
    return np.concatenate([_own_time(maps, compared), _decoded(maps, compared)])


def _mean_distance(points: Float[np.ndarray, "point xyz=3"]) -> float:
    """Mean distance from the origin; 1 for points that all lie there, which no scale can move."""
    mean = float(np.linalg.norm(points, axis=-1).mean())
    return mean if mean > 0 else 1.0


def _mean_ranks(values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    return (last_rank - (counts - 1) / 2)[inverse]


def _numpy(array: np.ndarray | Tensor) -> Float[np.ndarray, "*any"]:
    """The values as float64, in which all sums are made; detaches and copies tensors."""
    if isinstance(array, Tensor):
        array = array.detach().cpu().double().numpy()
    return array.astype(np.float64)


def _ratio(numerator: float | int, denominator: float | int) -> float:
    return numerator / denominator if denominator else float("nan")
