"""The similarity between the worlds of two windows, from features that frames of both share.

Each match is a pixel of a frame of the first window and one of the second, and each window's map
says where its pixel is. The similarity has to bring either window's points to the pixels in which
the other one's cameras see them (perspective-n-point both ways), and to the depths that the other
window's maps have there, which alone tell the scale where cameras stood in one place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64

from dynapoint.geometry.sim3 import adjoint, exp_sim3
from dynapoint.geometry.similarity import fit_similarity, fit_similarity_robustly
from dynapoint.windows.closure_pairs import SIDE_PX
from dynapoint.windows.window_maps import WindowMaps

# What is left by right answers: in pixels of pictures of 256, and of the logarithm of depth.
_SIGMA_PX, _SIGMA_LOG_DEPTH = 1.0, 0.1
EXPLAINED_PX = 3.0
"""Matches are explained that miss by less than this, in pixels of pictures of 256, both ways."""
_BEHIND = 50.0
# Draws of a sample of matches, how many matches a sample has, and the most that a residual costs.
_DRAWS, _DRAWN, _MOST_SIGMAS = 150, 4, 6.0
# Depths at a pixel's four neighbours differ by less than this where it is on one surface.
_ONE_SURFACE = 1.1
# Errors of maps are common to a frame: of all matches of a closure so many tell something.
_TELLING_MATCHES = 30.0
# What the maps' errors leave at best: of a turn (radians), of a way as a share of the distance, of
# the logarithm of the scale.
_FLOOR = np.array([0.005, 0.005, 0.005, 0.008, 0.008, 0.008, 0.06])


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedThings:
    """Still things seen in both windows, one row for each match of a pair of frames.

    Attributes:
        first_px: Where each is seen in the first window's frame, in pixels of the maps.
        second_px: In the second window's.
        first_points: Where it is, in the first window's world.
        second_points: In the second window's.
        first_camera: World-from-camera of that frame.
        second_camera: The same in the second window.
        first_lens: Intrinsics of that frame.
        second_lens: The same in the second window.
        pixel: How large a pixel of pictures of 256 is, in pixels of the maps.
    """

    first_px: Float64[np.ndarray, "match xy=2"]
    second_px: Float64[np.ndarray, "match xy=2"]
    first_points: Float64[np.ndarray, "match xyz=3"]
    second_points: Float64[np.ndarray, "match xyz=3"]
    first_camera: Float64[np.ndarray, "match 4 4"]
    second_camera: Float64[np.ndarray, "match 4 4"]
    first_lens: Float64[np.ndarray, "match 3 3"]
    second_lens: Float64[np.ndarray, "match 3 3"]
    pixel: float

    def __len__(self) -> int:
        """How many matches there are."""
        return len(self.first_px)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClosureFit:
    """The best similarity.

    Attributes:
        first_from_second: [s·R | t], from the second window's world to the first's.
        information: Of its right perturbation [rotation, translation, logarithm of scale].
        missed_px: By how much each match misses in the picture that it misses more in, in pixels of
            pictures of 256.
        off_log_depth: By how much the logarithms of depth differ.
        sigma_deg: How far the turn between the frames may be off.
        sigma_way: How far the way between them may be, as a share of the things' distance.
    """

    first_from_second: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "7 7"]
    missed_px: Float64[np.ndarray, " match"]
    off_log_depth: Float64[np.ndarray, " match"]
    sigma_deg: float
    sigma_way: float


def things_of(
    first: WindowMaps,
    second: WindowMaps,
    pairs: Sequence[
        tuple[int, int, Float64[np.ndarray, "_match xy=2"], Float64[np.ndarray, "_match xy=2"]]
    ],
) -> SharedThings:
    """What matches of pairs of frames are in both worlds; those at edges of depth are left out.

    Args:
        first: A window.
        second: Another one.
        pairs: Frames of the clip, of the first and of the second window, with the places of their
            matches in pixels of the maps.
    """
    rows: list[tuple[np.ndarray, ...]] = []
    for first_frame, second_frame, first_px, second_px in pairs:
        here, there = first.local([first_frame])[0], second.local([second_frame])[0]
        first_points, known = _points_at(first, here, first_px)
        second_points, also = _points_at(second, there, second_px)
        both = known & also
        count = int(both.sum())
        rows.append(
            (
                first_px[both],
                second_px[both],
                first_points[both],
                second_points[both],
                np.tile(first.world_from_camera[here], (count, 1, 1)),
                np.tile(second.world_from_camera[there], (count, 1, 1)),
                np.tile(first.map_intrinsics[here], (count, 1, 1)),
                np.tile(second.map_intrinsics[there], (count, 1, 1)),
            )
        )
    columns = [np.concatenate(each) for each in zip(*rows, strict=True)]
    return SharedThings(
        first_px=columns[0],
        second_px=columns[1],
        first_points=columns[2],
        second_points=columns[3],
        first_camera=columns[4],
        second_camera=columns[5],
        first_lens=columns[6],
        second_lens=columns[7],
        pixel=max(first.confidence.shape[1:]) / SIDE_PX,
    )


def fit_closure(things: SharedThings) -> ClosureFit:
    """The similarity that explains most, refined by least squares with Cauchy's cost."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - slow to import.

    start = _start(things)
    for _ in range(2):
        base = start
        solved = least_squares(
            lambda change: _residuals(things, base @ exp_sim3(change)).ravel(),  # noqa: B023
            np.zeros(7),
            loss="cauchy",
            x_scale="jac",
            max_nfev=20,
        )
        start = base @ exp_sim3(solved.x)
    residual = _residuals(things, start)
    missed = np.linalg.norm(residual[:, :4].reshape(-1, 2, 2), axis=2).max(axis=1) * _SIGMA_PX
    # Maps that contradict each other are worse than usual.
    worse = max(1.0, float(np.median(missed)) / _SIGMA_PX)
    information = _information(things, start, residual) / worse**2
    covariance = np.linalg.inv(_in_camera(things, information))
    return ClosureFit(
        first_from_second=start,
        information=information,
        missed_px=missed,
        off_log_depth=np.abs(residual[:, 4]) * _SIGMA_LOG_DEPTH,
        sigma_deg=float(np.degrees(np.sqrt(np.trace(covariance[:3, :3]) / 3))),
        sigma_way=float(np.sqrt(np.trace(covariance[3:6, 3:6]) / 3)),
    )


def _start(things: SharedThings) -> Float64[np.ndarray, "4 4"]:
    """The best of similarities of all matches' points and of samples of them."""
    first = torch.from_numpy(things.first_points)
    second = torch.from_numpy(things.second_points)
    chosen = np.random.default_rng(0).integers(0, len(things), size=(_DRAWS, _DRAWN))
    found = [
        fit_similarity_robustly(second[None], first[None], torch.ones(1, len(things))).numpy(),
        fit_similarity(second[chosen], first[chosen], torch.ones(chosen.shape)).numpy(),
    ]

    def cost(matrix: np.ndarray) -> float:
        square = np.square(_residuals(things, matrix)).sum(axis=1)
        return float(np.minimum(square, _MOST_SIGMAS**2).sum())

    best: Float64[np.ndarray, "4 4"] = min(np.concatenate(found), key=cost)
    return best


def _residuals(
    things: SharedThings, first_from_second: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "match residual=5"]:
    """By how many sigmas matches miss in the first picture, in the second, and in depth."""
    second_from_first = np.linalg.inv(first_from_second)
    ahead = _moved(first_from_second, things.second_points)
    seen_first, depth = _seen(things.first_camera, things.first_lens, ahead)
    back = _moved(second_from_first, things.first_points)
    seen_second, also = _seen(things.second_camera, things.second_lens, back)
    unit = _SIGMA_PX * things.pixel
    _, own = _seen(things.first_camera, things.first_lens, things.first_points)
    with np.errstate(all="ignore"):
        off_depth = np.log(depth / own)[:, None] / _SIGMA_LOG_DEPTH
        residual = np.concatenate(
            [
                (seen_first - things.first_px) / unit,
                (seen_second - things.second_px) / unit,
                off_depth,
            ],
            axis=1,
        )
    residual[~((depth > 0) & (also > 0) & np.isfinite(residual).all(axis=1))] = _BEHIND
    return np.clip(residual, -1e3, 1e3)


def _seen(
    camera: Float64[np.ndarray, "match 4 4"],
    lens: Float64[np.ndarray, "match 3 3"],
    points: Float64[np.ndarray, "match xyz=3"],
) -> tuple[Float64[np.ndarray, "match xy=2"], Float64[np.ndarray, " match"]]:
    """In which pixels and at which depths cameras see points of their world."""
    inside = np.einsum("mji,mj->mi", camera[:, :3, :3], points - camera[:, :3, 3])
    with np.errstate(all="ignore"):
        slope = inside[:, :2] / inside[:, 2:]
    return slope * lens[:, [0, 1], [0, 1]] + lens[:, :2, 2], inside[:, 2]


def _information(
    things: SharedThings,
    first_from_second: Float64[np.ndarray, "4 4"],
    residual: Float64[np.ndarray, "match residual=5"],
) -> Float64[np.ndarray, "7 7"]:
    """Of a right perturbation, with what errors of maps leave at best."""
    distance = _distance(things)
    step = np.array([1e-5] * 3 + [1e-5 * distance] * 3 + [1e-5])
    columns = [
        (_residuals(things, first_from_second @ exp_sim3(change)) - residual) / change.sum()
        for change in np.diag(step)
    ]
    jacobian = np.stack(columns, axis=-1)
    weight = 1 / (1 + residual**2)
    normal = np.einsum("mr,mri,mrj->ij", weight, jacobian, jacobian, optimize=True)
    normal *= min(1.0, _TELLING_MATCHES / len(things))
    in_camera = _in_camera(things, normal)
    # Directions that nothing tells must not make the inverse fail.
    in_camera += 1e-6 * np.trace(in_camera) / 7 * np.eye(7)
    known = np.linalg.inv(np.linalg.inv(in_camera) + np.diag(_FLOOR**2))
    mixing = _mixing(things)
    information = mixing.T @ known @ mixing
    return (information + information.T) / 2


def _mixing(things: SharedThings) -> Float64[np.ndarray, "7 7"]:
    """Takes a perturbation in the second world to one about its middle frame's camera.

    That is Sim(3)'s adjoint of camera-from-world, with ways as shares of the things' distance.
    """
    mixing = adjoint(np.linalg.inv(things.second_camera[len(things) // 2]))
    mixing[3:6] /= _distance(things)
    return mixing


def _in_camera(
    things: SharedThings, information: Float64[np.ndarray, "7 7"]
) -> Float64[np.ndarray, "7 7"]:
    """Information about a perturbation about a camera, with ways as shares of the distance."""
    back = np.linalg.inv(_mixing(things))
    return np.asarray(back.T @ information @ back)


def _distance(things: SharedThings) -> float:
    """How far away the things are from the second window's cameras."""
    away = np.linalg.norm(things.second_points - things.second_camera[:, :3, 3], axis=1)
    return float(np.median(away))


def _moved(
    matrix: Float64[np.ndarray, "4 4"], points: Float64[np.ndarray, "match xyz=3"]
) -> Float64[np.ndarray, "match xyz=3"]:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _points_at(
    window: WindowMaps, index: int, xy_px: Float64[np.ndarray, "place xy=2"]
) -> tuple[Float64[np.ndarray, "place xyz=3"], Bool[np.ndarray, " place"]]:
    """Own-time points at places of a frame's map, and whether each is known and of one surface."""
    points, confidence = window.points[index], window.confidence[index]
    height, width = confidence.shape
    corner = np.clip(np.floor(xy_px - 0.5).astype(np.int64), 0, [width - 2, height - 2])
    right, down = np.clip(xy_px - 0.5 - corner, 0.0, 1.0).T
    camera = window.world_from_camera[index]
    around, sure = [], np.ones(len(xy_px), dtype=bool)
    for step_y, step_x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        rows, columns = corner[:, 1] + step_y, corner[:, 0] + step_x
        around.append(points[rows, columns].astype(np.float64))
        sure &= confidence[rows, columns] > 0
    depths = np.stack([(each - camera[:3, 3]) @ camera[:3, 2] for each in around])
    with np.errstate(all="ignore"):
        sure &= (depths.min(axis=0) > 0) & (depths.max(axis=0) < _ONE_SURFACE * depths.min(axis=0))
    shares = ((1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down)
    mixed = sum(share[:, None] * each for share, each in zip(shares, around, strict=True))
    return np.asarray(mixed), sure & np.isfinite(mixed).all(axis=1)
