"""Random camera paths over a ground plane (NumPy; stage axes: x right, y away, z up)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .motion import ease, smooth_wander

_STEEPEST_RAD = np.radians(80.0)
_FARTHEST = 0.6
"""Of the way to what a camera looks at, the most that it goes."""

LONG_LENSES = 0.28
MOST_LONG_LENSES = 0.83
"""Shares of lenses that see 38 to 60° across: what scenes have, and the most they may have."""


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """Poses of all frames in the stage and the lens they share.

    `distance` is how far along the ground the scene's heart lies before frame 0; `half_width` half
    of what is seen across there, over that distance; `focal_per_height` the focal length over the
    image's height.
    """

    stage_from_camera: Float[np.ndarray, "time 4 4"]
    focal_per_height: float
    half_width: float
    distance: float


def look_at(
    position: Float[np.ndarray, "time xyz=3"],
    target: Float[np.ndarray, "time xyz=3"],
    roll_rad: Float[np.ndarray, " time"],
) -> Float[np.ndarray, "time 4 4"]:
    """Camera-to-stage poses (OpenCV axes) that look from `position` to `target`."""
    forward = target - position
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, np.array([0.0, 0.0, 1.0]))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad)[:, None], np.sin(roll_rad)[:, None]
    pose = np.tile(np.eye(4), (len(position), 1, 1))
    pose[:, :3, 0] = c * right + s * down
    pose[:, :3, 1] = c * down - s * right
    pose[:, :3, 2] = forward
    pose[:, :3, 3] = position
    return pose


def random_focal(
    rng: np.random.Generator, *, difficulty: float, aspect: float, long_lens: float = LONG_LENSES
) -> float:
    """A focal length over the image's height, as the cameras have that people film with.

    The field of view of the longer side is that of phones, webcams and depth cameras, that of
    longer lenses (a share of `long_lens`), or seldom wide or extreme.
    """
    chance = rng.random()
    if chance < MOST_LONG_LENSES - long_lens:
        fov_deg = float(np.clip(rng.normal(64.5, 4.0), 54.0, 76.0))
    elif chance < MOST_LONG_LENSES:
        fov_deg = rng.uniform(38.0, 60.0)
    elif chance < 0.95 or difficulty == 0.0:
        fov_deg = rng.uniform(58.0, 84.0)
    else:
        fov_deg = rng.uniform(27.0, 38.0) if rng.random() < 0.4 else rng.uniform(84.0, 105.0)
    return focal_of_view(fov_deg, aspect)


def focal_of_view(fov_deg: float, aspect: float) -> float:
    """The focal length over the image's height of a lens that sees `fov_deg` of its longer side."""
    return float(0.5 * max(aspect, 1.0) / np.tan(np.radians(fov_deg) / 2.0))


def random_camera_path(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    difficulty: float,
    aspect: float,
    moving: bool,
    long_lens: float = LONG_LENSES,
    briskness: float = 1.0,
) -> CameraPath:
    """A camera that looks along +y of the stage, level or down at the ground, still or moving."""
    focal_per_height = random_focal(rng, difficulty=difficulty, aspect=aspect, long_lens=long_lens)
    distance = float(np.exp(rng.uniform(np.log(2.2), np.log(5.0))))
    height = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
    if rng.random() < 0.12 * difficulty:
        height *= rng.uniform(1.5, 3.0)
    aim = rng.uniform(0.1, 0.8) if height < 1.2 else rng.uniform(0.0, 0.6)
    aim *= min(1.0, distance / 3.0)
    if rng.random() < 0.2 * difficulty:
        pitch = np.radians(rng.uniform(20.0, 60.0))
        height = aim + distance * float(np.sin(pitch))
        distance *= float(np.cos(pitch))
    return aimed_path(
        rng,
        start=np.array([0.0, 0.0, height]),
        target=np.array([0.0, distance, aim]),
        focal_per_height=focal_per_height,
        tau=tau,
        difficulty=difficulty,
        aspect=aspect,
        moving=moving,
        briskness=briskness,
    )


def aimed_path(
    rng: np.random.Generator,
    *,
    start: Float[np.ndarray, " xyz=3"],
    target: Float[np.ndarray, " xyz=3"],
    focal_per_height: float,
    tau: np.ndarray,
    difficulty: float,
    aspect: float,
    moving: bool,
    travel: float = 1.0,
    briskness: float = 1.0,
) -> CameraPath:
    """A camera that begins at `start` and looks at `target`, which lies along +y, still or moving.

    `travel` is a factor on how far it goes, for scenes that begin right before it; `briskness` one
    on how far it goes and turns.
    """
    half_width = 0.5 * aspect / focal_per_height
    roll_deg = rng.normal() * (1.0 + 3.0 * difficulty)
    if rng.random() < 0.25 * difficulty:
        roll_deg = rng.uniform(-15.0, 15.0)
    if rng.random() < 0.03 * difficulty:
        # A phone turned by a quarter while it films.
        roll_deg += rng.choice([-90.0, 90.0])
        half_width = 0.5 / focal_per_height
    reach = float(target[1] - start[1])
    slant = float(np.linalg.norm(target - start))
    position, aims = np.tile(start, (len(tau), 1)), np.tile(target, (len(tau), 1))
    roll = np.full(len(tau), np.radians(roll_deg))
    if moving:
        _move(
            rng, position, aims, roll, tau=tau, distance=slant, difficulty=difficulty,
            travel=travel, briskness=briskness,
            widest_turn_rad=2.0 * float(np.arctan(half_width)),
        )  # fmt: skip
    position[:, 2] = np.maximum(position[:, 2], 0.2 * start[2])
    return CameraPath(
        stage_from_camera=look_at(position, aims, roll),
        focal_per_height=focal_per_height,
        half_width=float(half_width * slant / reach),
        distance=reach,
    )


def _move(
    rng: np.random.Generator,
    position: np.ndarray,
    target: np.ndarray,
    roll: np.ndarray,
    *,
    tau: np.ndarray,
    distance: float,
    difficulty: float,
    travel: float,
    briskness: float,
    widest_turn_rad: float,
) -> None:
    """Move positions and targets in place: an even move, a turn, a hand that sways and shakes."""
    strength = 0.25 + 0.75 * difficulty
    kind = rng.integers(6) if rng.random() > 0.2 * difficulty else 6
    progress = ease(rng, tau) if rng.random() < 0.4 else tau
    strength *= briskness
    travel *= distance * min(rng.uniform(0.08, 0.5) * strength, _FARTHEST)
    # A turn beyond the field of view would leave nothing in common between the frames.
    turn = min(np.radians(rng.uniform(4.0, 38.0)) * strength, 0.75 * widest_turn_rad)
    turn *= rng.choice([-1.0, 1.0])
    side = rng.choice([-1.0, 1.0])
    ahead = (target - position)[0]
    if kind == 0:  # orbit about the heart of the scene
        angle = side * progress * travel / distance
        radius = ahead[1] * (1.0 + rng.uniform(-0.15, 0.15) * progress)
        position[:, 0] = radius * np.sin(angle)
        position[:, 1] = ahead[1] - radius * np.cos(angle)
        position[:, 2] *= 1.0 + rng.uniform(-0.2, 0.4) * strength * progress
        turn *= 0.3
    elif kind == 1:  # forward or backward
        step = travel * progress * (1.0 if rng.random() < 0.6 else -1.0)
        position += step[:, None] * ahead / distance
        position[:, 0] += 0.3 * side * travel * progress
        turn *= 0.5
    elif kind == 2:  # sideways
        position[:, 0] += side * travel * progress
        target[:, 0] += side * travel * progress * rng.uniform(-0.2, 1.0)
    elif kind == 3:  # up or down
        position[:, 2] += travel * progress * (1.0 if rng.random() < 0.6 else -0.3)
        position[:, 0] += 0.5 * side * travel * progress
    else:  # mostly a turn, a hand that means to hold still, or one that turns about all axes
        position += smooth_wander(rng, tau) * (0.15 if kind < 6 else 0.05) * travel
        turn *= 1.0 if kind == 4 else 0.1
    if kind == 6:
        _turn_in_hand(rng, position, target, roll, tau=tau, widest_turn_rad=widest_turn_rad)
    elif kind != 0 or rng.random() < 0.5:
        c, s = np.cos(turn * progress), np.sin(turn * progress)
        ray = target - position
        target[:, 0] = position[:, 0] + c * ray[:, 0] - s * ray[:, 1]
        target[:, 1] = position[:, 1] + s * ray[:, 0] + c * ray[:, 1]
        target[:, 2] += distance * np.tan(0.25 * turn * rng.uniform(-1.0, 1.0)) * progress
    _shake(rng, position, target, roll, tau=tau, distance=distance, difficulty=difficulty)


def _shake(
    rng: np.random.Generator,
    position: np.ndarray,
    target: np.ndarray,
    roll: np.ndarray,
    *,
    tau: np.ndarray,
    distance: float,
    difficulty: float,
) -> None:
    """Sway as a hand does that holds a camera, and tremble."""
    strength = 0.25 + 0.75 * difficulty
    if rng.random() < 0.5:
        shake = rng.uniform(0.01, 0.05) * strength * distance
        position += smooth_wander(rng, tau, 3) * shake
        target += smooth_wander(rng, tau, 3) * shake
        roll += smooth_wander(rng, tau, 3)[:, 0] * 0.05 * strength
    if rng.random() < 0.4 * difficulty:
        # Tremor is new in every frame, unlike the sway above.
        tremor = np.radians(rng.uniform(0.1, 1.2))
        position += rng.normal(size=position.shape) * 0.2 * tremor * distance
        target += rng.normal(size=target.shape) * tremor * distance
        roll += rng.normal(size=roll.shape) * 0.5 * tremor


def _turn_in_hand(
    rng: np.random.Generator,
    position: np.ndarray,
    target: np.ndarray,
    roll: np.ndarray,
    *,
    tau: np.ndarray,
    widest_turn_rad: float,
) -> None:
    """Turn about all three axes as a hand does that looks around without going anywhere."""
    turn = min(np.radians(rng.uniform(6.0, 40.0)), 0.6 * widest_turn_rad)
    angles = np.tanh(smooth_wander(rng, tau, 3)) * turn
    ray = target - position
    across = np.hypot(ray[:, 0], ray[:, 1])
    azimuth = np.arctan2(ray[:, 0], ray[:, 1]) + angles[:, 0]
    elevation = np.arctan2(ray[:, 2], across) + 0.7 * angles[:, 1]
    elevation = np.clip(elevation, -_STEEPEST_RAD, 0.5 * _STEEPEST_RAD)
    level, length = np.cos(elevation), np.linalg.norm(ray, axis=1, keepdims=True)
    looks = [level * np.sin(azimuth), level * np.cos(azimuth), np.sin(elevation)]
    target[:] = position + length * np.stack(looks, 1)
    roll += angles[:, 2] * rng.uniform(0.2, 1.2)
