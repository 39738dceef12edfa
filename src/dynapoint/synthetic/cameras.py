"""Random camera paths over a ground plane (NumPy; stage axes: x right, y away, z up)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .motion import ease, smooth_wander


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """Poses of all frames in the stage and the lens they share.

    `distance` is the depth of the scene's heart before frame 0; `half_width` the tangent of
    half the horizontal field of view; `focal_per_height` the focal length over the image's height.
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


def random_camera_path(
    rng: np.random.Generator, *, frames: int, difficulty: float, aspect: float, moving: bool
) -> CameraPath:
    """A camera that looks along +y of the stage, slightly down, still or moving."""
    wide = rng.random() < 0.25 * difficulty
    fov_deg = rng.uniform(30.0, 100.0) if wide else rng.uniform(36.0, 72.0)
    longer_per_height = max(aspect, 1.0)
    focal_per_height = 0.5 * longer_per_height / np.tan(np.radians(fov_deg) / 2.0)
    distance = float(np.exp(rng.uniform(np.log(2.2), np.log(5.0))))
    height = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
    if rng.random() < 0.12 * difficulty:
        height *= rng.uniform(1.5, 3.0)
    aim = rng.uniform(0.1, 0.8) if height < 1.2 else rng.uniform(0.0, 0.6)
    aim *= min(1.0, distance / 3.0)
    start = np.array([0.0, 0.0, height])
    target = np.array([0.0, distance, aim])
    tau = np.linspace(0.0, 1.0, frames)
    position, target = np.tile(start, (frames, 1)), np.tile(target, (frames, 1))
    roll = np.full(frames, np.radians(rng.normal() * (1.0 + 3.0 * difficulty)))
    if moving:
        _move(
            rng, position, target, roll, tau=tau, distance=distance, difficulty=difficulty,
            widest_turn_rad=2.0 * float(np.arctan(0.5 * aspect / focal_per_height)),
        )  # fmt: skip
    position[:, 2] = np.maximum(position[:, 2], 0.2 * height)
    return CameraPath(
        stage_from_camera=look_at(position, target, roll),
        focal_per_height=float(focal_per_height),
        half_width=float(0.5 * aspect / focal_per_height),
        distance=distance,
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
    widest_turn_rad: float,
) -> None:
    """Move positions and targets in place: an even move, a turn, a hand that sways and shakes."""
    strength = 0.25 + 0.75 * difficulty
    kind = rng.integers(6)
    progress = ease(rng, tau) if rng.random() < 0.4 else tau
    travel = distance * rng.uniform(0.08, 0.5) * strength
    # A turn beyond the field of view would leave nothing in common between the frames.
    turn = min(np.radians(rng.uniform(4.0, 27.0)) * strength, 0.75 * widest_turn_rad)
    turn *= rng.choice([-1.0, 1.0])
    side = rng.choice([-1.0, 1.0])
    if kind == 0:  # orbit about the heart of the scene
        angle = side * progress * travel / distance
        radius = distance * (1.0 + rng.uniform(-0.15, 0.15) * progress)
        position[:, 0] = radius * np.sin(angle)
        position[:, 1] = distance - radius * np.cos(angle)
        position[:, 2] *= 1.0 + rng.uniform(-0.2, 0.4) * strength * progress
        turn *= 0.3
    elif kind == 1:  # forward or backward
        position[:, 1] += travel * progress * (1.0 if rng.random() < 0.6 else -1.0)
        position[:, 0] += 0.3 * side * travel * progress
        turn *= 0.5
    elif kind == 2:  # sideways
        position[:, 0] += side * travel * progress
        target[:, 0] += side * travel * progress * rng.uniform(-0.2, 1.0)
    elif kind == 3:  # up or down
        position[:, 2] += travel * progress * (1.0 if rng.random() < 0.6 else -0.3)
        position[:, 0] += 0.5 * side * travel * progress
    else:  # mostly a turn, or a hand that means to hold still
        position += smooth_wander(rng, tau) * 0.15 * travel
        turn *= 1.0 if kind == 4 else 0.1
    if kind != 0 or rng.random() < 0.5:
        c, s = np.cos(turn * progress), np.sin(turn * progress)
        ray = target - position
        target[:, 0] = position[:, 0] + c * ray[:, 0] - s * ray[:, 1]
        target[:, 1] = position[:, 1] + s * ray[:, 0] + c * ray[:, 1]
        target[:, 2] += distance * np.tan(0.25 * turn * rng.uniform(-1.0, 1.0)) * progress
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
