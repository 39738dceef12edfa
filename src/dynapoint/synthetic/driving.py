"""Roads as a camera on a car sees them: it drives, and far more of the world is far away."""

import numpy as np
from jaxtyping import Float

from . import shapes
from .actors import Actor
from .articulated import random_person
from .bodies import Body, still_body
from .cameras import CameraPath, focal_of_view, look_at
from .motion import ease, smooth_wander
from .places import houses_along
from .settings import ENDLESS, Cast, Draw, Setting
from .shapes import Mesh
from .stage import Stage, slab
from .vehicles import random_car

METRE = 0.4
"""Scene units of a metre: fog and light are made for scenes of a few units."""
_REACH = 60.0


def random_drive(draw: Draw) -> Setting:
    """A road with traffic, seen from a car that drives along it, or stands."""
    rng, times = draw.rng, len(draw.tau)
    camera = _camera(draw)
    eyes = camera.stage_from_camera[:, :3, 3]
    lanes, lane = int(rng.integers(1, 4)), METRE * float(rng.uniform(2.8, 3.8))
    # The camera keeps to its lane: the road's middle is left or right of it.
    middle = float(rng.choice([-1.0, 1.0])) * lane * (int(rng.integers(lanes)) + 0.5)
    half = lanes * lane + METRE * rng.uniform(0.2, 2.5)
    ends = (float(eyes[:, 1].min()) - 12.0, float(eyes[:, 1].max()) + 45.0)
    # Wherever the camera turns to, the road goes with it.
    kerbs = {
        side: side * max(side * middle + half, float((side * eyes[:, 0]).max()) + METRE)
        for side in (-1.0, 1.0)
    }
    bodies = [slab((-_REACH, -_REACH, -0.5), (_REACH, _REACH + 20.0, 0.0), times=times, size=1.0)]
    road = ((kerbs[-1.0], -_REACH, 0.0), (kerbs[1.0], _REACH + 20.0, 0.006))
    bodies.append(slab(*road, times=times, size=2.0))
    lines = [middle + lane * k for k in range(-lanes, lanes + 1)]
    bodies.append(_markings(rng, lines, ends=ends, times=times))
    walls = {}
    for name, side in (("left", -1.0), ("right", 1.0)):
        bodies += _roadside(draw, kerbs[side], side, ends=ends, eyes=eyes)
        if rng.random() < 0.6:
            x = kerbs[side] + side * METRE * rng.uniform(1.5, 14.0)
            bodies += houses_along(rng, x, side, front=ends[0], back=ends[1], times=times)
            walls[name] = (
                np.array([min(x, x + side * 0.1), ends[0], 0.0]),
                np.array([max(x, x + side * 0.1), ends[1], 2.0]),
            )
    bodies += _far_things(rng, times=times)
    stage = Stage(
        bodies=bodies,
        walls=walls,
        ceiling=None,
        low=np.array([-ENDLESS, -ENDLESS, -ENDLESS]),
        high=np.array([ENDLESS, ENDLESS, ENDLESS]),
    )
    cast = Cast(camera, stage.holds)
    travel = float(np.linalg.norm(eyes[-1] - eyes[0]))
    for _ in range(int(rng.integers(2, 12))):
        cast.offer(lambda _: _traffic(draw, middle=middle, lane=lane, lanes=lanes, travel=travel))
    for _ in range(int(rng.integers(0, 5))):
        cast.offer(lambda _: _walker(draw, middle=middle, half=half))
    return Setting(camera=camera, stage=stage, actors=cast.actors)


def _camera(draw: Draw) -> CameraPath:
    """A level camera on a car: it looks ahead, back or aside, and drives straight or in a bend."""
    rng, tau = draw.rng, draw.tau
    # Evenly over all lenses: what stands along a road tells them apart.
    focal = focal_of_view(rng.uniform(36.0, 90.0), draw.aspect)
    height, distance = METRE * rng.uniform(1.1, 2.3), METRE * rng.uniform(10.0, 25.0)
    heading = np.zeros(len(tau))
    position = np.tile(np.array([0.0, 0.0, height]), (len(tau), 1))
    if draw.camera_moves:
        travel = METRE * float(np.exp(rng.uniform(np.log(0.8), np.log(25.0))))
        progress = ease(rng, tau) if rng.random() < 0.3 else tau
        if rng.random() < 0.3:
            heading = np.radians(rng.uniform(-20.0, 20.0)) * progress
        # Backwards where the camera looks back.
        travel *= 1.0 if rng.random() < 0.85 else -1.0
        steps = np.diff(progress, prepend=progress[0]) * travel
        position[:, 0] += np.cumsum(steps * np.sin(heading))
        position[:, 1] += np.cumsum(steps * np.cos(heading))
        position[:, 2] += METRE * 0.02 * smooth_wander(rng, tau)[:, 2]
    looks = heading.copy()
    if rng.random() < 0.25:
        looks += np.radians(rng.uniform(-70.0, 70.0))
    pitch = np.radians(rng.normal() * 2.5)
    sway = np.radians(0.4) * smooth_wander(rng, tau) * draw.camera_moves
    looks, tilt = looks + sway[:, 0], pitch + sway[:, 1]
    ray = np.stack([np.cos(tilt) * np.sin(looks), np.cos(tilt) * np.cos(looks), np.sin(tilt)], 1)
    roll = np.full(len(tau), np.radians(1.0) * rng.normal()) + sway[:, 2]
    return CameraPath(
        stage_from_camera=look_at(position, position + ray, roll),
        focal_per_height=focal,
        half_width=float(0.5 * draw.aspect / focal),
        distance=float(distance),
    )


def _markings(
    rng: np.random.Generator, lines: list[float], *, ends: tuple[float, float], times: int
) -> Body:
    """Lines on the road, whole at its edges and mostly broken between its lanes."""
    half = METRE * rng.uniform(0.05, 0.1)
    dash, gap = METRE * rng.uniform(2.0, 6.0), METRE * rng.uniform(2.0, 9.0)
    parts = []
    for k, x in enumerate(lines):
        whole = k in (0, len(lines) - 1) or rng.random() < 0.2
        y = ends[0]
        while y < ends[1]:
            stop = ends[1] if whole else y + dash
            parts.append(_sheet((x - half, y), (x + half, stop), z=0.012))
            y = stop + gap
    return still_body(shapes.join_meshes(parts), times=times, size=4.0)


def _sheet(low: tuple[float, float], high: tuple[float, float], *, z: float) -> Mesh:
    """A flat rectangle that faces up."""
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    return Mesh(
        vertices=np.array([(x, y, z) for x, y in corners]),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        face_group=np.zeros(2, np.int32),
    )


def _roadside(
    draw: Draw,
    kerb: float,
    side: float,
    *,
    ends: tuple[float, float],
    eyes: Float[np.ndarray, "time xyz=3"],
) -> list[Body]:
    """A pavement, lamps and trees along one side of the road."""
    rng, times = draw.rng, len(draw.tau)
    bodies = list[Body]()
    wide = METRE * rng.uniform(1.2, 4.0)
    if rng.random() < 0.6:
        across = sorted((kerb, kerb + side * wide))
        raised = METRE * rng.uniform(0.05, 0.18)
        box = ((across[0], -_REACH, 0.0), (across[1], _REACH, raised))
        bodies.append(slab(*box, times=times, size=1.0))
    if rng.random() < 0.6:
        bodies.append(_lamps(rng, kerb + side * METRE * 0.5, side, ends=ends, times=times))
    if rng.random() < 0.6:
        x = kerb + side * METRE * rng.uniform(0.8, 6.0)
        bodies += _trees(rng, x, ends=ends, eyes=eyes, times=times)
    return bodies


def _lamps(
    rng: np.random.Generator, x: float, side: float, *, ends: tuple[float, float], times: int
) -> Body:
    """Posts at even distances, some with an arm over the road or a sign."""
    high, thick = METRE * rng.uniform(3.0, 9.0), METRE * rng.uniform(0.06, 0.15)
    apart = METRE * rng.uniform(8.0, 35.0)
    kind = rng.random()
    parts = []
    for y in np.arange(ends[0] + rng.uniform(0.0, apart), ends[1], apart):
        parts.append(_upright(x, y, high=high, thick=thick))
        if kind < 0.5:
            reach = METRE * 1.5
            scale = np.array([0.5 * reach, thick, 0.5 * thick])
            centre = (x - side * 0.5 * reach, y, high)
            parts.append(shapes.placed(shapes.box_mesh(1), scale=scale, centre=centre))
        elif kind < 0.75:
            scale = METRE * np.array([0.4, 0.02, 0.3])
            parts.append(shapes.placed(shapes.box_mesh(1), scale=scale, centre=(x, y, high)))
    if not parts:
        parts.append(_upright(x, ends[1], high=high, thick=thick))
    return still_body(shapes.join_meshes(parts), times=times, size=high)


def _upright(x: float, y: float, *, high: float, thick: float) -> Mesh:
    scale = np.array([thick, thick, 0.5 * high])
    return shapes.placed(shapes.cylinder_mesh(6), scale=scale, centre=(x, y, 0.5 * high))


def _trees(
    rng: np.random.Generator,
    x: float,
    *,
    ends: tuple[float, float],
    eyes: Float[np.ndarray, "time xyz=3"],
    times: int,
) -> list[Body]:
    """Trunks and crowns, each in one material, in a row or strewn about it, clear of the camera."""
    trunks, crowns = list[Mesh](), list[Mesh]()
    spread = METRE * rng.uniform(0.0, 3.0)
    y, apart = ends[0] + METRE * rng.uniform(0.0, 15.0), METRE * rng.uniform(3.0, 20.0)
    # Some roads lead through woods.
    grown = 1.0 if rng.random() < 0.6 else rng.uniform(1.0, 2.2)
    while y < ends[1] and len(trunks) < 18:
        size = METRE * rng.uniform(1.0, 3.0) * grown
        at = x + spread * rng.normal()
        high = METRE * rng.uniform(1.5, 3.5) * grown
        centre, tall = np.array([at, y, high + 0.5 * size]), rng.uniform(0.8, 1.6)
        if np.linalg.norm(eyes - centre, axis=1).min() > 1.1 * size * max(tall, 1.0):
            trunks.append(_upright(at, y, high=high, thick=0.1 * size))
            crowns.append(
                shapes.placed(
                    shapes.blob_mesh(rng, 3, 0.6),
                    scale=size * np.array([1.0, 1.0, tall]),
                    centre=centre,
                )
            )
        y += apart * rng.uniform(0.5, 1.5)
    if not trunks:
        return []
    return [
        still_body(shapes.join_meshes(trunks), times=times, size=1.0),
        still_body(shapes.join_meshes(crowns), times=times, size=1.0),
    ]


def _far_things(rng: np.random.Generator, *, times: int) -> list[Body]:
    """Blocks of houses, hills or woods at the road's far ends."""
    bodies = list[Body]()
    hills = rng.random() < 0.5
    for _ in range(int(rng.integers(0, 7))):
        azimuth = rng.normal() * 0.6 + np.pi * (rng.random() < 0.2)
        away = rng.uniform(22.0, 52.0)
        x, y = away * np.sin(azimuth), away * np.cos(azimuth)
        wide, high = away * rng.uniform(0.05, 0.25), away * rng.uniform(0.03, 0.2)
        if hills:
            mesh = shapes.placed(
                shapes.blob_mesh(rng, 5, 0.4),
                scale=np.array([2.0 * wide, wide, high]),
                centre=(x, y + wide, -0.1 * high),
            )
            bodies.append(still_body(mesh, times=times, size=high))
        else:
            box = ((x - wide, y, 0.0), (x + wide, y + wide, high))
            bodies.append(slab(*box, times=times, size=high))
    return bodies


def _traffic(draw: Draw, *, middle: float, lane: float, lanes: int, travel: float) -> Actor:
    """A car parked at the edge, ahead in the camera's direction, or oncoming."""
    rng = draw.rng
    y = METRE * float(np.exp(rng.uniform(np.log(5.0), np.log(70.0))))
    if rng.random() < 0.15:
        y = -y
    number = int(rng.integers(lanes))
    # Whether it is on the side of the road that the camera drives on.
    side = -np.sign(middle) if rng.random() < 0.5 else np.sign(middle)
    parked = not draw.movers or rng.random() < 0.5
    if parked and rng.random() < 0.8:
        number = lanes - 1
    x = middle + side * lane * (number + (rng.uniform(0.6, 1.0) if parked else 0.5))
    with_camera = side == -np.sign(middle)
    heading = 0.0 if with_camera else np.pi
    reach = 0.0
    if not parked:
        pace = rng.uniform(0.6, 1.4) if with_camera else rng.uniform(0.4, 1.6)
        reach = pace * max(travel, METRE * rng.uniform(1.0, 12.0))
        if rng.random() < 0.1:
            heading += np.pi / 2
    return random_car(
        rng,
        tau=draw.tau,
        place=(float(x), y),
        length=METRE * rng.uniform(3.6, 5.6),
        heading_rad=heading + 0.04 * rng.normal(),
        reach=reach,
    )


def _walker(draw: Draw, *, middle: float, half: float) -> Actor:
    """Somebody beside the road, or on it."""
    rng = draw.rng
    y = METRE * float(np.exp(rng.uniform(np.log(4.0), np.log(35.0))))
    x = middle + float(rng.choice([-1.0, 1.0])) * half * rng.uniform(0.8, 1.4)
    moves = draw.movers and rng.random() < 0.7
    reach = METRE * rng.uniform(0.5, 4.0) if moves else 0.0
    height = METRE * rng.uniform(1.2, 1.9)
    return random_person(rng, tau=draw.tau, place=(x, y), height=height, reach=reach)
