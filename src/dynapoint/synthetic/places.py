"""Deep places between walls: corridors, and streets with cars."""

import numpy as np

from . import shapes
from .actors import Actor, random_actors
from .articulated import random_person
from .bodies import Body, still_body
from .lettering import lettered_sheet
from .settings import ENDLESS, Cast, Draw, Setting, aimed
from .shapes import Mesh
from .stage import Stage, closed_room, slab
from .vehicles import random_car

_FROM_LEFT = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_FROM_RIGHT = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Axes of sheets that hang on the left wall (facing +x) and on the right one (facing -x)."""


def random_corridor(draw: Draw) -> Setting:
    """A passage with doors, frames and notices, seen along its length."""
    rng, times = draw.rng, len(draw.tau)
    focal = draw.focal()
    height = rng.uniform(0.7, 1.5)
    distance = rng.uniform(2.5, 5.0)
    aim = height * rng.uniform(0.3, 1.1)
    camera = aimed(draw, focal=focal, height=height, aim=aim, distance=distance, travel=0.8)
    eyes = camera.stage_from_camera[:, :3, 3]
    left = min(-rng.uniform(0.8, 1.8), eyes[:, 0].min() - 0.4)
    right = max(rng.uniform(0.8, 1.8), eyes[:, 0].max() + 0.4)
    front, back = eyes[:, 1].min() - 1.5, max(rng.uniform(5.0, 15.0), eyes[:, 1].max() + 2.0)
    high = max(height * rng.uniform(1.4, 2.0), eyes[:, 2].max() + 0.3)
    boxes = closed_room(left=left, right=right, front=front, back=back, high=high)
    bodies = [slab((-60.0, -60.0, -0.5), (60.0, 60.0, 0.0), times=times, size=1.0)]
    bodies += [slab(*box, times=times, size=1.5) for box in boxes.values()]
    for x, out, axes in ((left, 1.0, _FROM_LEFT), (right, -1.0, _FROM_RIGHT)):
        y = eyes[:, 1].max() + rng.uniform(0.3, 1.2)
        while y < back - 1.0:
            wide = rng.uniform(0.5, 0.9)
            if rng.random() < 0.6:
                ends = sorted((x, x + out * float(rng.choice([0.02, 0.05]))))
                door = ((ends[0], y, 0.0), (ends[1], y + wide, high * rng.uniform(0.7, 0.9)))
                bodies.append(slab(*door, times=times, size=1.0))
            else:
                half = (0.4 * wide, 0.4 * wide * float(np.exp(0.4 * rng.normal())))
                centre = (x, y + 0.5 * wide, high * rng.uniform(0.4, 0.7))
                bodies += lettered_sheet(rng, times=times, centre=centre, axes=axes, half=half)
            y += wide + rng.uniform(0.2, 1.5)
    stage = Stage(
        bodies=bodies,
        walls={name: (np.array(low), np.array(up)) for name, (low, up) in boxes.items()},
        ceiling=float(high),
        low=np.array([left, front, -ENDLESS]),
        high=np.array([right, back, high]),
    )
    actors = random_actors(
        rng, camera, stage, tau=draw.tau, difficulty=draw.difficulty, movers=draw.movers
    )
    return Setting(camera=camera, stage=stage, actors=actors)


def random_street(draw: Draw) -> Setting:
    """Rows of houses along a road on which cars stand and drive and people walk."""
    rng, times = draw.rng, len(draw.tau)
    focal = draw.focal()
    height, distance = rng.uniform(0.8, 1.6), rng.uniform(5.0, 9.0)
    camera = aimed(
        draw, focal=focal, height=height, aim=height * rng.uniform(0.2, 1.1), distance=distance
    )
    eyes = camera.stage_from_camera[:, :3, 3]
    road = rng.uniform(1.5, 3.0)
    left = min(-road - rng.uniform(0.6, 2.5), eyes[:, 0].min() - 0.6)
    right = max(road + rng.uniform(0.6, 2.5), eyes[:, 0].max() + 0.6)
    front, back = eyes[:, 1].min() - 2.0, eyes[:, 1].max() + rng.uniform(12.0, 30.0)
    bodies = [slab((-60.0, -60.0, -0.5), (60.0, 60.0, 0.0), times=times, size=1.0)]
    surface = ((-road, front, 0.0), (road, back + 5.0, 0.008))
    bodies.append(slab(*surface, times=times, size=1.0))
    walls = {}
    for name, x, out in (("left", left, -1.0), ("right", right, 1.0)):
        if rng.random() < 0.85:
            houses = houses_along(rng, x, out, front=front, back=back, times=times)
            bodies += houses
            walls[name] = (
                np.array([min(x, x + out * 0.1), front, 0.0]),
                np.array([max(x, x + out * 0.1), back, 3.0]),
            )
    stage = Stage(
        bodies=bodies,
        walls=walls,
        ceiling=None,
        low=np.array([left, -ENDLESS, -ENDLESS]),
        high=np.array([right, ENDLESS, ENDLESS]),
    )
    cast = Cast(camera, stage.holds)
    for _ in range(int(rng.integers(3, 9))):
        cast.offer(lambda shrink: _traffic(draw, shrink, road=road, sides=(left, right)))
    return Setting(camera=camera, stage=stage, actors=cast.actors)


def _traffic(draw: Draw, shrink: float, *, road: float, sides: tuple[float, float]) -> Actor:
    """A car that stands at the kerb, drives in its lane or crosses, or somebody on foot."""
    rng = draw.rng
    y = float(np.exp(rng.uniform(np.log(2.0), np.log(14.0))))
    moves = draw.movers and rng.random() < 0.7
    side = float(rng.choice([-1.0, 1.0]))
    if rng.random() < 0.35:
        x = rng.uniform(*sides) * 0.9 if rng.random() < 0.3 else side * road * rng.uniform(1.0, 1.3)
        reach = rng.uniform(0.3, 2.0) if moves else 0.0
        return random_person(rng, tau=draw.tau, place=(x, y), height=1.15, reach=reach)
    heading = 0.0 if side > 0 else np.pi
    x = side * road * (rng.uniform(0.35, 0.5) if moves else rng.uniform(0.75, 0.95))
    if moves and rng.random() < 0.2:
        heading, x = side * np.pi / 2, side * rng.uniform(0.2, 1.0) * road
    return random_car(
        rng,
        tau=draw.tau,
        place=(x, y),
        length=rng.uniform(1.9, 2.8) * shrink,
        heading_rad=heading + 0.05 * rng.normal(),
        reach=rng.uniform(0.5, 5.0) if moves else 0.0,
    )


def houses_along(
    rng: np.random.Generator, x: float, out: float, *, front: float, back: float, times: int
) -> list[Body]:
    """House after house along one side of a street, with their windows."""
    bodies, y = list[Body](), front
    while y < back:
        wide, high = rng.uniform(2.0, 6.0), rng.uniform(1.5, 7.0)
        ends = sorted((x, x + 4.0 * out))
        house = ((ends[0], y, 0.0), (ends[1], y + wide, high))
        bodies.append(slab(*house, times=times, size=2.0))
        mesh = _windows(rng, wide=wide, high=high)
        axes = _FROM_LEFT if out < 0 else _FROM_RIGHT
        origin = np.array([x - 0.012 * out, y + 0.5 * wide, 0.0])
        vertices = mesh.vertices @ axes.T + origin
        bodies.append(still_body(mesh, vertices, times=times, size=wide))
        y += wide + (rng.uniform(0.2, 2.0) if rng.random() < 0.3 else 0.0)
    return bodies


def _windows(rng: np.random.Generator, *, wide: float, high: float) -> Mesh:
    """Panes in rows and columns that face +z; x runs from -`wide` / 2, y up from the ground."""
    columns = int(np.clip(wide / rng.uniform(0.6, 1.4), 1, 6))
    rows = int(np.clip(high / rng.uniform(0.8, 1.4), 1, 5))
    half = (rng.uniform(0.2, 0.4) * wide / columns, rng.uniform(0.2, 0.38) * high / rows)
    pane = Mesh(
        vertices=np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
        * np.array([*half, 1.0]),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        face_group=np.zeros(2, np.int32),
    )
    return shapes.join_meshes(
        [
            shapes.placed(
                pane,
                centre=(
                    wide * ((column + 0.5) / columns - 0.5), high * (row + 0.55) / rows, 0.0,
                ),
            )
            for column in range(columns)
            for row in range(rows)
        ]
    )  # fmt: skip
