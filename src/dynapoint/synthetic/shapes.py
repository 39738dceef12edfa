"""Closed triangle meshes of unit size: the vocabulary of bodies from which scenes are made.

All shapes are wound outward (counter-clockwise from outside in right-handed axes), stand along +z
and fit roughly into the unit ball. Smooth parts share vertices and sharp edges do not, so that
vertex normals averaged over faces give smooth and flat shading alike.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int32


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles with a shading group per face.

    Faces of one group belong to one smooth piece of surface: colour changes little across their
    shared edges, so the renderer need not antialias there.
    """

    vertices: Float[np.ndarray, "vertex xyz=3"]
    faces: Int32[np.ndarray, "face corner=3"]
    face_group: Int32[np.ndarray, " face"]


def join_meshes(parts: list[Mesh]) -> Mesh:
    """One mesh that holds all parts, with their groups kept apart."""
    vertex_start = np.cumsum([0] + [len(part.vertices) for part in parts])
    group_start = np.cumsum([0] + [int(part.face_group.max()) + 1 for part in parts])
    return Mesh(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate(
            [p.faces + s for p, s in zip(parts, vertex_start, strict=False)]
        ).astype(np.int32),
        face_group=np.concatenate(
            [p.face_group + s for p, s in zip(parts, group_start, strict=False)]
        ).astype(np.int32),
    )


def flatten_shading(mesh: Mesh) -> Mesh:
    """The same surface with every triangle shaded flat: corners unshared, one group per face."""
    corners = mesh.vertices[mesh.faces.reshape(-1)]
    count = len(mesh.faces)
    return Mesh(
        vertices=corners,
        faces=np.arange(3 * count, dtype=np.int32).reshape(count, 3),
        face_group=np.arange(count, dtype=np.int32),
    )


def _grid_faces(rows: int, columns: int) -> Int32[np.ndarray, "face corner=3"]:
    """Two triangles per cell of a (rows, columns) vertex grid, wound from column to row."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)


def _weld(mesh: Mesh) -> Mesh:
    """Merge equal vertices and drop triangles that lost their area."""
    rounded = np.round(mesh.vertices, 6)
    _, first, inverse = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces].astype(np.int32)
    keep = (
        (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    )
    return Mesh(vertices=mesh.vertices[first], faces=faces[keep], face_group=mesh.face_group[keep])


@lru_cache(maxsize=64)
def box_mesh(cells: int = 1) -> Mesh:
    """The cube [-1, 1]³ with `cells`² cells on each of its six sides, sharp at the edges."""
    ticks = np.linspace(-1.0, 1.0, cells + 1)
    v, u = np.meshgrid(ticks, ticks, indexing="ij")
    one = np.ones_like(u)
    sides = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = np.empty((*u.shape, 3))
            side[..., axis] = sign * one
            side[..., (axis + 1) % 3] = u * sign
            side[..., (axis + 2) % 3] = v
            faces = _grid_faces(cells + 1, cells + 1)
            sides.append(
                Mesh(
                    vertices=side.reshape(-1, 3),
                    faces=faces,
                    face_group=np.zeros(len(faces), np.int32),
                )
            )
    return join_meshes(sides)


def block_mesh(low: tuple[float, float, float], high: tuple[float, float, float]) -> Mesh:
    """The axis-aligned box between two corners."""
    lower, upper = np.array(low), np.array(high)
    return placed(box_mesh(1), scale=0.5 * (upper - lower), centre=0.5 * (upper + lower))


@lru_cache(maxsize=64)
def sphere_mesh(cells: int = 6) -> Mesh:
    """The unit sphere as an inflated cube of 12·cells² triangles, smooth."""
    cube = box_mesh(cells)
    # Equal angles along the cube's sides make triangles of nearly equal size on the sphere.
    stretched = np.tan(cube.vertices * (np.pi / 4))
    sphere = stretched / np.linalg.norm(stretched, axis=1, keepdims=True)
    welded = _weld(Mesh(vertices=sphere, faces=cube.faces, face_group=cube.face_group * 0))
    return welded


def superquadric_mesh(cells: int, roundness: float) -> Mesh:
    """A shape between a rounded cube (`roundness` 0) and the unit sphere (1), smooth."""
    sphere = sphere_mesh(cells)
    power = 2.0 + 6.0 * (1.0 - roundness)
    radius = (np.abs(sphere.vertices) ** power).sum(1, keepdims=True) ** (-1.0 / power)
    return Mesh(vertices=sphere.vertices * radius, faces=sphere.faces, face_group=sphere.face_group)


@lru_cache(maxsize=256)
def lathe_mesh(profile: tuple[tuple[tuple[float, float], ...], ...], segments: int) -> Mesh:
    """Turn a profile about z: `profile` holds smooth pieces of (radius, z), sharp where they meet.

    Pieces run from the bottom (-z) to the top; the surface is closed if the profile begins and ends
    on the axis or on itself.
    """
    angle = np.linspace(0.0, 2.0 * np.pi, segments + 1)
    angle[-1] = 0.0
    pieces = []
    for piece in profile:
        line = np.asarray(piece, np.float64)
        ring = np.stack(
            [
                line[:, :1] * np.cos(angle),
                line[:, :1] * np.sin(angle),
                np.repeat(line[:, 1:], segments + 1, 1),
            ],
            -1,
        )
        faces = _grid_faces(len(line), segments + 1)
        strip = Mesh(
            vertices=ring.reshape(-1, 3), faces=faces, face_group=np.zeros(len(faces), np.int32)
        )
        pieces.append(_weld(strip))
    return join_meshes(pieces)


def _arc(
    centre: tuple[float, float], radius: float, start: float, stop: float, count: int
) -> tuple[tuple[float, float], ...]:
    """Points of (radius, z) on a circular arc; angles in radians from the +radius direction."""
    angles = np.linspace(start, stop, count)
    points = [
        (centre[0] + radius * float(np.cos(a)), centre[1] + radius * float(np.sin(a)))
        for a in angles
    ]
    return tuple((0.0 if abs(r) < 1e-9 else r, z) for r, z in points)


def cylinder_mesh(segments: int = 20, rings: int = 1, top: float = 1.0) -> Mesh:
    """A cylinder of radius 1 and height 2, or a frustum with `top` as its upper radius."""
    side = tuple((1.0 + (top - 1.0) * k / rings, -1.0 + 2.0 * k / rings) for k in range(rings + 1))
    cap = ((top, 1.0), (0.0, 1.0))
    return lathe_mesh((((0.0, -1.0), (1.0, -1.0)), side, cap), segments)


def cone_mesh(segments: int = 20, rings: int = 3) -> Mesh:
    """A cone of radius 1 and height 2 with its apex at z = 1."""
    side = tuple((1.0 - k / rings, -1.0 + 2.0 * k / rings) for k in range(rings + 1))
    return lathe_mesh((((0.0, -1.0), (1.0, -1.0)), side), segments)


def torus_mesh(tube: float = 0.35, segments: int = 24, tube_segments: int = 12) -> Mesh:
    """A torus about z with outer radius 1 and tube radius `tube` / (1 + `tube`)."""
    ring = 1.0 / (1.0 + tube)
    profile = _arc((ring, 0.0), ring * tube, 0.0, 2.0 * np.pi, tube_segments + 1)
    mesh = lathe_mesh(((*profile[:-1], profile[0]),), segments)
    return mesh


def capsule_mesh(half_length: float, segments: int = 10, cap_rings: int = 3) -> Mesh:
    """A capsule about z: unit radius, its core from -`half_length` to +`half_length`."""
    bottom = _arc((0.0, -half_length), 1.0, -np.pi / 2, 0.0, cap_rings + 1)
    top = _arc((0.0, half_length), 1.0, 0.0, np.pi / 2, cap_rings + 1)
    return lathe_mesh(((*bottom, *top),), segments)


def vase_mesh(rng: np.random.Generator, segments: int = 20) -> Mesh:
    """A smooth solid of revolution with a random waist."""
    heights = np.linspace(-1.0, 1.0, 9)
    waves = rng.uniform(-0.35, 0.35, 3)
    radius = 0.65 + sum(w * np.sin((k + 1) * 1.4 * heights + 2 * k) for k, w in enumerate(waves))
    radius = np.clip(radius, 0.2, 1.0)
    side = tuple((float(r), float(z)) for r, z in zip(radius, heights, strict=True))
    bottom, top = ((0.0, -1.0), side[0]), (side[-1], (0.0, 1.0))
    # A random profile would only fill the cache, so it is built without it.
    return lathe_mesh.__wrapped__((bottom, side, top), segments)


def blob_mesh(rng: np.random.Generator, cells: int = 7, amount: float = 0.35) -> Mesh:
    """A lumpy smooth ball: the sphere's radius modulated by a few random waves of direction."""
    sphere = sphere_mesh(cells)
    waves = rng.normal(size=(6, 3)) * rng.uniform(1.5, 4.0, (6, 1))
    phase = rng.uniform(0.0, 2.0 * np.pi, 6)
    bump = np.sin(sphere.vertices @ waves.T + phase) @ (rng.uniform(0.3, 1.0, 6) / 3.0)
    radius = np.maximum(1.0 + amount * bump, 0.3)
    vertices = sphere.vertices * radius[:, None]
    vertices /= np.linalg.norm(vertices, axis=1).max()
    return Mesh(vertices=vertices, faces=sphere.faces, face_group=sphere.face_group)


def prism_mesh(sides: int, top: float = 1.0) -> Mesh:
    """A prism (or, with `top` below 1, a truncated pyramid) over a regular polygon, flat-shaded."""
    return flatten_shading(cylinder_mesh(segments=sides, top=max(top, 1e-3)))


def stairs_mesh(steps: int) -> Mesh:
    """A flight of boxes along x that rises in z, inside [-1, 1]³."""
    parts = []
    for k in range(steps):
        height = 2.0 * (k + 1) / steps
        scale = np.array([1.0 / steps, 1.0, height / 2.0])
        centre = np.array([-1.0 + (2 * k + 1) / steps, 0.0, -1.0 + height / 2.0])
        box = box_mesh(1)
        parts.append(
            Mesh(vertices=box.vertices * scale + centre, faces=box.faces, face_group=box.face_group)
        )
    return join_meshes(parts)


def placed(
    mesh: Mesh,
    *,
    scale: Float[np.ndarray, " xyz=3"] | float = 1.0,
    rotation: Float[np.ndarray, "3 3"] | None = None,
    centre: Float[np.ndarray, " xyz=3"] | tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Mesh:
    """The mesh scaled, rotated and moved, in this order."""
    vertices = mesh.vertices * scale
    if rotation is not None:
        vertices = vertices @ rotation.T
    return Mesh(
        vertices=vertices + np.asarray(centre), faces=mesh.faces, face_group=mesh.face_group
    )
