"""Still clutter: furniture, stacks, trees, thin things and what stands on tables."""

import numpy as np

from . import motion, shapes
from .bodies import Body, bounded_body, still_body
from .shapes import Mesh, block_mesh
from .thin_things import random_thin_thing


def _table(rng: np.random.Generator) -> tuple[Mesh, float]:
    """A table of unit height over [-a, a] × [-b, b]; returns it with the height of its top."""
    a, b = rng.uniform(0.6, 1.2), rng.uniform(0.4, 0.8)
    leg, thick = rng.uniform(0.04, 0.1), rng.uniform(0.04, 0.12)
    parts = [block_mesh((-a, -b, 1.0 - thick), (a, b, 1.0))]
    for x in (-a, a - leg):
        for y in (-b, b - leg):
            parts.append(block_mesh((x, y, 0.0), (x + leg, y + leg, 1.0 - thick)))
    return shapes.join_meshes(parts), 1.0


def _chair(rng: np.random.Generator) -> Mesh:
    w, seat = rng.uniform(0.35, 0.5), rng.uniform(0.4, 0.55)
    leg = 0.05
    parts = [
        block_mesh((-w, -w, seat), (w, w, seat + 0.07)),
        block_mesh((-w, w - 0.07, seat + 0.07), (w, w, rng.uniform(0.9, 1.3))),
    ]
    for x in (-w, w - leg):
        for y in (-w, w - leg):
            parts.append(block_mesh((x, y, 0.0), (x + leg, y + leg, seat)))
    return shapes.join_meshes(parts)


def _sofa(rng: np.random.Generator) -> Mesh:
    w, d = rng.uniform(0.8, 1.4), 0.5
    return shapes.join_meshes(
        [
            block_mesh((-w, -d, 0.0), (w, d, 0.45)),
            block_mesh((-w, d - 0.2, 0.45), (w, d, 1.0)),
            block_mesh((-w - 0.18, -d, 0.0), (-w, d, 0.7)),
            block_mesh((w, -d, 0.0), (w + 0.18, d, 0.7)),
        ]
    )


def _shelf(rng: np.random.Generator) -> Mesh:
    w, d, high = rng.uniform(0.5, 0.9), rng.uniform(0.15, 0.3), rng.uniform(1.2, 2.2)
    boards = int(rng.integers(3, 6))
    parts = [
        block_mesh((-w, -d, 0.0), (-w + 0.05, d, high)),
        block_mesh((w - 0.05, -d, 0.0), (w, d, high)),
        block_mesh((-w + 0.05, d - 0.03, 0.0), (w - 0.05, d, high)),
    ]
    for z in np.linspace(0.03, high - 0.05, boards):
        parts.append(block_mesh((-w + 0.05, -d, float(z)), (w - 0.05, d - 0.03, float(z) + 0.04)))
    return shapes.join_meshes(parts)


def _lamp(rng: np.random.Generator) -> Mesh:
    high = rng.uniform(1.2, 2.0)
    shade = shapes.cylinder_mesh(14, 1, 0.6)
    return shapes.join_meshes(
        [
            shapes.placed(shapes.cylinder_mesh(12), scale=np.array([0.25, 0.25, 0.03]),
                          centre=(0.0, 0.0, 0.03)),
            shapes.placed(shapes.cylinder_mesh(8), scale=np.array([0.03, 0.03, 0.5 * high]),
                          centre=(0.0, 0.0, 0.5 * high)),
            shapes.placed(shade, scale=np.array([0.3, 0.3, 0.2]), centre=(0.0, 0.0, high)),
        ]
    )  # fmt: skip


def _tree(rng: np.random.Generator) -> tuple[Mesh, Mesh]:
    """Trunk and crown, apart because they wear different materials."""
    high = rng.uniform(0.6, 1.2)
    trunk = shapes.placed(
        shapes.cylinder_mesh(8, 1, 0.7),
        scale=np.array([0.1, 0.1, 0.5 * high]),
        centre=(0.0, 0.0, 0.5 * high),
    )
    wide = rng.uniform(0.4, 0.7)
    crowns = []
    for k in range(int(rng.integers(1, 4))):
        if rng.random() < 0.4:
            base, low = shapes.cone_mesh(12), high + 0.35 * k
            scale = np.array([wide, wide, 0.5]) * (1.0 - 0.2 * k)
        else:
            base, low = shapes.blob_mesh(rng, 4, 0.4), high + 0.2 * k
            scale = np.full(3, wide) * rng.uniform(0.6, 1.0)
        centre = (*(0.2 * rng.normal(size=2)), low + 0.5 * scale[2])
        crowns.append(shapes.placed(base, scale=scale, centre=centre))
    return trunk, shapes.join_meshes(crowns)


def _still(
    mesh: Mesh, *, place: tuple[float, float], turn: np.ndarray, times: int, size: float,
    dress: int = 0, base: float = 0.0,
) -> Body:  # fmt: skip
    """A mesh that stands still, its z = 0 at height `base`."""
    vertices = mesh.vertices @ turn.T + np.array([*place, base])
    return still_body(mesh, vertices, times=times, size=size, dress=dress)


def random_furniture(
    rng: np.random.Generator, *, times: int, place: tuple[float, float], size: float
) -> list[Body]:
    """A table (with things on it), chair, sofa, shelf, lamp or tree about `size` high."""
    turn = motion.turn_about_z(rng.uniform(0.0, 6.3))
    kind = rng.integers(7)
    if kind <= 1:
        mesh, top = _table(rng)
        mesh = shapes.placed(mesh, scale=size)
        bodies = [_still(mesh, place=place, turn=turn, times=times, size=size)]
        reach = 0.7 * np.abs(mesh.vertices[:, :2]).max(0)
        for k in range(int(rng.integers(0, 4))):
            spot = turn[:2, :2] @ rng.uniform(-reach, reach)
            on_top = (place[0] + spot[0], place[1] + spot[1])
            bodies += _pile(rng, times=times, place=on_top, size=0.22 * size, base=top * size,
                            count=1, first_dress=k + 1)  # fmt: skip
        return bodies
    if kind == 6:
        trunk, crown = (shapes.placed(part, scale=0.7 * size) for part in _tree(rng))
        return [
            _still(part, place=place, turn=turn, times=times, size=size, dress=k)
            for k, part in enumerate((trunk, crown))
        ]
    mesh = (_chair, _sofa, _shelf, _lamp)[kind - 2](rng)
    mesh = shapes.placed(mesh, scale=0.8 * size)
    return [_still(mesh, place=place, turn=turn, times=times, size=size)]


def chair(
    rng: np.random.Generator,
    *,
    times: int,
    place: tuple[float, float],
    size: float,
    turn_rad: float,
) -> list[Body]:
    """A chair whose seat is about half of `size` high; its back is towards +y before it turns."""
    mesh = shapes.placed(_chair(rng), scale=size)
    turn = motion.turn_about_z(turn_rad)
    return [_still(mesh, place=place, turn=turn, times=times, size=size)]


def _pile(
    rng: np.random.Generator,
    *,
    times: int,
    place: tuple[float, float],
    size: float,
    base: float,
    count: int,
    first_dress: int = 0,
) -> list[Body]:
    """Boxes, cylinders and a ball or cone on top, one upon the other."""
    bodies, top = [], base
    for k in range(count):
        wide = size * rng.uniform(0.5, 1.0) * 0.9**k
        scale = np.array([wide, wide * rng.uniform(0.6, 1.0), size * rng.uniform(0.2, 0.7)])
        last = k == count - 1
        choices = [shapes.box_mesh(1), shapes.cylinder_mesh(16), shapes.box_mesh(1)]
        if last:
            choices += [shapes.sphere_mesh(5), shapes.cone_mesh(16), shapes.vase_mesh(rng, 14)]
        mesh = shapes.placed(choices[rng.integers(len(choices))], scale=scale)
        mesh = shapes.placed(mesh, centre=(0.0, 0.0, float(scale[2])))
        shift = 0.15 * wide * rng.uniform(-1.0, 1.0, 2)
        spot = (place[0] + float(shift[0]), place[1] + float(shift[1]))
        turn = motion.turn_about_z(rng.uniform(0.0, 6.3))
        bodies.append(
            _still(mesh, place=spot, turn=turn, times=times, size=2 * wide,
                   dress=first_dress + k, base=top)
        )  # fmt: skip
        top += 2.0 * float(scale[2])
    return bodies


def random_stack(
    rng: np.random.Generator, *, times: int, place: tuple[float, float], size: float
) -> list[Body]:
    """Two to five things stacked on the ground."""
    return _pile(
        rng, times=times, place=place, size=0.6 * size, base=0.0, count=int(rng.integers(2, 6))
    )


def random_thin_furniture(
    rng: np.random.Generator, *, times: int, place: tuple[float, float], size: float
) -> list[Body]:
    """A post, fence, wheel, plant or bare tree, up to about twice `size` high."""
    mesh = shapes.placed(random_thin_thing(rng), scale=size)
    turn = motion.turn_about_z(rng.uniform(0.0, 6.3))
    return [_still(mesh, place=place, turn=turn, times=times, size=size)]


def random_flag(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    size: float,
    moving: bool,
) -> list[Body]:
    """A cloth that waves on a pole, made as a thin closed slab."""
    pole_high = size * rng.uniform(1.0, 1.6)
    pole = shapes.placed(
        shapes.cylinder_mesh(8),
        scale=np.array([0.03 * size, 0.03 * size, 0.5 * pole_high]),
        centre=(0.0, 0.0, 0.5 * pole_high),
    )
    slab = shapes.box_mesh(8)
    # Only the two large sides need cells; the rim is thin.
    cloth = slab.vertices * np.array([1.0, 1.0, 0.02])
    phases = (tau if moving else 0.0 * tau) * rng.uniform(3.0, 8.0) + rng.uniform(0.0, 6.3)
    waved = motion.wave(cloth, phases, float(rng.uniform(0.1, 0.3)), float(rng.uniform(2.0, 5.0)))
    wide, high = 0.6 * size, 0.35 * size
    scale = np.array([wide, high, wide])
    # The slab's plane stands upright: its y becomes the stage's z.
    upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    shift = np.array([wide + 0.02 * size, 0.0, pole_high - high])
    turn = motion.turn_about_z(rng.uniform(0.0, 6.3))
    origin = np.array([*place, 0.0])
    positions = ((waved * scale) @ upright.T + shift) @ turn.T + origin
    flag = bounded_body(
        positions=positions,
        texture=cloth * scale,
        mesh=slab,
        size=size,
        moving=moving,
        dress=1,
    )
    return [_still(pole, place=place, turn=turn, times=len(tau), size=size), flag]
