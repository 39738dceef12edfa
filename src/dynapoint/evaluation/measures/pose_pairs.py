"""Camera poses compared pair by pair: relative rotation, direction of translation, and their AUC.

Of each pair of frames i < j the relative pose inv(T_i) T_j is compared: the angle between the two
rotations, and that between the directions of the two translations, whichever sign they have.
The pair's error is the larger of the two angles. AUC@θ is the mean over k = 1 … θ (in degrees) of
the share of pairs with an error below k, in per cent (PoseDiffusion, ICCV 2023; VGGT, CVPR 2025,
and its evaluation's code, from which the sums over whole degrees are).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from dynapoint.errors import ShapeError
from dynapoint.geometry.arrays import rotation_angle_rad

# Translations shorter than this share of the longest one, or than this in the set's unit, have no
# direction: cameras on a tripod, and what rounding makes of them.
_NO_WAY, _NO_LENGTH = 1e-6, 1e-9


@dataclass(frozen=True, kw_only=True)
class PairAngles:
    """Angles in degrees, of each pair of frames."""

    rotation_deg: Float64[np.ndarray, " pair"]
    direction_deg: Float64[np.ndarray, " pair"]

    @property
    def worse_deg(self) -> Float64[np.ndarray, " pair"]:
        """The larger of the two."""
        return np.maximum(self.rotation_deg, self.direction_deg)


def pair_angles(
    truth: Float[np.ndarray, "frame 4 4"],
    predicted: Float[np.ndarray, "predicted_frame 4 4"],
    *,
    signed: bool = False,
) -> PairAngles:
    """Compare all pairs of frames.

    Args:
        truth: world_from_camera.
        predicted: The same in any world and unit. Pairs of a pose that is not finite count 180°.
        signed: Directions that are opposite differ by 180°; otherwise, as in the papers, by 0°.

    Where the truth does not move between two frames there is no direction, and rotations alone
    count; where only the prediction does not move, its direction counts as 90° off.

    Raises:
        ShapeError: The two do not have the same number of frames.
    """
    if truth.shape != predicted.shape:
        raise ShapeError(
            f"predicted poses have shape {predicted.shape}; wanted that of the truth, "
            f"{truth.shape}."
        )
    first, second = np.triu_indices(len(truth), k=1)
    finite = np.isfinite(predicted).all(axis=(1, 2))
    usable = finite[first] & finite[second]
    said = np.where(finite[:, None, None], predicted, np.eye(4)).astype(np.float64)
    true_motion, motion = (
        np.linalg.inv(poses[first]) @ poses[second] for poses in (truth.astype(np.float64), said)
    )
    rotation = np.degrees(rotation_angle_rad(true_motion[:, :3, :3], motion[:, :3, :3]))
    direction = _between(true_motion[:, :3, 3], motion[:, :3, 3])
    if not signed:
        direction = np.minimum(direction, 180 - direction)
    return PairAngles(
        rotation_deg=np.where(usable, rotation, 180.0),
        direction_deg=np.where(usable, direction, 180.0),
    )


def _between(
    truth: Float64[np.ndarray, "pair xyz=3"], predicted: Float64[np.ndarray, "pair xyz=3"]
) -> Float64[np.ndarray, " pair"]:
    """Angles between vectors in degrees, 0 where the truth is 0, 90 where the prediction is."""
    across = np.linalg.norm(np.cross(truth, predicted), axis=-1)
    angle = np.degrees(np.arctan2(across, (truth * predicted).sum(axis=-1)))
    way, said = (np.linalg.norm(vectors, axis=-1) for vectors in (truth, predicted))
    still_truth = way <= max(_NO_WAY * way.max(initial=0.0), _NO_LENGTH)
    still = said <= _NO_WAY * said.max(initial=0.0)
    return np.where(still_truth, 0.0, np.where(still, 90.0, angle))


def area_under_curve(errors_deg: Float[np.ndarray, " pair"], threshold_deg: int) -> float:
    """AUC@threshold of errors in degrees, in per cent; NaN without pairs."""
    if not len(errors_deg):
        return float("nan")
    # The last bin of the papers' histogram holds its upper end, the others do not.
    shares = [float((errors_deg < degrees).mean()) for degrees in range(1, threshold_deg)]
    return 100 * float(np.mean([*shares, float((errors_deg <= threshold_deg).mean())]))
