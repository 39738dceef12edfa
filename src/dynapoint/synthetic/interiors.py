"""Shelves full of things and corners of rooms, close to the camera."""

from functools import partial

import numpy as np
from jaxtyping import Float

from .actors import Actor
from .articulated import random_person
from .bodies import Body, bounded_body, random_body
from .furniture import random_furniture, random_stack, random_thin_furniture
from .hands import random_arm
from .settings import ENDLESS, Cast, Draw, Setting, aimed, lamp_lit_stage, stays_before
from .stage import Stage, slab


def random_shelf(draw: Draw) -> Setting:
    """Boards full of things, seen from before them; an arm or something in the air moves."""
    rng, times = draw.rng, len(draw.tau)
    focal = draw.focal()
    front, deep = rng.uniform(1.5, 2.6), rng.uniform(0.25, 0.55)
    half_high, half_wide = 0.5 * front / focal, 0.5 * draw.aspect * front / focal
    spacing = half_high * rng.uniform(0.45, 0.9)
    aim = rng.uniform(1.0, 2.0) * half_high
    height = max(aim + front * rng.uniform(-0.15, 0.5), 0.3)
    camera = aimed(draw, focal=focal, height=height, aim=aim, distance=front, travel=0.6)
    back = front + deep
    width = half_wide * rng.uniform(0.7, 1.8)
    far, thick = 30.0, 0.03
    boards = np.arange(0.1, aim + 1.6 * half_high, spacing)
    bodies = [slab((-far, -far, -0.5), (far, far, 0.0), times=times, size=1.0)]
    bodies.append(slab((-far, back, 0.0), (far, back + 0.1, 20.0), times=times, size=1.5))
    parts = [((-width, front, z - thick), (width, back, z)) for z in boards]
    posts = np.linspace(-width, width, 2 + int(width / (2.0 * spacing)))
    top = float(boards[-1])
    parts += [((x - thick, front - 0.005, 0.0), (x + thick, back, top)) for x in posts]
    bodies += [slab(*box, times=times, size=1.0, dress=0) for box in parts]

    cast = Cast(camera, lambda actor: stays_before(actor, back + 0.1))
    for level, z in enumerate(boards[:-1]):
        if z + spacing < aim - 1.5 * half_high:
            continue
        for _ in range(int(rng.integers(2, 7))):
            x, y = rng.uniform(-0.9, 0.9) * width, front + deep * rng.uniform(0.3, 0.6)

            def stored(
                shrink: float, x: float = x, y: float = y, z: float = float(z), level: int = level
            ) -> Actor:
                room = shrink * min(1.6 * deep, 0.9 * spacing)
                return lifted(random_stored(draw, place=(x, y), room=room), z + 1e-3 * (level + 1))

            cast.offer(stored, attempts=3)
    if draw.movers:
        _add_reaching(draw, cast, front=front, aim=aim, half=(half_wide, half_high))
    return Setting(camera=camera, stage=lamp_lit_stage(bodies, back=back), actors=cast.actors)


def lifted(actor: Actor, height: float) -> Actor:
    """The actor raised by `height`."""
    shift = np.zeros_like(actor[0].centre)
    shift[:, 2] = height
    return [body.shifted(shift) for body in actor]


def random_stored(draw: Draw, *, place: tuple[float, float], room: float) -> Actor:
    """A thing, a row of books or a stack on a board with `room` above and behind it."""
    rng, times = draw.rng, len(draw.tau)
    kind = rng.random()
    if kind < 0.35:
        return [
            random_body(
                rng, tau=draw.tau, place=place, size=room * rng.uniform(0.2, 0.4), reach=0.0,
                difficulty=min(draw.difficulty, 0.6), detail=5,
            )
        ]  # fmt: skip
    if kind < 0.55:
        return random_stack(rng, times=times, place=place, size=0.5 * room)
    if kind < 0.65:
        return random_thin_furniture(rng, times=times, place=place, size=0.4 * room)
    books: list[Body] = []
    x = place[0]
    for k in range(int(rng.integers(3, 12))):
        wide, high = room * rng.uniform(0.04, 0.14), room * rng.uniform(0.35, 0.9)
        low = (x, place[1] - 0.3 * room, 0.0)
        books.append(
            slab(low, (x + wide, place[1] + 0.2 * room, high), times=times, size=room, dress=k)
        )
        x += wide * 1.02
    return books


def _add_reaching(
    draw: Draw, cast: Cast, *, front: float, aim: float, half: tuple[float, float]
) -> None:
    """An arm that reaches in, or bodies that move in the air before the boards."""
    rng, stored = draw.rng, len(cast.actors)
    if rng.random() < 0.5:
        x, z = rng.uniform(-0.6, 0.6) * half[0], aim + rng.uniform(-0.7, 0.5) * half[1]
        cast.admit(
            random_arm(
                rng,
                tau=draw.tau,
                palm=np.array([x, front - 0.1, max(z, 0.2)]),
                yaw_rad=rng.uniform(-0.9, 0.9),
                length=front * rng.uniform(0.25, 0.45),
                moving=True,
            )
        )
    if len(cast.actors) > stored and rng.random() < 0.4:
        return
    for _ in range(int(rng.integers(1, 4))):

        def flying(shrink: float) -> Actor:
            place = (rng.uniform(-0.8, 0.8) * half[0], front * rng.uniform(0.7, 0.92))
            size = shrink * half[1] * rng.uniform(0.1, 0.3)
            body = random_body(
                rng, tau=draw.tau, place=place, size=size, reach=half[0] * rng.uniform(0.2, 0.7),
                difficulty=draw.difficulty, detail=6,
            )  # fmt: skip
            lift = max(aim + rng.uniform(-0.8, 0.5) * half[1] - float(body.centre[0, 2]), 0.0)
            return lifted([body], lift)

        cast.offer(flying)


def random_corner(draw: Draw) -> Setting:
    """Two walls that meet before the camera, with furniture and things in the corner."""
    rng, times = draw.rng, len(draw.tau)
    focal = draw.focal()
    depth = rng.uniform(2.2, 4.0)
    heart = depth * rng.uniform(0.75, 0.95)
    height = depth * rng.uniform(0.3, 0.8)
    aim = max(height - heart * float(np.tan(np.radians(rng.uniform(0.0, 40.0)))), 0.0)
    camera = aimed(draw, focal=focal, height=height, aim=aim, distance=heart, travel=0.7)
    edge = np.array([rng.uniform(-0.5, 0.5) * camera.half_width * heart, depth])
    angle = np.radians(rng.uniform(22.0, 68.0))
    # Along the walls, from the edge towards the camera's side, as a right-handed pair.
    walls = np.array([[-np.sin(angle), np.cos(angle)], [-np.cos(angle), -np.sin(angle)]])
    eyes = camera.stage_from_camera[:, :2, 3]
    if ((eyes - edge) @ walls).min() < 0.3:
        edge = edge + 0.3 * np.array([0.0, 1.0]) - ((eyes - edge) @ walls).min()
    tall = 3.0 * depth
    bodies = [slab((-30.0, -30.0, -0.5), (30.0, 30.0, 0.0), times=times, size=1.0)]
    for high in ((20.0, 0.0), (0.0, 20.0)):
        box = ((-0.1, -0.1, 0.0), (*high, tall))
        bodies.append(_turned(slab(*box, times=times, size=1.5), walls, edge))
    bodies += _hung(draw, walls, edge, depth=depth, height=height)

    def fits(actor: Actor) -> bool:
        return all(
            float((((b.centre[:, :2] - edge) @ walls) - 0.75 * b.radius).min()) > 0.0 for b in actor
        )

    def placed(shrink: float, *, moves: bool) -> Actor:
        along = depth * np.exp(rng.uniform(np.log(0.08), np.log(0.7), 2))
        spot = edge + walls @ along
        place = (float(spot[0]), float(spot[1]))
        size = shrink * depth * rng.uniform(0.06, 0.2)
        reach = depth * rng.uniform(0.05, 0.3) * shrink if moves else 0.0
        kind = rng.random()
        if kind < 0.4 and not moves:
            return random_furniture(rng, times=times, place=place, size=2.2 * size)
        if kind < 0.5 and not moves:
            return random_stack(rng, times=times, place=place, size=2.0 * size)
        if kind < 0.3:
            return random_person(rng, tau=draw.tau, place=place, height=4.0 * size, reach=reach)
        return [
            random_body(
                rng, tau=draw.tau, place=place, size=size, reach=reach,
                difficulty=draw.difficulty, detail=6,
            )
        ]  # fmt: skip

    cast = Cast(camera, fits)
    movers = int(rng.integers(1, 4)) if draw.movers else 0
    for index in range(movers + int(rng.integers(3, 11))):
        cast.offer(partial(placed, moves=index < movers), attempts=7)
    stage = Stage(
        bodies=bodies,
        walls={},
        ceiling=None,
        low=np.full(3, -ENDLESS),
        high=np.array([ENDLESS, ENDLESS, ENDLESS]),
    )
    return Setting(camera=camera, stage=stage, actors=cast.actors)


def _turned(body: Body, walls: Float[np.ndarray, "2 2"], edge: Float[np.ndarray, " xy=2"]) -> Body:
    """A body of the corner's own axes (x and y along the walls, from their edge) in the stage."""
    turn = np.eye(3)
    turn[:2, :2] = walls
    positions = body.positions @ turn.T + np.array([*edge, 0.0])
    return bounded_body(
        positions=positions,
        texture=body.texture,
        mesh=body.mesh,
        size=body.size,
        moving=False,
        dress=body.dress,
    )


def _hung(
    draw: Draw,
    walls: Float[np.ndarray, "2 2"],
    edge: Float[np.ndarray, " xy=2"],
    *,
    depth: float,
    height: float,
) -> list[Body]:
    """Pictures, doors and boards on the two walls."""
    rng, bodies = draw.rng, list[Body]()
    for _ in range(int(rng.integers(0, 5)) if draw.difficulty > 0.0 else 0):
        wide, high = 0.15 * depth * np.exp(rng.normal(size=2) * 0.4)
        along, low = rng.uniform(0.1, 0.8) * depth, rng.uniform(0.0, 1.2) * height
        thick = float(rng.choice([0.01, 0.02, 0.08]))
        box = ((along, 0.0, low), (along + wide, thick, low + high))
        if rng.random() < 0.5:
            box = ((0.0, along, low), (thick, along + wide, low + high))
        body = slab(*box, times=len(draw.tau), size=float(wide))
        bodies.append(_turned(body, walls, edge))
    return bodies
