"""A start for the cameras: the pose of every frame relative to the one before it.

Own-time depth of one frame, seen at the places to which flow carries its pixels, gives the pose of
the other frame by perspective-n-point (SQPnP, Terzakis and Lourakis 2020, within RANSAC, as OpenCV
has it). Errors of depth hardly disturb it where the way between the frames is short. Both
directions are tried, because one frame's depth may be better than the other's.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from dynapoint.refinement.matches import RELIABLE, Matches
from dynapoint.refinement.setting import Setting

_MOST_POINTS = 800
_FEWEST_POINTS, _FEWEST_INLIERS = 30, 12
_DRAWS = 150
_INLIER_PX = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """The pose of a frame in the camera of another, and the share of matches that agree with it."""

    second_from_first: Float64[np.ndarray, "4 4"]
    share: float


def chain_of_poses(setting: Setting, matches: Matches) -> Float64[np.ndarray, "frame 4 4"]:
    """Camera-from-world of all frames, from matches of neighbours, the network's depth and lens.

    Where a step cannot be found it is the network's.
    """
    network = setting.views.camera_from_world
    poses = network.copy()
    for first in range(setting.frames - 1):
        second = first + 1
        there = _step(setting, matches, first, second)
        back = _step(setting, matches, second, first)
        step = network[second] @ np.linalg.inv(network[first])
        if there is not None and (back is None or there.share >= back.share):
            step = there.second_from_first
        elif back is not None:
            step = np.linalg.inv(back.second_from_first)
        poses[second] = step @ poses[first]
    return poses


def _step(setting: Setting, matches: Matches, source: int, target: int) -> Step | None:
    """The pose of the target in the camera of the source."""
    slots = np.flatnonzero(matches.target[source] == target)
    if not len(slots):
        return None
    chosen = np.flatnonzero(matches.weight[source, slots[0]] > RELIABLE)
    if len(chosen) > _MOST_POINTS:
        chosen = np.random.default_rng(0).choice(chosen, _MOST_POINTS, replace=False)
    depth = np.exp(setting.views.log_depth[source, chosen])
    ray = np.concatenate([setting.normal[source, chosen], np.ones((len(chosen), 1))], axis=1)
    places = matches.place_px[source, slots[0], chosen] - setting.lens.centre_px[target]
    return pose_of_points(ray * depth[:, None], places, setting.lens.focal_px[target])


def pose_of_points(
    points: Float[np.ndarray, "point xyz=3"],
    centred_px: Float[np.ndarray, "point xy=2"],
    focal_px: Float[np.ndarray, "xy=2"],
) -> Step | None:
    """The pose in whose camera points are seen at their places; None where too few agree."""
    import cv2  # noqa: PLC0415 - slow to import.

    if len(points) < _FEWEST_POINTS:
        return None
    points, places = points.astype(np.float64), centred_px.astype(np.float64)
    matrix = np.diag([*focal_px, 1.0])
    try:
        found, turn, shift, inliers = cv2.solvePnPRansac(
            points,
            places,
            matrix,
            None,
            iterationsCount=_DRAWS,
            reprojectionError=_INLIER_PX,
            flags=cv2.SOLVEPNP_SQPNP,
        )
        if not found or inliers is None or len(inliers) < _FEWEST_INLIERS:
            return None
        agreeing = inliers.ravel()
        turn, shift = cv2.solvePnPRefineLM(
            points[agreeing], places[agreeing], matrix, None, turn, shift
        )
    # Points in one place or on one line make the solver give up.
    except cv2.error:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift.ravel()
    if not np.isfinite(pose).all():
        return None
    return Step(second_from_first=pose, share=len(agreeing) / len(points))
