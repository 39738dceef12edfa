"""The surroundings: ground, walls, rooms with ceilings, far buildings and hills."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from . import shapes
from .bodies import Body, still_body
from .cameras import CameraPath

SCREENS = 2  # in a scene: no more than two walls stand between it and the sun
_GROUND_REACH = 60.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Still surroundings and the free space between them (infinite where no wall stands).

    `walls` holds the corners (low, high) of each wall's box; `ceiling` is a room's height.
    """

    bodies: list[Body]
    walls: dict[str, tuple[np.ndarray, np.ndarray]]
    ceiling: float | None
    low: Float[np.ndarray, " xyz=3"]
    high: Float[np.ndarray, " xyz=3"]

    def holds(self, actor: list[Body]) -> bool:
        """Whether all bodies stay between the walls at all times."""
        return all(
            bool((body.centre - 0.75 * body.radius > self.low).all())
            and bool((body.centre + 0.75 * body.radius < self.high).all())
            for body in actor
        )


def slab(
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    *,
    times: int,
    size: float,
    dress: int = 0,
) -> Body:
    """A still axis-aligned box of the stage, such as a wall."""
    return still_body(shapes.block_mesh(low, high), times=times, size=size, dress=dress)


Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Two corners of an axis-aligned box: low, high."""


def closed_room(
    *, left: float, right: float, front: float, back: float, high: float
) -> dict[str, Box]:
    """Four walls and a ceiling by name, a tenth thick, around a space that stands on the ground."""
    return {
        "left": ((left - 0.1, front, 0.0), (left, back, high)),
        "right": ((right, front, 0.0), (right + 0.1, back, high)),
        "back": ((left, back, 0.0), (right, back + 0.1, high)),
        "front": ((left, front - 0.1, 0.0), (right, front, high)),
        "ceiling": ((left, front, high), (right, back, high + 0.1)),
    }


def random_stage(
    rng: np.random.Generator, camera: CameraPath, *, difficulty: float, times: int
) -> Stage:
    """The ground and, often, walls (sometimes a whole room), with things on and behind them."""
    far = _GROUND_REACH
    stage = [slab((-far, -far, -0.5), (far, far, 0.0), times=times, size=1.0)]
    poses = camera.stage_from_camera[:, :3, 3]
    depth = camera.distance
    back = max(depth * rng.uniform(1.7, 3.6), poses[:, 1].max() + 1.0)
    reach = max(back * camera.half_width, 0.9 * depth)
    left = min(-reach * rng.uniform(0.6, 1.3), poses[:, 0].min() - 0.5)
    right = max(reach * rng.uniform(0.6, 1.3), poses[:, 0].max() + 0.5)
    front = poses[:, 1].min() - rng.uniform(1.0, 2.0)
    height = depth * (rng.uniform(0.4, 2.0) if difficulty > 0.3 else 3.0)
    side_chance = 0.3 + 0.7 * difficulty
    drawn = rng.random(4)
    room = drawn[0] < 0.25 * difficulty
    boxes: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {}
    if room:
        height = max(depth * rng.uniform(0.8, 1.4), poses[:, 2].max() + 0.4)
        stage.append(
            slab((left, front, height), (right, back, height + 0.1), times=times, size=2.0)
        )
        stage.append(slab((left, front - 0.1, 0.0), (right, front, height), times=times, size=2.0))
    if room or drawn[1] < 0.7 or difficulty < 0.1:
        boxes["back"] = ((left - 0.1, back, 0.0), (right + 0.1, back + 0.1, height))
    if room or drawn[2] < 0.45 * side_chance:
        boxes["left"] = ((left - 0.1, front, 0.0), (left, back, height))
    if room or drawn[3] < 0.3 * side_chance:
        boxes["right"] = ((right, front, 0.0), (right + 0.1, back, height))
    stage += [slab(*box, times=times, size=2.0) for box in boxes.values()]
    if rng.random() < 0.6 * difficulty:
        for wall in boxes:
            stage += fittings(
                rng, wall, across=(left, right), along=(front, back), height=height, times=times
            )
    if rng.random() < 0.15 * difficulty:
        stage.append(_rug(rng, depth, times=times))
    if not boxes and rng.random() < 0.5 * difficulty:
        stage += _skyline(rng, camera, times=times)
    endless = 1e9
    return Stage(
        bodies=stage,
        walls={name: (np.array(low), np.array(high)) for name, (low, high) in boxes.items()},
        ceiling=float(height) if room else None,
        low=np.array([left if "left" in boxes else -endless, -endless, -endless]),
        high=np.array(
            [
                right if "right" in boxes else endless,
                back if "back" in boxes else endless,
                height if room else endless,
            ]
        ),
    )


def random_screens(
    rng: np.random.Generator,
    stage: Stage,
    *,
    sun: Float[np.ndarray, " xyz=3"],
    heart: Float[np.ndarray, " xyz=3"],
) -> Float[np.ndarray, "screen=2 number=10"]:
    """Rectangles between the scene and the sun (a unit vector towards it).

    Rows of centre, two half edges and whether it is an opening (1) or a wall (0), or zeros. In a
    room either the light passes the walls, as if lamps hung there, or it falls through one unseen
    opening in the ceiling onto the ground near `heart`.
    """
    screens = np.zeros((SCREENS, 10))
    if stage.ceiling is not None:
        if rng.random() < 0.5:
            target = heart * np.array([1.0, rng.uniform(0.6, 1.2), 0.0])
            target[0] += rng.uniform(-0.4, 0.4) * heart[1]
            half = heart[1] * rng.uniform(0.15, 0.6, 2)
            angle = rng.uniform(0.0, np.pi)
            c, s = np.cos(angle), np.sin(angle)
            screens[0, :3] = target + sun * stage.ceiling / sun[2]
            screens[0, 3:5] = half[0] * np.array([c, s])
            screens[0, 6:8] = half[1] * np.array([-s, c])
            screens[0, 9] = 1.0
        return screens
    beyond = {"back": sun[1] > 0, "left": sun[0] < 0, "right": sun[0] > 0}
    between = [box for name, box in stage.walls.items() if beyond[name]]
    for screen, (low, high) in zip(screens, between, strict=False):
        along = 0 if high[0] - low[0] > high[1] - low[1] else 1
        half = 0.5 * (high - low)
        screen[:3] = 0.5 * (low + high)
        screen[3 + along] = half[along]
        screen[8] = half[2]
    return screens


def fittings(
    rng: np.random.Generator,
    wall: str,
    *,
    across: tuple[float, float],
    along: tuple[float, float],
    height: float,
    times: int,
) -> list[Body]:
    """Pictures, doors, windows and boards on one wall of a room of the given extents."""
    (left, right), (front, back) = across, along
    bodies = []
    for _ in range(int(rng.integers(0, 4))):
        high = height * rng.uniform(0.1, 0.5)
        wide = high * rng.uniform(0.4, 1.8)
        low = 0.0 if rng.random() < 0.25 else rng.uniform(0.1, 0.8) * (height - high)
        thick = float(rng.choice([0.02, 0.05, 0.2]))
        if wall == "back":
            # A high room before a narrow camera can have a picture wider than its back wall.
            wide = min(wide, 0.9 * (right - left))
            x = rng.uniform(left, right - wide)
            box = ((x, back - thick, low), (x + wide, back, low + high))
        else:
            y = rng.uniform(0.3 * front + 0.7 * back - wide, back - wide)
            x = left if wall == "left" else right - thick
            box = ((x, y, low), (x + thick, y + wide, low + high))
        bodies.append(slab(*box, times=times, size=wide))
    return bodies


def _rug(rng: np.random.Generator, depth: float, *, times: int) -> Body:
    """A flat patch of another material on the ground."""
    wide, deep = depth * rng.uniform(0.2, 0.6, 2)
    x, y = depth * rng.uniform(-0.4, 0.4), depth * rng.uniform(0.6, 1.3)
    return slab(
        (x - wide, y - deep, 0.0), (x + wide, y + deep, 0.01), times=times, size=float(wide)
    )


def _skyline(rng: np.random.Generator, camera: CameraPath, *, times: int) -> list[Body]:
    """Far buildings or hills on open ground."""
    bodies = []
    hills = rng.random() < 0.5
    for k in range(int(rng.integers(2, 7))):
        distance = camera.distance * rng.uniform(3.5, 8.0)
        x = rng.uniform(-1.3, 1.3) * camera.half_width * distance
        high = distance * rng.uniform(0.05, 0.3)
        wide = distance * rng.uniform(0.1, 0.3)
        if not hills:
            bodies.append(
                slab((x - wide, distance, 0.0), (x + wide, distance + wide, high),
                     times=times, size=high, dress=k)
            )  # fmt: skip
            continue
        mesh = shapes.placed(
            shapes.blob_mesh(rng, 6, 0.4),
            scale=np.array([2.0 * wide, wide, high]),
            centre=(x, distance + 1.5 * wide, -0.1 * high),
        )
        bodies.append(still_body(mesh, times=times, size=high))
    return bodies
