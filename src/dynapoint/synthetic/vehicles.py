"""Cars and vans, parked or driving, on wheels that turn."""

import numpy as np
from jaxtyping import Float

from . import motion, shapes
from .bodies import Body, bounded_body
from .shapes import Mesh

_AXLE = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # turns z into x


def _frustum(
    low: tuple[float, float, float], high: tuple[float, float, float], *, lean: float
) -> Mesh:
    """A box whose top is shorter along y by the share `lean`."""
    lower, upper = np.array(low), np.array(high)
    box = shapes.box_mesh(1)
    taper = np.where(box.vertices[:, 2:] > 0, np.array([1.0 - 0.4 * lean, 1.0 - lean, 1.0]), 1.0)
    return shapes.placed(
        Mesh(vertices=box.vertices * taper, faces=box.faces, face_group=box.face_group),
        scale=0.5 * (upper - lower),
        centre=0.5 * (upper + lower),
    )


def _body_and_glass(rng: np.random.Generator) -> tuple[Mesh, Mesh]:
    """Hull and cabin of a car of length 2 along y, and its windows just outside the cabin."""
    wide, floor = rng.uniform(0.36, 0.46), rng.uniform(0.1, 0.16)
    waist, roof = rng.uniform(0.4, 0.5), rng.uniform(0.62, 0.72)
    back, front = rng.uniform(-0.95, -0.6), rng.uniform(0.25, 0.5)
    lean = rng.uniform(0.2, 0.45)
    if rng.random() < 0.25:  # a van
        roof, back, front, lean = rng.uniform(0.8, 1.0), -0.97, 0.8, rng.uniform(0.03, 0.15)
    hull = _frustum((-wide, -1.0, floor), (wide, 1.0, waist), lean=rng.uniform(0.0, 0.08))
    cabin = _frustum((-wide, back, waist), (wide, front, roof), lean=lean)
    edge, middle = 0.015, 0.5 * (back + front)
    long = _frustum(
        (-wide - edge, middle + 0.82 * (back - middle), waist + 0.02),
        (wide + edge, middle + 0.82 * (front - middle), roof - 0.04),
        lean=lean,
    )
    across = _frustum(
        (-0.8 * wide, back - edge, waist + 0.02), (0.8 * wide, front + edge, roof - 0.04), lean=lean
    )
    return shapes.join_meshes([hull, cabin]), shapes.join_meshes([long, across])


def random_car(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    length: float,
    heading_rad: float,
    reach: float,
) -> list[Body]:
    """A car over `place` in frame 0 that drives `reach` along its heading (0 looks along +y)."""
    half, moving = 0.5 * length, reach > 0.0
    turn = motion.turn_about_z(heading_rad)
    driven = reach * motion.ease(rng, tau) if moving else 0.0 * tau
    shift = np.array([*place, 0.0]) + driven[:, None] * turn[:, 1]
    bodies = []
    for dress, part in enumerate(_body_and_glass(rng)):
        mesh = shapes.placed(part, scale=half)
        local = np.broadcast_to(mesh.vertices @ turn.T, (len(tau), *mesh.vertices.shape))
        bodies.append(_carried(mesh, local, shift, size=length, moving=moving, dress=dress))
    radius, wide = rng.uniform(0.15, 0.19) * half, 0.07 * half
    wheel = shapes.placed(
        shapes.cylinder_mesh(14), scale=np.array([radius, radius, wide]), rotation=_AXLE
    )
    # A wheel that rolls forwards turns about −x.
    spin = motion.axis_angle_rotations(np.array([-1.0, 0.0, 0.0]), driven / radius)
    rolled = wheel.vertices @ spin.transpose(0, 2, 1) @ turn.T
    for x in (-0.4, 0.4):
        for y in (-0.62, 0.6):
            hub = turn @ np.array([x * half, y * half, radius])
            bodies.append(_carried(wheel, rolled, shift + hub, size=radius, moving=moving, dress=2))
    return bodies


def _carried(
    mesh: Mesh,
    local: Float[np.ndarray, "time vertex xyz=3"],
    shift: Float[np.ndarray, "time xyz=3"],
    *,
    size: float,
    moving: bool,
    dress: int,
) -> Body:
    """A part of a car, moved by a shift per time."""
    return bounded_body(
        positions=local + shift[:, None],
        texture=mesh.vertices,
        mesh=mesh,
        size=size,
        moving=moving,
        dress=dress,
    )
