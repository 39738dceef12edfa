"""How a scene looks beyond geometry and materials: light, air, sky and the camera's electronics."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from .materials import random_colour
from .motion import smooth_wander


@dataclass(frozen=True, kw_only=True)
class Look:
    """Light, sky, fog and image faults of a clip; directions are in the world, colours linear RGB.

    `sun` and `fill` point towards the light. `ground` holds its plane as (normal up, offset):
    height = normal · x + offset. `shadow_softness` ≥ 1 widens shadow edges. `exposure` is a factor
    per frame and channel. The shutter is open for a share `shutter` of the time between two frames,
    about each frame's own time. `vignette` is the share of light that the corners lose. `contrast`
    and `saturation` scale display values about middle grey and about their own grey. `noise` and
    `blur` are in display values and pixels, `sharpening` is the weight taken from each neighbour;
    `compression` is the coarseness of 8 × 8 blocks.
    """

    sun: Float32[np.ndarray, " xyz=3"]
    sun_colour: Float32[np.ndarray, " rgb=3"]
    fill: Float32[np.ndarray, " xyz=3"]
    fill_colour: Float32[np.ndarray, " rgb=3"]
    sky_colour: Float32[np.ndarray, " rgb=3"]
    bounce_colour: Float32[np.ndarray, " rgb=3"]
    ground: Float32[np.ndarray, " plane=4"]
    horizon_colour: Float32[np.ndarray, " rgb=3"]
    zenith_colour: Float32[np.ndarray, " rgb=3"]
    cloud_amount: Float32[np.ndarray, ""]
    shadow_softness: Float32[np.ndarray, ""]
    fog_density: Float32[np.ndarray, ""]
    exposure: Float32[np.ndarray, "time rgb=3"]
    shutter: Float32[np.ndarray, ""]
    vignette: Float32[np.ndarray, ""]
    contrast: Float32[np.ndarray, ""]
    saturation: Float32[np.ndarray, ""]
    noise: Float32[np.ndarray, ""]
    blur: Float32[np.ndarray, ""]
    sharpening: Float32[np.ndarray, ""]
    compression: Float32[np.ndarray, ""]


def _direction(azimuth_rad: float, elevation_rad: float) -> np.ndarray:
    c = np.cos(elevation_rad)
    return np.array([c * np.cos(azimuth_rad), c * np.sin(azimuth_rad), np.sin(elevation_rad)])


def random_look(
    rng: np.random.Generator,
    *,
    world_from_stage: Float64[np.ndarray, "4 4"],
    ground_colour: Float32[np.ndarray, " rgb=3"],
    frames: int,
    difficulty: float,
) -> Look:
    """Draw light and camera; `world_from_stage` turns z-up into the world.

    What the ground throws back has the ground's colour (linear RGB), lit by sun and sky.
    """
    turn = world_from_stage[:3, :3]
    up = turn @ np.array([0.0, 0.0, 1.0])
    sun = turn @ _direction(rng.uniform(0.0, 6.3), np.radians(rng.uniform(25.0, 80.0)))
    fill = turn @ _direction(rng.uniform(0.0, 6.3), np.radians(rng.uniform(5.0, 60.0)))
    warmth = rng.uniform(-0.12, 0.2) * np.array([1.0, 0.1, -1.0]) * (0.5 + 0.5 * difficulty)
    balance = rng.uniform(0.35, 0.75)
    sun_colour = (1.0 + warmth) * balance * 1.3
    sky_colour = (1.0 - 0.6 * warmth + rng.normal(size=3) * 0.04) * (1.0 - balance) * 1.1
    thrown_back = ground_colour * (sun_colour * (up @ sun) + sky_colour)
    horizon = random_colour(rng, vivid=0.1)
    zenith = horizon if rng.random() < 0.5 else random_colour(rng, vivid=0.2)
    values = {
        "sun": sun,
        "sun_colour": sun_colour,
        "fill": fill,
        "fill_colour": np.full(3, rng.uniform(0.0, 0.25)),
        "sky_colour": sky_colour,
        "bounce_colour": rng.uniform(0.3, 0.9) * thrown_back + 0.1 * sky_colour,
        "ground": np.append(up, -up @ world_from_stage[:3, 3]),
        "horizon_colour": horizon,
        "zenith_colour": zenith,
        "cloud_amount": rng.uniform(0.1, 0.9) * (rng.random() < 0.3),
        "shadow_softness": rng.uniform(1.0, 1.7),
        "fog_density": rng.uniform(0.01, 0.08) * (rng.random() < 0.12 * difficulty),
        **_random_camera_faults(rng, frames=frames, difficulty=difficulty),
    }
    return Look(**{name: np.asarray(value, np.float32) for name, value in values.items()})


def _random_camera_faults(
    rng: np.random.Generator, *, frames: int, difficulty: float
) -> dict[str, np.ndarray | float]:
    """What lies between light and file: exposure, white balance, picture style, faults."""
    tau = np.linspace(0.0, 1.0, frames)
    drift = smooth_wander(rng, tau) * np.array([0.25, 0.08, 0.08]) * difficulty
    drift *= rng.random() < 0.35
    gain = rng.uniform(-0.45, 0.4) * (0.6 + 0.4 * difficulty)
    tint = rng.normal(size=3) * 0.05 * difficulty
    stops = drift[:, :1] + np.array([1.0, 0.0, -1.0]) * drift[:, 1:2] + gain + tint
    # Some clips keep the plain style of a renderer; real pictures have more contrast (a standard
    # deviation of brightness of .24 beside .12) and paler colours than our materials.
    styled = rng.random() < 0.8 * difficulty
    blurred = rng.random() < 0.25 * difficulty
    return {
        "exposure": np.exp(stops),
        "shutter": rng.uniform(0.05, 0.5) * (rng.random() < 0.3 * difficulty),
        "vignette": rng.uniform(0.1, 0.5) * (rng.random() < 0.3 * difficulty),
        "contrast": np.exp(rng.uniform(-0.1, 0.75)) if styled else 1.0,
        "saturation": rng.uniform(0.1, 1.2) if styled else 1.0,
        "noise": 0.003 * 8.0 ** rng.random() * (rng.random() < 0.15 + 0.4 * difficulty),
        "blur": rng.uniform(0.25, 0.7) * blurred,
        "sharpening": rng.uniform(0.03, 0.15) * (not blurred and rng.random() < 0.4 * difficulty),
        "compression": rng.uniform(0.2, 1.0) * (rng.random() < 0.3 * difficulty),
    }
