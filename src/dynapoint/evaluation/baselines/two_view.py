"""Cameras from matched features of neighbouring frames alone: no network and no adjustment.

Matches of SIFT (Lowe 2004) give each pair of neighbours an essential matrix (Nistér 2004, the
most consistent one by MAGSAC, Barath et al. 2019, as OpenCV has it), whose rotation and direction
are chained; lengths of steps follow from depths of points that three frames share. Where a pair has
too few matches the camera is said to have stood still; where turning alone explains the matches,
it is said to have turned only.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from dynapoint.evaluation.methods.method import Method, MethodInfo, Question
from dynapoint.evaluation.methods.trivial import guessed_lens
from dynapoint.evaluation.protocols.task import Answer
from dynapoint.refinement.shared_features import distinct_matches, features_in

_LEAST_MATCHES = 12
_LEAST_SHARED = 6
_THRESHOLD_PX = 1.0
_SURE = 0.9999
# Matches that a turn explains this well, in most of them, show no step.
_TURN_PX = 0.5
_TURN_ROUNDS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class RelativePose:
    """One step of a camera, its length being 1, or 0 where it only turned.

    Attributes:
        first_from_second: The second camera in the first.
        agrees: Which matches lie on both sides of it, before both cameras.
        points: Of those that agree, in the first camera; none where it only turned.
    """

    first_from_second: Float64[np.ndarray, "4 4"]
    agrees: Bool[np.ndarray, " match"]
    points: Float64[np.ndarray, "agreed xyz=3"]


class TwoViewGeometry:
    """Answers cameras only."""

    info = MethodInfo(
        name="two-view geometry", options="SIFT, essential matrix, focal length: longer side"
    )

    def answer(self, question: Question) -> Answer:
        """Chain the poses of neighbours among the frames shown."""
        if not question.task.cameras:
            return Answer()
        images, lens = question.images, question.intrinsics
        if lens is None:
            lens = np.tile(guessed_lens(question.image_hw), (len(images), 1, 1))
        return Answer(world_from_camera=chained_poses(images, lens), intrinsics=lens)


def make_method() -> Method:
    """The method."""
    return TwoViewGeometry()


def chained_poses(
    images: UInt8[np.ndarray, "frame height width rgb=3"],
    intrinsics: Float64[np.ndarray, "frame 3 3"],
) -> Float64[np.ndarray, "frame 4 4"]:
    """Poses of all frames, the world being the first camera; the first step has length 1."""
    import cv2  # noqa: PLC0415 - slow to import.

    found = [features_in(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in images]
    poses, length = [np.eye(4)], 1.0
    # Places in the newest frame of points that the last step placed, and their depths there.
    known_xy, known_depth = np.empty((0, 2)), np.empty(0)
    for frame in range(1, len(images)):
        first, second = distinct_matches(found[frame - 1], found[frame])
        step = relative_pose(first, second, intrinsics[frame - 1], intrinsics[frame])
        if step is None or not step.agrees.any():
            poses.append(poses[-1] if step is None else poses[-1] @ step.first_from_second)
            known_xy, known_depth = np.empty((0, 2)), np.empty(0)
            continue
        ratio = _ratio(known_xy, known_depth, first[step.agrees], step.points[:, 2])
        length = length if ratio is None else ratio
        moved = step.first_from_second.copy()
        moved[:3, 3] *= length
        poses.append(poses[-1] @ moved)
        known_xy = second[step.agrees]
        back = np.linalg.inv(step.first_from_second)
        known_depth = length * (step.points @ back[2, :3] + back[2, 3])
    return np.stack(poses)


def relative_pose(
    first: Float64[np.ndarray, "match xy=2"],
    second: Float64[np.ndarray, "match xy=2"],
    first_intrinsics: Float64[np.ndarray, "3 3"],
    second_intrinsics: Float64[np.ndarray, "3 3"],
) -> RelativePose | None:
    """The step between two pictures from places that match, in pixels; None where none is found."""
    import cv2  # noqa: PLC0415 - slow to import.

    if len(first) < _LEAST_MATCHES:
        return None
    rays = _normal(first, first_intrinsics), _normal(second, second_intrinsics)
    pixel = 1 / float(np.mean([first_intrinsics[0, 0], second_intrinsics[0, 0]]))
    turn = _turn_alone(*rays, pixel)
    if turn is not None:
        none = np.zeros(len(first), bool)
        return RelativePose(first_from_second=turn, agrees=none, points=np.empty((0, 3)))
    cv2.setRNGSeed(0)
    essential, inside = cv2.findEssentialMat(
        *rays, np.eye(3), method=cv2.USAC_MAGSAC, prob=_SURE, threshold=_THRESHOLD_PX * pixel
    )
    if essential is None or essential.shape != (3, 3):
        return None
    chosen = inside[:, 0] > 0
    _, rotation, direction, _ = cv2.recoverPose(
        essential, rays[0][chosen], rays[1][chosen], np.eye(3)
    )
    rotation, direction = _polished(
        rotation, direction[:, 0], rays[0][chosen], rays[1][chosen], pixel
    )
    count, rotation, direction, inside, placed = cv2.recoverPose(
        _skew(direction) @ rotation, *rays, np.eye(3), distanceThresh=1e4, mask=inside
    )
    if count < _LEAST_MATCHES:
        return None
    second_from_first = np.eye(4)
    second_from_first[:3, :3], second_from_first[:3, 3] = rotation, direction[:, 0]
    agrees = inside[:, 0] > 0
    points = (placed[:3] / placed[3]).T[agrees]
    return RelativePose(
        first_from_second=np.linalg.inv(second_from_first), agrees=agrees, points=points
    )


def _turn_alone(
    first: Float64[np.ndarray, "match xy=2"],
    second: Float64[np.ndarray, "match xy=2"],
    pixel: float,
) -> Float64[np.ndarray, "4 4"] | None:
    """The turn that takes the second camera's rays to the first's, if it explains most matches."""
    rays = [np.concatenate([each, np.ones((len(each), 1))], axis=1) for each in (first, second)]
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in rays]
    used = np.ones(len(first), bool)
    rotation = Rotation.identity()
    for _ in range(_TURN_ROUNDS):
        if used.sum() < _LEAST_MATCHES:
            return None
        rotation, _ = Rotation.align_vectors(unit[0][used], unit[1][used])
        turned = rotation.apply(rays[1])
        missed = np.linalg.norm(turned[:, :2] / turned[:, 2:] - first, axis=1)
        used = missed <= max(float(np.median(missed)), _TURN_PX * pixel)
    if np.median(missed) > _TURN_PX * pixel:
        return None
    pose = np.eye(4)
    pose[:3, :3] = rotation.as_matrix()
    return pose


def _polished(
    rotation: Float64[np.ndarray, "3 3"],
    direction: Float64[np.ndarray, " xyz=3"],
    first: Float64[np.ndarray, "match xy=2"],
    second: Float64[np.ndarray, "match xy=2"],
    pixel: float,
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " xyz=3"]]:
    """The same, with the least Sampson distances in pixels (Hartley and Zisserman, eq. 11.9)."""
    rays = [np.concatenate([each, np.ones((len(each), 1))], axis=1) for each in (first, second)]

    def moved(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turned = Rotation.from_rotvec(change[:3]).as_matrix() @ rotation
        aimed = direction + change[3:]
        return turned, aimed / np.linalg.norm(aimed)

    def distances(change: np.ndarray) -> np.ndarray:
        turned, aimed = moved(change)
        essential = _skew(aimed) @ turned
        lines = rays[0] @ essential.T, rays[1] @ essential
        gap = (rays[1] * lines[0]).sum(axis=1)
        steep = np.sqrt((lines[0][:, :2] ** 2).sum(axis=1) + (lines[1][:, :2] ** 2).sum(axis=1))
        return gap / np.maximum(steep, 1e-12) / pixel

    found = least_squares(distances, np.zeros(6), loss="soft_l1", x_scale=1e-2)
    return moved(found.x)


def _skew(vector: Float64[np.ndarray, " xyz=3"]) -> Float64[np.ndarray, "3 3"]:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _ratio(
    known_xy: Float64[np.ndarray, "known xy=2"],
    known_depth: Float64[np.ndarray, " known"],
    xy: Float64[np.ndarray, "match xy=2"],
    depth: Float64[np.ndarray, " match"],
) -> float | None:
    """Known depths over new ones of the points that both steps placed; None where too few are."""
    places = {
        tuple(place): value for place, value in zip(known_xy.tolist(), known_depth, strict=True)
    }
    both = [
        (places[key], new)
        for key, new in zip(map(tuple, xy.tolist()), depth, strict=True)
        if key in places
    ]
    ratios = np.array([old / new for old, new in both if old > 0 and new > 0])
    return float(np.median(ratios)) if len(ratios) >= _LEAST_SHARED else None


def _normal(
    xy: Float64[np.ndarray, "match xy=2"], intrinsics: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "match xy=2"]:
    rays = np.concatenate([xy, np.ones((len(xy), 1))], axis=1) @ np.linalg.inv(intrinsics).T
    return np.ascontiguousarray(rays[:, :2] / rays[:, 2:])
