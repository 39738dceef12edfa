"""Arms with hands that work over a table or reach into a shelf."""

import numpy as np
from jaxtyping import Float

from . import motion
from .articulated import Bone, posed_bodies
from .bodies import Body


def random_arm(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    palm: Float[np.ndarray, " xyz=3"],
    yaw_rad: float,
    length: float,
    moving: bool,
) -> list[Body]:
    """A forearm in a sleeve and a hand of five fingers whose palm is at `palm` in frame 0.

    The arm points along +y of the stage turned by `yaw_rad` about z, a little downwards; `length`
    is that of forearm and hand.
    """
    times, activity = len(tau), 1.0 if moving else 0.0
    wander = activity * motion.smooth_wander(rng, tau, 3)
    slope = rng.uniform(0.05, 0.6)
    forearm, wide = 0.68 * length, 0.075 * length * rng.uniform(0.8, 1.3)
    raised = np.pi / 2 - slope + 0.35 * wander[:, 0]
    bones = [
        Bone(parent=-1, joint=(0.0, 0.0, 0.0), length=forearm, radius=wide, swing=raised),
        Bone(parent=0, joint=(0.0, 0.0, -forearm), length=0.13 * length, radius=0.75 * wide,
             swing=0.6 * slope + 0.5 * wander[:, 1], flat=0.5, dress=1),
    ]  # fmt: skip
    curl = rng.uniform(-0.9, 0.1) + 0.8 * activity * motion.smooth_wander(rng, tau, 3)
    for finger, spread in enumerate((-0.3, -0.1, 0.1, 0.3)):
        bones.append(
            Bone(parent=1, joint=(1.6 * spread * wide, 0.0, -0.15 * length), length=0.13 * length,
                 radius=0.17 * wide, swing=curl[:, finger % 3] - 0.1 * finger,
                 spread=-0.5 * spread, dress=1)
        )  # fmt: skip
    thumb = rng.choice([-1.0, 1.0])
    bones.append(
        Bone(parent=1, joint=(0.6 * thumb * wide, 0.0, -0.03 * length), length=0.1 * length,
             radius=0.2 * wide, swing=0.5 * curl[:, 1], spread=-0.8 * thumb, dress=1)
    )  # fmt: skip
    # The elbow lies where the palm comes to its place in frame 0.
    turn = motion.turn_about_z(yaw_rad)
    ahead = np.array([0.0, np.sin(raised[0]), -np.cos(raised[0])])
    root = np.asarray(palm) - turn @ (forearm * ahead)
    roots = root + 0.25 * length * activity * motion.smooth_wander(rng, tau, 3)
    turns = np.tile(turn, (times, 1, 1))
    if moving:
        sway = rng.uniform(-0.5, 0.5) * motion.ease(rng, tau)
        turns = motion.axis_angle_rotations(np.array([0.0, 0.0, 1.0]), sway) @ turn
    return posed_bodies(bones, root=roots, turn=turns, moving=moving, grounded=False)
