"""What moves in a long clip: people who walk and stop, and a wardrobe that is pushed past.

A mover is a function of the frame: its bodies are made anew for each, the same every time.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from . import motion, shapes
from .articulated import person_bones, posed_bodies
from .bodies import Body, bounded_body

_STRIDE = 0.55  # metres in which a walker's phase goes on by half a turn


@dataclass(frozen=True, kw_only=True)
class Route:
    """A way over the ground: place, heading (0 looks along +y, counter-clockwise) and way gone."""

    place: Float[np.ndarray, "time xy=2"]
    heading_rad: Float[np.ndarray, " time"]
    gone: Float[np.ndarray, " time"]

    @property
    def moves(self) -> bool:
        """Whether it leads anywhere."""
        return bool(self.gone[-1] > 0)


def passing_route(
    *,
    frames: int,
    middle: Float[np.ndarray, " xy=2"],
    along: Float[np.ndarray, " xy=2"],
    reach: float,
    stop: tuple[int, int],
    walk_frames: int,
) -> Route:
    """From `reach` before `middle` to as far behind it, with a rest at `middle` during `stop`.

    `along` is the unit direction of the way. Before and after it stands still.
    """
    time = np.arange(frames)
    way = reach * (
        _smooth((time - stop[0] + walk_frames) / walk_frames)
        + _smooth((time - stop[1]) / walk_frames)
    )
    heading = float(np.arctan2(-along[0], along[1]))
    return Route(
        place=middle + (way - reach)[:, None] * along,
        heading_rad=np.full(frames, heading),
        gone=way,
    )


def pacing_route(
    rng: np.random.Generator,
    *,
    frames: int,
    ends: Float[np.ndarray, "end=2 xy=2"],
    speed: float,
) -> Route:
    """There and back between two places, with pauses and turns at both; `speed` per frame."""
    length = float(np.linalg.norm(ends[1] - ends[0]))
    legs = max(int(length / speed), 20)
    time, way, turned = int(rng.integers(0, 60)), np.zeros(frames), np.zeros(frames)
    clock = np.arange(frames)
    while time < frames:
        way += _smooth((clock - time) / legs)
        time += legs + int(rng.integers(15, 80))
        turned += _smooth((clock - time + 25) / 24)
        time += 4
    # `way` counts legs; the place runs to and fro as it grows.
    place = np.abs((way + 1.0) % 2.0 - 1.0)
    along = (ends[1] - ends[0]) / length
    heading = float(np.arctan2(-along[0], along[1]))
    return Route(
        place=ends[0] + place[:, None] * (ends[1] - ends[0]),
        heading_rad=heading + np.pi * turned,
        gone=way * length,
    )


def _smooth(part: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """0 before 0, 1 behind 1, and between them without a jerk."""
    part = np.clip(part, 0.0, 1.0)
    return np.asarray(part * part * (3.0 - 2.0 * part))


@dataclass(frozen=True, kw_only=True)
class Walker:
    """A person of capsules who walks where the route does and stands where it rests."""

    route: Route
    seed: int
    height: float
    radius: float = 0.45

    def bodies(self, frame: int) -> list[Body]:
        """The person at the time of a frame."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        route = self.route
        before, after = max(frame - 1, 0), min(frame + 1, len(route.gone) - 1)
        pace = (route.gone[after] - route.gone[before]) / max(after - before, 1)
        stride = 0.55 * float(np.clip(pace / 0.02, 0.0, 1.0))
        gesture = motion.smooth_wander(rng, np.array([0.0, frame / 90.0]), 3)[1:]
        bones = person_bones(
            rng,
            height=self.height,
            phase=np.array([np.pi * route.gone[frame] / _STRIDE]),
            stride=stride,
            gesture=0.6 * gesture,
        )
        root = np.array([[*route.place[frame], 0.0]])
        turn = motion.turn_about_z(float(route.heading_rad[frame]))[None]
        return posed_bodies(bones, root=root, turn=turn, moving=True)


@dataclass(frozen=True, kw_only=True)
class Wardrobe:
    """A large box with doors and drawers that slides sideways, pushed by somebody.

    It stands across its way: `half` holds half its extents along the way, across and upwards.
    """

    route: Route
    seed: int
    half: Float[np.ndarray, " xyz=3"]

    @property
    def radius(self) -> float:
        """Of the circle about the place of the route that holds it."""
        return float(np.hypot(self.half[0], self.half[1]))

    def bodies(self, frame: int) -> list[Body]:
        """The box, its doors and panels, and who pushes it."""
        heading = float(self.route.heading_rad[frame])
        # The box's x runs along the way.
        turn = motion.turn_about_z(heading + 0.5 * np.pi)
        place = np.array([*self.route.place[frame], 0.0])
        bodies = []
        for dress, (low, high) in enumerate(self._parts()):
            mesh = shapes.placed(
                shapes.box_mesh(1), scale=0.5 * (high - low), centre=0.5 * (high + low)
            )
            bodies.append(
                bounded_body(
                    positions=(mesh.vertices @ turn.T + place)[None],
                    texture=mesh.vertices,
                    mesh=mesh,
                    size=0.8,
                    moving=True,
                    dress=dress,
                )
            )
        return bodies

    def _parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Corners (low, high) of the box and of what is fastened to its two large sides."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        x, y, z = self.half
        parts = [(np.array([-x, -y, 0.03]), np.array([x, y, 2.0 * z]))]
        for side in (-1.0, 1.0):
            columns, rows = int(rng.integers(2, 4)), int(rng.integers(2, 5))
            for column in range(columns):
                for row in range(rows):
                    thick = rng.uniform(0.015, 0.06)
                    left = x * (2.0 * (column + 0.06) / columns - 1.0)
                    right = x * (2.0 * (column + 0.94) / columns - 1.0)
                    low, high = 2.0 * z * (row + 0.08) / rows, 2.0 * z * (row + 0.92) / rows
                    ends = sorted((side * y, side * (y + thick)))
                    parts.append((np.array([left, ends[0], low]), np.array([right, ends[1], high])))
        return parts


def pusher(wardrobe: Wardrobe, *, seed: int, height: float) -> Walker:
    """Somebody behind a wardrobe on its way."""
    route = wardrobe.route
    behind = wardrobe.half[0] + 0.4
    back = np.stack([np.sin(route.heading_rad), -np.cos(route.heading_rad)], 1)
    follows = Route(
        place=route.place + behind * back, heading_rad=route.heading_rad, gone=route.gone
    )
    return Walker(route=follows, seed=seed, height=height)


Mover: TypeAlias = Walker | Wardrobe
"""Something that moves along a `route`, keeps within `radius` of it, and has `bodies` per frame."""
