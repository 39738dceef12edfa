"""Where the camera goes in a long clip: closed ways with stops, held in a hand (stage axes, z up).

Times are in frames at thirty to a second, lengths in metres.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .cameras import look_at
from .motion import turn_about_z

RATE = 30
_FEWEST_FRAMES_OF_LAPS = 900
_FRAMES_OF_A_LAP = 650
_FRAMES_BETWEEN_STOPS = 260
_STOP_FRAMES = 54
_RAMP_FRAMES = 14
_EYE_HEIGHT = 1.45


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Poses of all frames and the stretches [start, stop) in which the walker stands.

    The camera of frame 0 stands over the origin and looks along +y, apart from what the hand does.
    """

    stage_from_camera: Float[np.ndarray, "time 4 4"]
    stops: list[tuple[int, int]]

    @property
    def feet(self) -> Float[np.ndarray, "time xy=2"]:
        """Where the camera is over the ground."""
        return self.stage_from_camera[:, :2, 3]

    def ahead(self, frame: int) -> Float[np.ndarray, " xy=2"]:
        """The unit direction along the ground in which it looks."""
        ahead = self.stage_from_camera[frame, :2, 2]
        return ahead / np.linalg.norm(ahead)


def random_walk(rng: np.random.Generator, *, frames: int) -> Walk:
    """A way that comes back to its start: laps through a hall, or one ring for a short clip.

    A lap takes about 650 frames, with the gaze ahead and to the sides, otherwise in every lap. On
    the ring the gaze goes away from its first view and comes back. Every 260 frames or so the
    walker stands for 54.
    """
    stops = _stops(rng, frames)
    pace = _pace(frames, stops)
    progress = np.concatenate([[0.0], pace[1:].cumsum()])
    progress /= max(progress[-1], 1.0)
    side = float(rng.choice([-1.0, 1.0]))
    if frames >= _FEWEST_FRAMES_OF_LAPS:
        feet, yaw = _laps(rng, progress, side=side, laps=max(round(frames / _FRAMES_OF_A_LAP), 2))
    else:
        feet, yaw = _ring(rng, progress, side=side, radius=0.7 * np.clip(frames / 400, 0.3, 2.0))
    back = turn_about_z(-float(yaw[0]))[:2, :2]
    feet, yaw = (feet - feet[0]) @ back.T, yaw - yaw[0]
    seconds = np.arange(frames) / RATE
    calm = 0.3 + 0.7 * pace
    hand = _sway(rng, seconds) * 0.012 * calm[:, None]
    hand[:, 2] += 0.012 * pace * np.sin(2.0 * np.pi * 1.8 * seconds)
    turns = _sway(rng, seconds) * np.radians([0.8, 0.5, 0.6]) * calm[:, None]
    position = np.concatenate([feet, np.full((frames, 1), _EYE_HEIGHT)], 1) + hand
    yaw = yaw + turns[:, 0]
    pitch = np.radians(rng.uniform(-9.0, -4.0)) + turns[:, 1]
    gaze = [-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)]
    return Walk(
        stage_from_camera=look_at(position, position + np.stack(gaze, 1), turns[:, 2]), stops=stops
    )


def _stops(rng: np.random.Generator, frames: int) -> list[tuple[int, int]]:
    """About one stop for every 260 frames, and one at least if there is time for it."""
    if frames < 3 * _STOP_FRAMES:
        return []
    count = max(round(frames / _FRAMES_BETWEEN_STOPS), 1)
    middles = (np.arange(count) + 0.5 + rng.uniform(-0.12, 0.12, count)) * frames / count
    half = _STOP_FRAMES // 2
    return [(int(middle) - half, int(middle) + half) for middle in middles]


def _pace(frames: int, stops: list[tuple[int, int]]) -> Float[np.ndarray, " time"]:
    """The walker's speed as a share of the full one; it slows down before a stop."""
    time = np.arange(frames)
    pace = np.ones(frames)
    for start, stop in stops:
        away = np.maximum(np.maximum(start - time, time - stop + 1), 0)
        part = np.clip(away / _RAMP_FRAMES, 0.0, 1.0)
        pace *= part * part * (3.0 - 2.0 * part)
    return pace


def _laps(
    rng: np.random.Generator, progress: Float[np.ndarray, " time"], *, side: float, laps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Feet and yaw on laps around an oval, a little further than to the start."""
    angle = side * 2.0 * np.pi * (laps + 0.06) * progress
    wave = rng.uniform(0.0, 2.0 * np.pi, 3)
    # Slower than the laps, so that no lap follows the one before exactly.
    radius = 1.0 + 0.07 * np.sin(angle * (laps - 0.5) / laps + wave[0])
    half = np.array([rng.uniform(2.7, 3.2), rng.uniform(2.1, 2.5)])
    feet = half * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    along = np.stack([-half[0] * np.sin(angle), half[1] * np.cos(angle)], 1) * side
    yaw = np.unwrap(np.arctan2(-along[:, 0], along[:, 1]))
    look = 0.4 * np.sin(0.77 * angle + wave[1]) + 0.2 * np.sin(2.3 * angle + wave[2])
    return feet, yaw - side * 0.25 + look


def _ring(
    rng: np.random.Generator, progress: Float[np.ndarray, " time"], *, side: float, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Feet and yaw on one round of a ring; the gaze goes half a turn away and comes back."""
    angle = 2.0 * np.pi * progress
    feet = radius * np.stack([1.3 * np.cos(angle), np.sin(angle)], 1)
    away = np.radians(rng.uniform(48.0, 58.0)) * (1.0 - np.cos(angle))
    return feet, side * away


def _sway(
    rng: np.random.Generator, seconds: Float[np.ndarray, " time"]
) -> Float[np.ndarray, "time 3"]:
    """What a hand does that holds a camera: slow waves and a small fast tremor, of size one."""
    rates = np.array([0.23, 0.41, 0.9, 1.7])[:, None] * rng.uniform(0.8, 1.25, (4, 3))
    sizes = np.array([0.7, 0.6, 0.3, 0.12])[:, None]
    phase = rng.uniform(0.0, 2.0 * np.pi, (4, 3))
    return np.asarray((sizes * np.sin(2.0 * np.pi * rates * seconds[:, None, None] + phase)).sum(1))
