"""The hall in which a long clip is filmed: walls, furniture along them, pillars, and who moves."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .actors import Actor
from .bodies import Body, random_body
from .furniture import random_furniture, random_stack, random_thin_furniture
from .lettering import lettered_sheet
from .long_movers import Mover, Walker, Wardrobe, pacing_route, passing_route, pusher
from .long_walks import Walk
from .stage import Stage, slab

_WALL_GAP = 2.3  # least distance between the camera's way and a wall
_CAMERA_GAP = 0.45  # least distance between the camera and a wardrobe; people keep twice as far
_COVERED = (
    0.72  # of the view's width by the wardrobe: what is seen beside it tells the camera's motion
)
SHELL = 6  # the stage's first bodies: ground, ceiling and walls
_SIDES = (
    np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
)
"""Axes (lines, top, face in columns) of sheets on the walls at low x, high x, low y and high y."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A hall, the furniture in it and its movers."""

    stage: Stage
    furniture: list[Actor]
    movers: list[Mover]


@dataclass(frozen=True, kw_only=True)
class _Hall:
    """The corners of the ground between the walls, and the height of the ceiling."""

    low: Float[np.ndarray, " xy=2"]
    high: Float[np.ndarray, " xy=2"]
    height: float

    def holds(self, places: Float[np.ndarray, "place xy=2"], margin: float) -> bool:
        """Whether all places keep the margin from the walls."""
        inside = (places > self.low + margin) & (places < self.high - margin)
        return bool(inside.all())


def random_place(rng: np.random.Generator, walk: Walk, *, half_width: float) -> Place:
    """A furnished hall about a camera's way, with movers that keep clear of the camera.

    At the walker's stops a wardrobe is pushed into the view, rests before the camera and is pushed
    on; people pace to and fro all the time. `half_width` is half of what is seen across, over the
    distance.
    """
    feet = walk.feet
    gaps = _WALL_GAP + rng.uniform(0.0, 0.9, (2, 2))
    hall = _Hall(
        low=feet.min(0) - gaps[0], high=feet.max(0) + gaps[1], height=rng.uniform(2.7, 3.3)
    )
    movers: list[Mover] = []
    for stop in walk.stops[:: 1 if len(walk.stops) < 3 else 2]:
        wardrobe = _passing_wardrobe(rng, walk, hall, stop, movers, half_width=half_width)
        if wardrobe is not None:
            movers += [wardrobe, pusher(wardrobe, seed=int(rng.integers(1 << 31)), height=1.75)]
    area = float(np.prod(hall.high - hall.low))
    for _ in range(2 if area < 50.0 else 4):
        walker = _pacing_walker(rng, walk, hall)
        if walker is not None:
            movers.append(walker)
    bodies = _shell(rng, hall)
    return Place(
        stage=Stage(
            bodies=bodies,
            walls={},
            ceiling=hall.height,
            low=np.array([*hall.low, -1e9]),
            high=np.array([*hall.high, hall.height]),
        ),
        furniture=_furniture(rng, walk, hall, movers),
        movers=movers,
    )


def _shell(rng: np.random.Generator, hall: _Hall) -> list[Body]:
    """Ground, ceiling, four walls and what hangs on them."""
    (left, front), (right, back), high = hall.low, hall.high, hall.height
    far = 0.15
    boxes = (
        ((left - far, front - far, -0.5), (right + far, back + far, 0.0)),
        ((left - far, front - far, high), (right + far, back + far, high + 0.1)),
        ((left - far, front, 0.0), (left, back, high)),
        ((right, front, 0.0), (right + far, back, high)),
        ((left, front - far, 0.0), (right, front, high)),
        ((left, back, 0.0), (right, back + far, high)),
    )
    bodies = [slab(*box, times=1, size=1.2, dress=k) for k, box in enumerate(boxes)]
    for wall, axes in enumerate(_SIDES):
        across = 1 if wall < 2 else 0
        at = float((hall.low if wall % 2 == 0 else hall.high)[1 - across])
        inward = 1.0 if wall % 2 == 0 else -1.0
        place = float(hall.low[across]) + rng.uniform(0.3, 0.8)
        while place < hall.high[across] - 1.2:
            wide = rng.uniform(0.5, 1.4)
            tall, base = rng.uniform(0.4, 1.3), rng.uniform(0.8, 1.3)
            if rng.random() < 0.2:
                wide, tall, base = 0.95, 2.1, 0.0
            elif rng.random() < 0.45:
                centre = np.full(3, base + 0.5 * tall)
                centre[across], centre[1 - across] = place + 0.5 * wide, at
                bodies += lettered_sheet(
                    rng, times=1, centre=(centre[0], centre[1], centre[2]), axes=axes,
                    half=(0.5 * wide, 0.5 * tall),
                )  # fmt: skip
                place += wide + rng.uniform(0.2, 0.9)
                continue
            low, up = np.zeros(3), np.zeros(3)
            low[across], up[across] = place, place + wide
            low[2], up[2] = base, min(base + tall, hall.height - 0.1)
            ends = sorted((at, at + inward * float(rng.choice([0.03, 0.06, 0.12]))))
            low[1 - across], up[1 - across] = ends
            bodies.append(slab((low[0], low[1], low[2]), (up[0], up[1], up[2]), times=1, size=wide))
            place += wide + rng.uniform(0.2, 0.9)
    return bodies


def _passing_wardrobe(
    rng: np.random.Generator,
    walk: Walk,
    hall: _Hall,
    stop: tuple[int, int],
    others: list[Mover],
    *,
    half_width: float,
) -> Wardrobe | None:
    """A wardrobe that rests before the camera during a stop; None where it finds no way."""
    middle = (stop[0] + stop[1]) // 2
    ahead, eye = walk.ahead(middle), walk.feet[middle]
    side = float(rng.choice([-1.0, 1.0]))
    seed = int(rng.integers(1 << 31))
    for distance in (1.35, 1.55, 1.8, 2.1):
        for direction in (side, -side):
            for reach in (2.6, 2.2, 1.9):
                half = np.array([_COVERED * half_width * distance, 0.28, 1.05])
                along = direction * np.array([ahead[1], -ahead[0]])
                route = passing_route(
                    frames=len(walk.feet),
                    middle=eye + distance * ahead,
                    along=along,
                    reach=reach,
                    stop=(middle - 14, middle + 14),
                    walk_frames=70,
                )
                found = Wardrobe(route=route, seed=seed, half=half)
                behind = pusher(found, seed=0, height=1.0)
                near = [
                    mover for mover in (found, behind) if not _clear(mover, walk, hall, _CAMERA_GAP)
                ]
                if not near and all(_apart(found, other) for other in others):
                    return found
    return None


def _clear(mover: Mover, walk: Walk, hall: _Hall, gap: float) -> bool:
    """Whether a mover stays within the hall and off the camera at all times."""
    gaps = np.linalg.norm(mover.route.place - walk.feet, axis=1)
    inside = hall.holds(mover.route.place, 0.5 * mover.radius + 0.1)
    return inside and bool(gaps.min() > mover.radius + gap)


def _apart(first: Mover, second: Mover) -> bool:
    """Whether two movers never come too near to each other."""
    gaps = np.linalg.norm(first.route.place - second.route.place, axis=1)
    return bool(gaps.min() > 0.8 * (first.radius + second.radius))


def _pacing_walker(rng: np.random.Generator, walk: Walk, hall: _Hall) -> Walker | None:
    """Somebody who paces between two places of the hall."""
    for _ in range(40):
        ends = rng.uniform(hall.low + 0.8, hall.high - 0.8, (2, 2))
        length = float(np.linalg.norm(ends[1] - ends[0]))
        route = pacing_route(rng, frames=len(walk.feet), ends=ends, speed=rng.uniform(0.018, 0.03))
        walker = Walker(
            route=route, seed=int(rng.integers(1 << 31)), height=rng.uniform(1.55, 1.85)
        )
        if length > 1.5 and _clear(walker, walk, hall, 2.0 * _CAMERA_GAP):
            return walker
    return None


def _furniture(
    rng: np.random.Generator, walk: Walk, hall: _Hall, movers: list[Mover]
) -> list[Actor]:
    """Things along the walls and, where nothing passes, in the middle of the hall."""
    kept: list[tuple[np.ndarray, float]] = []

    def free(place: np.ndarray, radius: float) -> bool:
        if not hall.holds(place[None], 0.6 * radius):
            return False
        if np.linalg.norm(walk.feet - place, axis=1).min() < radius + 0.55:
            return False
        for mover in movers:
            gaps = np.linalg.norm(mover.route.place - place, axis=1)
            if gaps.min() < radius + 0.8 * mover.radius:
                return False
        return all(np.linalg.norm(place - other) > 0.9 * (radius + r) for other, r in kept)

    actors: list[Actor] = []
    area = float(np.prod(hall.high - hall.low))
    for index in range(int(2.2 * area)):
        place = rng.uniform(hall.low + 0.3, hall.high - 0.3)
        if index % 3:
            # Two of three stand along a wall.
            across, end = int(rng.integers(2)), int(rng.integers(2))
            wall = (hall.low, hall.high)[end][across]
            place[across] = wall + (0.45 if end == 0 else -0.45)
        actor = _thing(rng, (float(place[0]), float(place[1])))
        reach = max(
            float(np.linalg.norm(body.positions[0, :, :2] - place, axis=1).max()) for body in actor
        )
        top = max(float(body.positions[0, :, 2].max()) for body in actor)
        if top < hall.height and free(place, reach):
            kept.append((place, reach))
            actors.append(actor)
    return actors


def _thing(rng: np.random.Generator, place: tuple[float, float]) -> Actor:
    """Furniture, a stack, something thin, a pillar's worth of boxes or a single body."""
    kind = rng.random()
    if kind < 0.5:
        return random_furniture(rng, times=1, place=place, size=rng.uniform(0.75, 1.1))
    if kind < 0.68:
        return random_stack(rng, times=1, place=place, size=rng.uniform(0.5, 1.0))
    if kind < 0.76:
        return random_thin_furniture(rng, times=1, place=place, size=rng.uniform(0.6, 1.0))
    return [
        random_body(
            rng, tau=np.zeros(1), place=place, size=rng.uniform(0.25, 0.6), reach=0.0,
            difficulty=0.5, detail=6,
        )
    ]  # fmt: skip
