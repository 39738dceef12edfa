"""Furnished rooms: cabinets along the walls, a table, chairs, and what stands about on them.

One scene unit is a metre.
"""

from itertools import pairwise

import numpy as np

from . import motion, shapes
from .actors import Actor
from .articulated import random_person
from .bodies import Body, random_body, still_body
from .cameras import focal_of_view
from .furniture import chair, random_furniture
from .interiors import lifted, random_stored
from .lettering import lettered_sheet
from .settings import ENDLESS, FACING_CAMERA, Cast, Draw, Setting, aimed
from .shapes import Mesh, block_mesh
from .stage import Stage, closed_room, fittings, slab


def random_room(draw: Draw) -> Setting:
    """A room as somebody sees it who stands in it and films by hand."""
    rng, times = draw.rng, len(draw.tau)
    # Evenly over all lenses: what stands in a room tells them apart.
    focal = focal_of_view(rng.uniform(42.0, 80.0), draw.aspect)
    height, distance = rng.uniform(0.9, 1.8), rng.uniform(1.4, 3.2)
    drop = distance * np.tan(np.radians(rng.uniform(-4.0, 32.0)))
    camera = aimed(
        draw, focal=focal, height=height, aim=height - float(drop), distance=distance,
        travel=0.8,
    )  # fmt: skip
    eyes = camera.stage_from_camera[:, :3, 3]
    left = min(-rng.uniform(1.0, 3.5), eyes[:, 0].min() - 0.8)
    right = max(rng.uniform(1.0, 3.5), eyes[:, 0].max() + 0.8)
    front, back = eyes[:, 1].min() - 1.2, max(rng.uniform(2.0, 5.5), eyes[:, 1].max() + 1.2)
    high = max(rng.uniform(2.2, 3.0), eyes[:, 2].max() + 0.3)
    boxes = closed_room(left=left, right=right, front=front, back=back, high=high)
    bodies = [slab((-30.0, -30.0, -0.5), (30.0, 30.0, 0.0), times=times, size=1.0)]
    bodies += [slab(*box, times=times, size=1.5) for box in boxes.values()]
    stage = Stage(
        bodies=bodies,
        walls={name: (np.array(low), np.array(up)) for name, (low, up) in boxes.items()},
        ceiling=high,
        low=np.array([left, front, -ENDLESS]),
        high=np.array([right, back, high]),
    )
    cast = Cast(camera, stage.holds)
    for wall in ("back", "left", "right"):
        if rng.random() < (0.7 if wall == "back" else 0.4):
            bodies += _cabinets(draw, cast, wall, across=(left, right), along=(front, back))
        else:
            bodies += fittings(
                rng, wall, across=(left, right), along=(front, back), height=high, times=times
            )
    _add_table(draw, cast, reach=0.5 * (eyes[:, 1].max() + back))
    _add_people_and_things(draw, cast, camera.half_width, size=(left, right, back))
    return Setting(camera=camera, stage=stage, actors=cast.actors)


def _cabinets(
    draw: Draw,
    cast: Cast,
    wall: str,
    *,
    across: tuple[float, float],
    along: tuple[float, float],
) -> list[Body]:
    """A row of cabinets with a worktop, things on it, and often cupboards or boards above."""
    rng, times = draw.rng, len(draw.tau)
    deep, top = rng.uniform(0.4, 0.7), rng.uniform(0.7, 1.0)
    if wall == "back":
        start, stop = across
        origin, axes = np.array([0.0, along[1], 0.0]), np.eye(3)
    else:
        start, stop = along[0] + 1.2, along[1]
        x = across[0] if wall == "left" else across[1]
        turn = 0.5 * np.pi if wall == "left" else -0.5 * np.pi
        origin, axes = np.array([x, 0.0, 0.0]), motion.turn_about_z(turn)
        # On the right the row's own axis runs against the stage's y.
        start, stop = (start, stop) if wall == "left" else (-stop, -start)
    width = (stop - start) * rng.uniform(0.5, 1.0)
    low = start + rng.uniform(0.0, 1.0) * (stop - start - width)
    ends = (low, low + width)
    # In the row's own axes it stands along x with its back at y = 0 and its doors towards −y.
    rows = [
        _doors(rng, ends, deep=deep, low=0.08, high=top - 0.04),
        block_mesh((ends[0], -deep - 0.03, top - 0.04), (ends[1], 0.0, top)),
    ]
    if rng.random() < 0.6:
        under = top + rng.uniform(0.4, 0.7)
        if rng.random() < 0.6:
            rows.append(_doors(rng, ends, deep=0.35, low=under, high=under + rng.uniform(0.4, 0.8)))
        else:
            rows.append(block_mesh((ends[0], -0.25, under), (ends[1], 0.0, under + 0.03)))
    bodies = []
    for mesh in rows:
        vertices = mesh.vertices @ axes.T + origin
        bodies.append(still_body(mesh, vertices, times=times, size=1.0))
    for k in range(int(rng.integers(2, 10))):
        x = rng.uniform(*ends)
        spot = axes @ np.array([x, -deep * rng.uniform(0.3, 0.7), 0.0]) + origin
        place = (float(spot[0]), float(spot[1]))
        if wall == "back" and rng.random() < 0.35:
            half = (rng.uniform(0.07, 0.16), rng.uniform(0.1, 0.18))
            centre = (place[0], place[1], top + half[1])
            cast.admit(lettered_sheet(rng, times=times, centre=centre, axes=FACING_CAMERA,
                                      half=half, dress=2 * k))  # fmt: skip
            continue
        room = rng.uniform(0.2, 0.5)

        def thing(shrink: float, place: tuple[float, float] = place, room: float = room) -> Actor:
            return lifted(random_stored(draw, place=place, room=shrink * room), top + 1e-3)

        cast.offer(thing, attempts=2)
    return bodies


def _doors(
    rng: np.random.Generator, ends: tuple[float, float], *, deep: float, low: float, high: float
) -> Mesh:
    """A row of closed doors with gaps between them and handles, before one carcass."""
    parts = [block_mesh((ends[0], -deep + 0.02, low), (ends[1], 0.0, high))]
    count = max(1, int((ends[1] - ends[0]) / rng.uniform(0.35, 0.7)))
    edges = np.linspace(*ends, count + 1)
    handles = rng.random() < 0.7
    for a, b in pairwise(edges):
        parts.append(
            block_mesh((a + 0.006, -deep, low + 0.01), (b - 0.006, -deep + 0.02, high - 0.01))
        )
        if handles:
            x, z = 0.5 * (a + b), high - 0.06
            parts.append(
                block_mesh((x - 0.07, -deep - 0.03, z - 0.01), (x + 0.07, -deep, z + 0.01))
            )
    return shapes.join_meshes(parts)


def _add_table(draw: Draw, cast: Cast, *, reach: float) -> None:
    """A table before the camera with pages, cups and piles on it, and chairs about it."""
    rng, times = draw.rng, len(draw.tau)
    if rng.random() < 0.3:
        return
    half, top = rng.uniform(0.4, 1.0), rng.uniform(0.45, 0.8)
    deep, thick = rng.uniform(0.3, 0.6), rng.uniform(0.02, 0.06)
    y = max(rng.uniform(0.7, 2.4), 0.5 + deep)
    x, y = rng.uniform(-0.8, 0.8), min(y, max(reach, 0.5 + deep))
    turn = motion.turn_about_z(rng.uniform(-0.5, 0.5))
    parts = [block_mesh((-half, -deep, top - thick), (half, deep, top))]
    for sx in (-half + 0.05, half - 0.05):
        for sy in (-deep + 0.05, deep - 0.05):
            parts.append(
                block_mesh((sx - 0.03, sy - 0.03, 0.0), (sx + 0.03, sy + 0.03, top - thick))
            )
    mesh = shapes.join_meshes(parts)
    vertices = mesh.vertices @ turn.T + np.array([x, y, 0.0])
    things: Actor = [still_body(mesh, vertices, times=times, size=1.0)]
    for k in range(int(rng.integers(0, 7))):
        spot = turn[:2, :2] @ (np.array([half, deep]) * rng.uniform(-0.8, 0.8, 2))
        spot += np.array([x, y])
        page = motion.turn_about_z(rng.uniform(0.0, 6.3))
        sides = (rng.uniform(0.07, 0.15), rng.uniform(0.1, 0.16))
        if rng.random() < 0.5:
            # Pages that overlap lie on each other.
            centre = (float(spot[0]), float(spot[1]), top + 0.004 * k)
            things += lettered_sheet(
                rng, times=times, centre=centre, axes=page, half=sides, dress=2 * k + 1
            )
        else:
            things.append(_cup(rng, spot, base=top, times=times, dress=20 + k))
    cast.admit(things)
    for _ in range(int(rng.integers(0, 4))):
        angle = rng.uniform(0.0, 2.0 * np.pi)
        away = np.array([half + 0.25, deep + 0.25]) * [np.cos(angle), np.sin(angle)]
        spot = np.array([x, y]) + turn[:2, :2] @ away
        seat = chair(
            rng,
            times=times,
            place=(float(spot[0]), float(spot[1])),
            size=rng.uniform(0.75, 1.0),
            turn_rad=angle - 0.5 * np.pi + 0.4 * rng.normal(),
        )
        cast.admit(seat)


def _cup(
    rng: np.random.Generator, spot: np.ndarray, *, base: float, times: int, dress: int
) -> Body:
    """A cup, a bottle or a box."""
    wide, high = rng.uniform(0.03, 0.08), rng.uniform(0.03, 0.14)
    kinds = (shapes.cylinder_mesh(16), shapes.box_mesh(1), shapes.vase_mesh(rng, 14))
    mesh = kinds[rng.integers(len(kinds))]
    scale, centre = np.array([wide, wide, high]), (float(spot[0]), float(spot[1]), base + high)
    mesh = shapes.placed(mesh, scale=scale, centre=centre)
    return still_body(mesh, times=times, size=2 * wide, dress=dress)


def _add_people_and_things(
    draw: Draw, cast: Cast, half_width: float, *, size: tuple[float, float, float]
) -> None:
    """People, other furniture and bodies that move, mostly in view."""
    rng, times = draw.rng, len(draw.tau)
    left, right, back = size

    def place() -> tuple[float, float]:
        y = rng.uniform(0.8, back)
        return float(np.clip(rng.uniform(-1.1, 1.1) * half_width * y, left, right)), y

    for _ in range(int(rng.integers(0, 4))):
        cast.offer(
            lambda _: random_furniture(rng, times=times, place=place(), size=rng.uniform(0.6, 1.3))
        )
    if not draw.movers:
        return
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.random()

        def mover(shrink: float, kind: float = kind) -> Actor:
            spot = place()
            reach = rng.uniform(0.2, 1.5)
            if kind < 0.6:
                height = rng.uniform(1.4, 1.9)
                return random_person(rng, tau=draw.tau, place=spot, height=height, reach=reach)
            return [
                random_body(
                    rng, tau=draw.tau, place=spot, size=shrink * rng.uniform(0.1, 0.4),
                    reach=reach, difficulty=draw.difficulty, detail=6,
                )
            ]  # fmt: skip

        cast.offer(mover, attempts=7)
