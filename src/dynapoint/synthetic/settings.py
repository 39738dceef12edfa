"""What the makers of whole settings share: what they draw with, aimed cameras, walls, a cast."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .actors import Actor, Company
from .bodies import Body
from .cameras import LONG_LENSES, CameraPath, aimed_path, random_focal
from .lettering import lettered_sheet
from .stage import Stage, slab

ENDLESS = 1e9
FACING_CAMERA = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Axes of a sheet that hangs upright and faces -y."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What a scene is drawn with: its randomness, times, difficulty, and whether things move."""

    rng: np.random.Generator
    tau: Float[np.ndarray, " time"]
    difficulty: float
    aspect: float
    camera_moves: bool
    movers: bool
    long_lens: float = LONG_LENSES
    # Shares of roads and of furnished rooms among deep scenes.
    driving: float = 0.0
    rooms: float = 0.0
    # A factor on how far the camera goes and turns.
    briskness: float = 1.0

    def focal(self) -> float:
        """A focal length over the image's height."""
        return random_focal(
            self.rng, difficulty=self.difficulty, aspect=self.aspect, long_lens=self.long_lens
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A camera's path, still surroundings, and who and what is in them."""

    camera: CameraPath
    stage: Stage
    actors: list[Actor]


class Cast:
    """Actors that keep clear of each other, the camera and whatever `fits` forbids."""

    def __init__(self, camera: CameraPath, fits: Callable[[Actor], bool]) -> None:
        self.actors: list[Actor] = []
        self._fits = fits
        self._company = Company(camera)

    def offer(self, make: Callable[[float], Actor], *, attempts: int = 5) -> bool:
        """Try an actor, each time smaller by the factor that `make` is given."""
        for attempt in range(attempts):
            actor = make(0.85**attempt)
            if self._fits(actor) and self._company.admits(actor):
                self._company.add(actor)
                self.actors.append(actor)
                return True
        return False

    def admit(self, actor: Actor) -> None:
        """Take an actor that may touch the others, if it leaves the camera alone."""
        if self._fits(actor) and self._company.clear_of_camera(actor):
            self.actors.append(actor)


def aimed(
    draw: Draw,
    *,
    focal: float,
    height: float,
    aim: float,
    distance: float,
    travel: float = 1.0,
) -> CameraPath:
    """A camera at `height` that looks at the height `aim`, `distance` further along the ground."""
    return aimed_path(
        draw.rng,
        start=np.array([0.0, 0.0, height]),
        target=np.array([0.0, distance, aim]),
        focal_per_height=focal,
        tau=draw.tau,
        difficulty=draw.difficulty,
        aspect=draw.aspect,
        moving=draw.camera_moves,
        travel=travel,
        briskness=draw.briskness,
    )


def lamp_lit_stage(bodies: list[Body], *, back: float) -> Stage:
    """Surroundings whose light passes the walls, as if lamps hung there."""
    high = np.array([ENDLESS, back, ENDLESS])
    return Stage(bodies=bodies, walls={}, ceiling=None, low=np.full(3, -ENDLESS), high=high)


def wall_across(draw: Draw, *, y: float, wide: float, low: float, high: float) -> list[Body]:
    """A wall across the view at `y`, sometimes with pictures or writing on it."""
    rng, times = draw.rng, len(draw.tau)
    bodies = [slab((-wide, y, low), (wide, y + 0.1, high), times=times, size=1.5)]
    for k in range(int(rng.integers(0, 4)) if rng.random() < 0.8 * draw.difficulty else 0):
        half = 0.12 * y * np.exp(rng.normal(size=2) * 0.4)
        x = rng.uniform(-0.7, 0.7) * y
        z = rng.uniform(0.15, 1.1) * y + low * (low > 0)
        if rng.random() < 0.5:
            bodies += lettered_sheet(
                rng, times=times, centre=(x, y, z), axes=FACING_CAMERA, half=(half[0], half[1]),
                dress=2 * k,
            )  # fmt: skip
        else:
            thick = float(rng.choice([0.01, 0.02, 0.06])) * (1.0 + 0.1 * k)
            box = ((x - half[0], y - thick, z - half[1]), (x + half[0], y, z + half[1]))
            bodies.append(slab(*box, times=times, size=float(half.max())))
    return bodies


def stays_before(actor: Actor, back: float) -> bool:
    """Whether all bodies stay before a wall at `back`."""
    return all(float((b.centre[:, 1] + 0.75 * b.radius).max()) < back for b in actor)
