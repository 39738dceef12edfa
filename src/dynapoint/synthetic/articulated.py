"""Articulated bodies: people, animals and swinging chains made of rigid capsules."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from . import motion, shapes
from .bodies import Body

_HALF_LENGTH = 1.5  # of the capsule template, in radii


@dataclass(frozen=True, kw_only=True)
class Bone:
    """A capsule that hangs from a joint.

    `joint` is in the parent's frame (the body's root for parent -1); the bone runs from there along
    its own -z for `length`. `swing` (time,) turns it about x, `spread` about y. Bones of equal
    `dress` wear the same material.
    """

    parent: int
    joint: tuple[float, float, float]
    length: float
    radius: float
    swing: Float[np.ndarray, " time"]
    spread: float = 0.0
    dress: int = 0
    flat: float = 1.0


def posed_bodies(
    bones: list[Bone],
    *,
    root: Float[np.ndarray, "time xyz=3"],
    turn: Float[np.ndarray, "time 3 3"],
    moving: bool,
    grounded: bool = True,
) -> list[Body]:
    """One rigid body per bone for every time; `grounded` puts the lowest point on the ground."""
    turns: list[np.ndarray] = []
    joints: list[np.ndarray] = []
    bodies: list[Body] = []
    template = shapes.capsule_mesh(_HALF_LENGTH, segments=8, cap_rings=2)
    swings = _local_turns(bones)
    for bone, local in zip(bones, swings, strict=True):
        above = turn if bone.parent < 0 else turns[bone.parent]
        start = root if bone.parent < 0 else joints[bone.parent]
        turns.append(above @ local)
        joints.append(start + above @ np.array(bone.joint))
        half = 0.5 * bone.length + bone.radius
        scale = np.array([bone.radius, bone.radius * bone.flat, half / (_HALF_LENGTH + 1.0)])
        texture = template.vertices * scale
        centre = joints[-1] - 0.5 * bone.length * turns[-1][:, :, 2]
        bodies.append(
            Body(
                positions=texture @ turns[-1].transpose(0, 2, 1) + centre[:, None],
                texture=texture,
                mesh=template,
                size=3.0 * max(bone.length, bone.radius),
                moving=moving,
                centre=centre,
                radius=half,
                dress=bone.dress,
            )
        )
    lowest = np.min([body.positions[:, :, 2].min(1) for body in bodies], axis=0)
    if not grounded:
        # What swings freely is only kept out of the ground, at one height for all times.
        lowest = np.full_like(lowest, min(float(lowest.min()), 0.0))
    for body in bodies:
        body.positions[..., 2] -= lowest[:, None]
        body.centre[:, 2] -= lowest
    return bodies


def _local_turns(bones: list[Bone]) -> Float[np.ndarray, "bone time 3 3"]:
    """Each bone's turn in its parent's frame: its swing about x, then its spread about y."""
    swing = np.stack([bone.swing for bone in bones])
    spread = np.array([bone.spread for bone in bones])
    about_x = np.zeros((*swing.shape, 3, 3))
    about_x[..., 0, 0] = 1.0
    about_x[..., 1, 1] = about_x[..., 2, 2] = np.cos(swing)
    about_x[..., 2, 1] = np.sin(swing)
    about_x[..., 1, 2] = -about_x[..., 2, 1]
    about_y = np.zeros((len(bones), 1, 3, 3))
    about_y[..., 1, 1] = 1.0
    about_y[:, 0, 0, 0] = about_y[:, 0, 2, 2] = np.cos(spread)
    about_y[:, 0, 0, 2] = np.sin(spread)
    about_y[:, 0, 2, 0] = -about_y[:, 0, 0, 2]
    return about_y @ about_x


def random_person(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    height: float,
    reach: float,
) -> list[Body]:
    """A person of capsules that stands, walks or gestures; `reach` 0 keeps it still."""
    moving = reach > 0.0
    activity = 1.0 if moving else 0.0
    walking = moving and rng.random() < 0.6
    gesture = activity * rng.uniform(0.3, 1.5) * motion.smooth_wander(rng, tau, 3)
    bow = np.full(len(tau), rng.uniform(-0.1, 0.3)) + 0.3 * gesture[:, 2]
    bones = person_bones(
        rng,
        height=height,
        phase=rng.uniform(0.0, 6.3) + activity * tau * rng.uniform(2.0, 9.0),
        stride=rng.uniform(0.3, 0.7) if walking else rng.uniform(0.0, 0.12),
        gesture=gesture,
    )
    heading = rng.uniform(0.0, 2.0 * np.pi)
    facing = motion.turn_about_z(heading + np.pi / 2) @ motion.axis_angle_rotations(
        np.array([1.0, 0.0, 0.0]), -bow * (0.4 + 0.6 * (not walking))
    )
    root = np.zeros((len(tau), 3))
    root[:, :2] = place
    if walking:
        direction = np.array([np.cos(heading), np.sin(heading)])
        root[:, :2] += reach * tau[:, None] * -direction
    elif moving and rng.random() < 0.3:
        spin = rng.uniform(-1.5, 1.5) * tau
        facing = motion.axis_angle_rotations(np.array([0.0, 0.0, 1.0]), spin) @ facing
    bodies = posed_bodies(bones, root=root, turn=facing, moving=moving)
    if walking or not moving or rng.random() >= 0.3:
        return bodies
    hop = np.zeros((len(tau), 3))
    hop[:, 2] = motion.ballistic_heights(rng, tau, rng.uniform(0.05, 0.3) * height)
    return [body.shifted(hop) for body in bodies]


def person_bones(
    rng: np.random.Generator,
    *,
    height: float,
    phase: Float[np.ndarray, " time"],
    stride: float,
    gesture: Float[np.ndarray, "time 3"],
) -> list[Bone]:
    """Torso, head, legs and arms; legs and arms swing by `stride`, arms follow `gesture` too."""
    h, girth, times = height, rng.uniform(0.8, 1.3), len(phase)
    lift = rng.uniform(0.0, 2.2, 2) * (rng.random(2) < 0.35)
    bones = [
        Bone(parent=-1, joint=(0.0, 0.0, 0.31 * h), length=0.26 * h, radius=0.1 * h * girth,
             swing=np.zeros(times), flat=0.65, dress=0),
        Bone(parent=-1, joint=(0.0, 0.0, 0.46 * h), length=0.05 * h, radius=0.062 * h,
             swing=0.5 * gesture[:, 1], dress=3),
    ]  # fmt: skip
    for side, offset in ((-1.0, 0.0), (1.0, np.pi)):
        hip, knee = len(bones), len(bones) + 1
        bent = -np.maximum(0.0, 1.3 * stride * np.sin(phase + offset + 2.2))
        bones += [
            Bone(parent=-1, joint=(side * 0.055 * h, 0.0, 0.0), length=0.22 * h,
                 radius=0.05 * h * girth, swing=stride * np.sin(phase + offset), dress=1),
            Bone(parent=hip, joint=(0.0, 0.0, -0.24 * h), length=0.22 * h,
                 radius=0.038 * h * girth, swing=bent, dress=1),
            Bone(parent=knee, joint=(0.0, 0.0, -0.235 * h), length=0.07 * h, radius=0.03 * h,
                 swing=np.full(times, 1.45), dress=2),
        ]  # fmt: skip
    for side, offset, raised, wave in (
        (-1.0, np.pi, lift[0], gesture[:, 0]),
        (1.0, 0.0, lift[1], gesture[:, 1]),
    ):
        shoulder = len(bones)
        swing = 0.8 * stride * np.sin(phase + offset) + raised + wave
        bones += [
            Bone(parent=-1, joint=(side * 0.125 * h * girth**0.5, 0.0, 0.3 * h), length=0.15 * h,
                 radius=0.033 * h * girth, swing=swing, spread=-side * rng.uniform(0.05, 0.35),
                 dress=0),
            Bone(parent=shoulder, joint=(0.0, 0.0, -0.16 * h), length=0.15 * h, radius=0.026 * h,
                 swing=rng.uniform(0.1, 1.2) + 0.5 * wave, dress=3),
        ]  # fmt: skip
    return bones


def random_animal(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    size: float,
    reach: float,
) -> list[Body]:
    """A four-legged animal with head and tail, walking or still."""
    moving = reach > 0.0
    phase = rng.uniform(0.0, 6.3) + (tau * rng.uniform(3.0, 10.0) if moving else 0.0 * tau)
    stride = rng.uniform(0.3, 0.6)
    legs = rng.uniform(0.2, 0.45) * size
    half = 0.32 * size
    girth = rng.uniform(0.1, 0.2) * size
    level = np.full(len(tau), np.pi / 2)
    bones = [
        Bone(parent=-1, joint=(0.0, -half, 0.0), length=2 * half, radius=girth, swing=level),
        Bone(parent=-1, joint=(0.0, half, 0.5 * girth), length=0.22 * size, radius=0.45 * girth,
             swing=2.3 + 0.2 * np.sin(phase)),
        Bone(parent=1, joint=(0.0, 0.0, -0.25 * size), length=0.1 * size, radius=0.5 * girth,
             swing=np.full(len(tau), -0.9), dress=1),
        Bone(parent=-1, joint=(0.0, -half, 0.4 * girth), length=0.25 * size, radius=0.2 * girth,
             swing=-1.2 + 0.5 * np.sin(1.7 * phase), dress=1),
    ]  # fmt: skip
    for side in (-1.0, 1.0):
        for end in (-1.0, 1.0):
            swing = stride * np.sin(phase + (0.0 if side * end > 0 else np.pi))
            upper = Bone(parent=-1, joint=(side * 0.6 * girth, end * 0.85 * half, -0.3 * girth),
                         length=0.5 * legs, radius=0.3 * girth, swing=swing)  # fmt: skip
            bones.append(upper)
            lower = Bone(parent=len(bones) - 1, joint=(0.0, 0.0, -0.55 * legs), length=0.5 * legs,
                         radius=0.22 * girth, swing=-0.5 * np.abs(swing), dress=1)  # fmt: skip
            bones.append(lower)
    heading = rng.uniform(0.0, 2.0 * np.pi)
    root = np.zeros((len(tau), 3))
    root[:, :2] = place
    if moving:
        direction = np.array([-np.sin(heading), np.cos(heading)])
        root[:, :2] += reach * tau[:, None] * direction
    turn = np.tile(motion.turn_about_z(heading), (len(tau), 1, 1))
    return posed_bodies(bones, root=root, turn=turn, moving=moving)


def random_chain(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    size: float,
    reach: float,
) -> list[Body]:
    """A swinging chain of links: an arm that rises from the ground, or a pendulum from above."""
    moving = reach > 0.0
    links = int(rng.integers(2, 5))
    rising = rng.random() < 0.6
    length = size / links
    bones = []
    for k in range(links):
        swing = rng.uniform(0.2, 0.8) * np.sin(
            rng.uniform(0.0, 6.3) + rng.uniform(1.5, 6.0) * tau * float(moving)
        )
        if rising and k == 0:
            swing = np.pi + 0.5 * swing
        bones.append(
            Bone(parent=k - 1, joint=(0.0, 0.0, -length if k else 0.0), length=length,
                 radius=length * rng.uniform(0.15, 0.35), swing=swing, dress=k % 2)
        )  # fmt: skip
    root = np.tile([*place, 0.0], (len(tau), 1))
    if not rising:
        root[:, 2] = size * rng.uniform(1.1, 1.8)
    turn = np.tile(motion.turn_about_z(rng.uniform(0.0, 6.3)), (len(tau), 1, 1))
    return posed_bodies(bones, root=root, turn=turn, moving=moving, grounded=False)
