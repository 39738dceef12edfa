"""Thin still things: posts, fences, grates, wheels, ladders, plants and bare trees."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from . import motion, shapes
from .shapes import Mesh


def _rod(
    start: Float[np.ndarray, " xyz=3"],
    end: Float[np.ndarray, " xyz=3"],
    radius: float,
    *,
    taper: float = 1.0,
    segments: int = 6,
) -> Mesh:
    """A straight rod between two points, `taper` times as thick at its end."""
    along = np.asarray(end, np.float64) - np.asarray(start, np.float64)
    length = float(np.linalg.norm(along))
    z = along / length
    helper = np.eye(3)[np.argmin(np.abs(z))]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return shapes.placed(
        shapes.cylinder_mesh(segments, 1, taper),
        scale=np.array([radius, radius, 0.5 * length]),
        rotation=np.stack([x, np.cross(z, x), z], 1),
        centre=0.5 * (np.asarray(start) + np.asarray(end)),
    )


def _post(rng: np.random.Generator) -> Mesh:
    """One or two posts, sometimes with an arm or a sign."""
    high, thick = rng.uniform(1.0, 2.2), rng.uniform(0.02, 0.06)
    parts = [_rod(np.zeros(3), np.array([0.0, 0.0, high]), thick, segments=8)]
    if rng.random() < 0.5:
        reach = rng.uniform(0.2, 0.7)
        arm = np.array([reach, 0.0, high * rng.uniform(0.6, 1.0)])
        parts.append(_rod(arm * [0.0, 0.0, 1.0], arm, 0.7 * thick))
        if rng.random() < 0.5:
            parts.append(shapes.placed(shapes.box_mesh(1), scale=np.array([0.2, 0.02, 0.15]),
                                       centre=tuple(arm)))  # fmt: skip
    return shapes.join_meshes(parts)


def _bars(rng: np.random.Generator) -> Mesh:
    """A fence, grate or ladder: rods side by side between two rails."""
    wide, high = rng.uniform(0.4, 1.6), rng.uniform(0.5, 1.6)
    count = int(rng.integers(4, 10))
    thick = rng.uniform(0.012, 0.04)
    upright = rng.random() < 0.7
    parts = []
    for share in np.linspace(-1.0, 1.0, count):
        if upright:
            ends = np.array([[share * wide, 0.0, 0.0], [share * wide, 0.0, high]])
        else:
            level = 0.5 * high * (1.0 + share)
            ends = np.array([[-wide, 0.0, level], [wide, 0.0, level]])
        parts.append(_rod(ends[0], ends[1], thick, segments=5))
    for share in (0.1, 0.9):
        if upright:
            ends = np.array([[-wide, 0.0, share * high], [wide, 0.0, share * high]])
        else:
            x = wide * np.sign(share - 0.5)
            ends = np.array([[x, 0.0, 0.0], [x, 0.0, high]])
        parts.append(_rod(ends[0], ends[1], 1.5 * thick, segments=5))
    return shapes.join_meshes(parts)


def _wheel(rng: np.random.Generator) -> Mesh:
    """A standing wheel with spokes."""
    spokes = int(rng.integers(3, 9))
    rim = shapes.torus_mesh(float(rng.choice([0.06, 0.1, 0.16])), 20, 6)
    hub = shapes.placed(shapes.cylinder_mesh(8), scale=np.array([0.12, 0.12, 0.1]))
    parts = [rim, hub]
    for k in range(spokes):
        angle = 2.0 * np.pi * k / spokes
        end = 0.92 * np.array([np.cos(angle), np.sin(angle), 0.0])
        parts.append(_rod(np.zeros(3), end, 0.025, segments=5))
    standing = motion.axis_angle_rotations(np.array([1.0, 0.0, 0.0]), np.array([np.pi / 2]))[0]
    return shapes.placed(
        shapes.join_meshes(parts), scale=0.6, rotation=standing, centre=(0.0, 0.0, 0.6)
    )


def _plant(rng: np.random.Generator) -> Mesh:
    """Blades or stalks that lean outwards from one foot."""
    parts = []
    for _ in range(int(rng.integers(6, 16))):
        angle = rng.uniform(0.0, 2.0 * np.pi)
        lean, high = rng.uniform(0.05, 0.9), rng.uniform(0.5, 1.2)
        foot = np.array([np.cos(angle), np.sin(angle), 0.0]) * rng.uniform(0.0, 0.12)
        tip = foot + high * np.array([lean * np.cos(angle), lean * np.sin(angle), 1.0])
        parts.append(_rod(foot, tip, rng.uniform(0.015, 0.05), taper=0.15, segments=5))
    return shapes.join_meshes(parts)


def _bare_tree(rng: np.random.Generator) -> Mesh:
    """A trunk that forks twice into thinner branches."""
    top = np.array([0.1 * rng.normal(), 0.1 * rng.normal(), rng.uniform(0.6, 1.0)])
    parts = [_rod(np.zeros(3), top, 0.07, taper=0.7, segments=7)]
    for _ in range(int(rng.integers(2, 5))):
        start = top * rng.uniform(0.6, 1.0)
        bough = start + np.array([*(0.45 * rng.normal(size=2)), rng.uniform(0.25, 0.6)])
        parts.append(_rod(start, bough, 0.04, taper=0.6))
        for _ in range(int(rng.integers(1, 4))):
            fork = start + (bough - start) * rng.uniform(0.4, 1.0)
            twig = fork + np.array([*(0.3 * rng.normal(size=2)), rng.uniform(0.05, 0.4)])
            parts.append(_rod(fork, twig, 0.02, taper=0.4, segments=5))
    return shapes.join_meshes(parts)


_MAKERS: tuple[Callable[[np.random.Generator], Mesh], ...] = (
    _post, _bars, _bars, _wheel, _plant, _plant, _bare_tree,
)  # fmt: skip


def random_thin_thing(rng: np.random.Generator) -> Mesh:
    """One of them, standing on z = 0, about one to two units high."""
    mesh = _MAKERS[rng.integers(len(_MAKERS))](rng)
    low = float(mesh.vertices[:, 2].min())
    return shapes.placed(mesh, centre=(0.0, 0.0, -low))
