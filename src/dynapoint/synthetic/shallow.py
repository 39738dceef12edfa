"""Scenes of little depth: desks seen from above, a body before a wall, shelves, corners of rooms.

Most of what people film indoors lies within a factor of two of its distance. Sizes are chosen so
that a scene's objects are as large as in other scenes and the camera stands close.
"""

from functools import partial

import numpy as np

from . import motion, shapes
from .actors import Actor
from .articulated import random_animal, random_person
from .bodies import Body, random_body, still_body
from .furniture import random_flag, random_furniture, random_stack, random_thin_furniture
from .hands import random_arm
from .interiors import random_corner, random_shelf
from .lettering import lettered_sheet
from .settings import Cast, Draw, Setting, aimed, lamp_lit_stage, stays_before, wall_across
from .stage import slab


def random_shallow_setting(draw: Draw) -> Setting:
    """One of the kinds; simple scenes know two of them."""
    chance = draw.rng.random()
    if draw.difficulty == 0.0:
        return random_desk(draw) if chance < 0.5 else random_portrait(draw)
    if chance < 0.4:
        return random_desk(draw)
    if chance < 0.7:
        return random_portrait(draw)
    return random_shelf(draw) if chance < 0.84 else random_corner(draw)


def random_desk(draw: Draw) -> Setting:
    """A table or a piece of floor seen obliquely from above, with clutter, movers, hands."""
    rng, times = draw.rng, len(draw.tau)
    focal = draw.focal()
    slant, pitch = rng.uniform(1.6, 3.0), np.radians(rng.uniform(28.0, 70.0))
    height, distance = slant * float(np.sin(pitch)), slant * float(np.cos(pitch))
    camera = aimed(draw, focal=focal, height=height, aim=0.0, distance=distance, travel=0.8)
    eyes = camera.stage_from_camera[:, :3, 3]
    wide = camera.half_width * distance
    walled = pitch < np.radians(48.0) or rng.random() < 0.3
    back = max(distance + slant * rng.uniform(0.25, 0.7), eyes[:, 1].max() + 0.3)
    end = back if walled else distance + slant * rng.uniform(0.5, 1.0)
    far = 30.0
    if draw.difficulty > 0.0 and rng.random() < 0.5:
        floor = -slant * rng.uniform(0.2, 0.5)
        front = distance - slant * rng.uniform(0.4, 1.2)
        left, right = -wide * rng.uniform(0.8, 2.0), wide * rng.uniform(0.8, 2.0)
        top = ((left, front, -0.04 * slant), (right, end, 0.0))
        bodies = [slab(*top, times=times, size=1.0)]
        bodies.append(slab((-far, -far, floor - 0.1), (far, far, floor), times=times, size=1.0))
    else:
        floor = 0.0
        bodies = [slab((-far, -far, -0.1), (far, far, 0.0), times=times, size=1.0)]
    if walled:
        bodies += wall_across(draw, y=back, wide=far, low=floor, high=4.0 * slant)
    if draw.difficulty > 0.0:
        bodies += _pages(draw, distance=distance, slant=slant, wide=wide)

    def fits(actor: Actor) -> bool:
        return not walled or stays_before(actor, back)

    cast = Cast(camera, fits)
    hands = draw.movers and draw.difficulty > 0.0 and rng.random() < 0.45
    for _ in range(int(rng.integers(1, 3)) if hands else 0):
        palm = [rng.uniform(-0.5, 0.5) * wide, distance + rng.uniform(-0.3, 0.2) * slant]
        length = slant * rng.uniform(0.3, 0.5)
        cast.admit(
            random_arm(
                rng,
                tau=draw.tau,
                palm=np.array([*palm, rng.uniform(0.06, 0.2) * slant]),
                yaw_rad=rng.uniform(-1.2, 1.2) + np.pi * (rng.random() < 0.15),
                length=length,
                moving=True,
            )
        )
    count = int(rng.integers(2, 5)) if draw.difficulty == 0.0 else int(rng.integers(6, 20))
    movers = int(rng.integers(0 if hands and cast.actors else 1, 4)) if draw.movers else 0
    for index in range(count + movers):
        moves = index < movers
        cast.offer(
            partial(_thing, draw=draw, distance=distance, slant=slant, wide=wide, moves=moves)
        )
    return Setting(camera=camera, stage=lamp_lit_stage(bodies, back=back), actors=cast.actors)


def _pages(draw: Draw, *, distance: float, slant: float, wide: float) -> list[Body]:
    """Sheets of paper, with and without writing, that lie on the table one over the other."""
    rng, times, bodies = draw.rng, len(draw.tau), list[Body]()
    for k in range(int(rng.integers(0, 5))):
        half = slant * 0.09 * np.exp(rng.normal(size=2) * 0.35)
        x, y = rng.uniform(-0.9, 0.9) * wide, distance + slant * rng.uniform(-0.4, 0.4)
        bodies += lettered_sheet(
            rng,
            times=times,
            centre=(x, y, 0.003 * (k + 1)),
            axes=motion.turn_about_z(rng.normal() * 0.6),
            half=(half[0], half[1]),
            dress=2 * k,
        )
    return bodies


def _thing(
    shrink: float, *, draw: Draw, distance: float, slant: float, wide: float, moves: bool
) -> Actor:
    """A small thing that lies, stands or moves on the table."""
    rng, times = draw.rng, len(draw.tau)
    deep = rng.uniform(-0.5, 0.5)
    place = (rng.uniform(-1.0, 1.0) * wide * (1.0 + 0.5 * deep), distance + deep * slant)
    scale = 1.4 if draw.difficulty == 0.0 or moves else 1.0
    size = slant * scale * shrink * float(np.clip(np.exp(rng.normal(-2.4, 0.5)), 0.03, 0.25))
    kind = 0.0 if moves or draw.difficulty == 0.0 else rng.random()
    if moves and draw.difficulty > 0.3 and rng.random() < 0.12:
        reach = 0.2 * slant * shrink
        return random_animal(rng, tau=draw.tau, place=place, size=1.8 * size, reach=reach)
    if kind < 0.5:
        reach = slant * rng.uniform(0.06, 0.35) * shrink if moves else 0.0
        return [
            random_body(
                rng, tau=draw.tau, place=place, size=size, reach=reach,
                difficulty=draw.difficulty, detail=5,
            )
        ]  # fmt: skip
    if kind < 0.75:
        return random_stack(rng, times=times, place=place, size=1.3 * size)
    if kind < 0.82:
        return random_thin_furniture(rng, times=times, place=place, size=1.2 * size)
    # Screens and books stand upright, boards and keyboards lie.
    half = size * np.array([rng.uniform(0.7, 1.6), rng.uniform(0.06, 0.2), rng.uniform(0.5, 1.1)])
    if kind > 0.92:
        half = half[[0, 2, 1]]
    turn = motion.turn_about_z(rng.normal() * 0.5)
    mesh = shapes.placed(shapes.box_mesh(1), scale=half, centre=(0.0, 0.0, float(half[2])))
    vertices = mesh.vertices @ turn.T + np.array([*place, 0.0])
    return [still_body(mesh, vertices, times=times, size=2.0 * size)]


def random_portrait(draw: Draw) -> Setting:
    """A person, an animal, a cloth or some bodies that fill much of the image before a wall."""
    rng, times = draw.rng, len(draw.tau)
    focal = draw.focal()
    distance = rng.uniform(1.6, 3.2)
    chance = rng.random() if draw.difficulty > 0.0 else 1.0
    half_high, half_wide = 0.5 * distance / focal, 0.5 * draw.aspect * distance / focal
    if chance < 0.5:
        shown = rng.uniform(0.42, 1.15)
        tall = 2.0 * half_high / shown
        # Heads, which end a little above `tall`, are cut off less often than feet.
        aim = tall * max(0.52, 1.08 - 0.5 * shown * rng.uniform(0.8, 1.2))
    else:
        tall = min(half_high, half_wide) * rng.uniform(1.0, 1.7)
        aim = 0.5 * tall * rng.uniform(0.9, 1.3)
    # What is low is looked down at, or the ground before it would be much nearer.
    lowest = -6.0 if chance < 0.5 else 6.0
    height = aim + distance * float(np.tan(np.radians(lowest + rng.uniform(0.0, 26.0))))
    height = max(height, 0.25 * distance)
    camera = aimed(draw, focal=focal, height=height, aim=aim, distance=distance, travel=0.7)
    eyes = camera.stage_from_camera[:, :3, 3]
    room = 0.22 * tall if chance < 0.5 else 0.5 * tall
    back = max(distance * rng.uniform(1.15, 1.6), distance + room, eyes[:, 1].max() + 0.3)
    far = 30.0
    bodies = [slab((-far, -far, -0.5), (far, far, 0.0), times=times, size=1.0)]
    bodies += wall_across(draw, y=back, wide=far, low=0.0, high=4.0 * max(height, half_high))
    cast = Cast(camera, lambda actor: stays_before(actor, back))
    half = (half_wide, half_high)
    lead = partial(
        _lead, draw=draw, chance=chance, tall=tall, distance=distance, half_wide=half_wide
    )
    beside = partial(_beside, draw=draw, distance=distance, back=back, half=half)
    alone = not cast.offer(lead, attempts=10)
    for _ in range(int(rng.integers(2 if alone else 0, 4))):
        cast.offer(beside)
    return Setting(camera=camera, stage=lamp_lit_stage(bodies, back=back), actors=cast.actors)


def _lead(
    shrink: float, *, draw: Draw, chance: float, tall: float, distance: float, half_wide: float
) -> Actor:
    """Who fills the image: a person, an animal, a flag or a body, by `chance` in [0, 1]."""
    rng = draw.rng
    place = (rng.uniform(-0.35, 0.35) * half_wide, distance * rng.uniform(0.95, 1.05))
    reach = distance * rng.uniform(0.04, 0.3) * shrink if draw.movers else 0.0
    if chance < 0.5:
        return random_person(rng, tau=draw.tau, place=place, height=tall, reach=reach)
    if chance < 0.68:
        size = 1.5 * tall * shrink
        return random_animal(rng, tau=draw.tau, place=place, size=size, reach=reach)
    if chance < 0.78:
        return random_flag(
            rng, tau=draw.tau, place=place, size=1.2 * tall * shrink, moving=draw.movers
        )
    return [
        random_body(
            rng, tau=draw.tau, place=place, size=0.5 * tall * shrink, reach=reach,
            difficulty=draw.difficulty, detail=7,
        )
    ]  # fmt: skip


def _beside(
    shrink: float, *, draw: Draw, distance: float, back: float, half: tuple[float, float]
) -> Actor:
    """Furniture or a body beside or behind the lead; `half` is what is seen there, halved."""
    rng = draw.rng
    x = rng.uniform(-1.2, 1.2) * half[0]
    place = (x, rng.uniform(0.9 * distance, back))
    size = shrink * rng.uniform(0.3, 0.9) * half[1]
    if draw.difficulty > 0.0 and rng.random() < 0.6:
        return random_furniture(rng, times=len(draw.tau), place=place, size=1.5 * size)
    reach = size * rng.uniform(0.2, 1.0) if draw.movers and rng.random() < 0.5 else 0.0
    return [
        random_body(
            rng, tau=draw.tau, place=place, size=0.6 * size, reach=reach,
            difficulty=draw.difficulty, detail=6,
        )
    ]  # fmt: skip
