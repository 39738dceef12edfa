"""Errors of the rigid motion of objects between two times, from where their pixels go.

DPM (arXiv 2503.16318, table 3 and appendix A.4): for the pixels of an object, Umeyama's fit (1991)
takes P1(t1, camera 1) to P1(t2, camera 1) and gives R^, t^; the true R, t come from the object's
poses. rotation = angle of R^T R in degrees. translation = distance between where the two motions
take the object's centre. Whether the fit has a scale is not said; it changes the translation alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64

from dynapoint.evaluation.metrics import finite_or_origin
from dynapoint.geometry.arrays import rotation_angle_rad
from dynapoint.geometry.similarity import fit_similarity, split_similarity


@dataclass(frozen=True, kw_only=True)
class MotionError:
    """The error of an object's motion: degrees, and a distance in the unit of the points."""

    rotation_deg: float
    translation: float


def object_motion_error(
    before: Float[np.ndarray, "point xyz=3"],
    after: Float[np.ndarray, "point xyz=3"],
    true_motion: Float[np.ndarray, "4 4"],
    centre: Float[np.ndarray, "xyz=3"],
    *,
    with_scale: bool = False,
) -> MotionError:
    """Compare the motion that takes predicted points from one time to another with the true one.

    Args:
        before: Predicted points of the object at the first time, in the camera and unit of
            `true_motion`; what is not finite counts as the origin. At least three.
        after: The same points at the second time.
        true_motion: Rigid, from places at the first time to places at the second.
        centre: Of the object at the first time.
        with_scale: Whether the fit may have a scale.
    """
    motion = fitted_motion(before, after, with_scale=with_scale)
    _, rigid = split_similarity(torch.from_numpy(motion)[None])
    turned = rigid[0, :3, :3].numpy()
    angle = float(rotation_angle_rad(turned[None], true_motion[None, :3, :3])[0])
    ends = [matrix[:3, :3] @ centre + matrix[:3, 3] for matrix in (motion, true_motion)]
    return MotionError(
        rotation_deg=float(np.rad2deg(angle)),
        translation=float(np.linalg.norm(ends[0] - ends[1])),
    )


def fitted_motion(
    before: Float[np.ndarray, "point xyz=3"],
    after: Float[np.ndarray, "point xyz=3"],
    *,
    with_scale: bool = False,
) -> Float64[np.ndarray, "4 4"]:
    """Umeyama's [s R | t] of least squares; what is not finite counts as the origin."""
    clouds = [
        torch.from_numpy(finite_or_origin(points.astype(np.float64)))[None]
        for points in (before, after)
    ]
    weight = torch.ones(1, len(before), dtype=torch.float64)
    matrix = fit_similarity(clouds[0], clouds[1], weight, rigid=not with_scale)
    return np.asarray(matrix[0].numpy())
