"""Bodies: a shape, a motion and a deformation, made into vertex positions for every time."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from . import motion, shapes
from .shapes import Mesh


@dataclass(frozen=True, kw_only=True)
class Body:
    """A body of the scene: vertices at every time (stage axes, z up) and its texture coordinates.

    A sphere of `radius` about `centre` holds it at every time. Bodies of one actor with the same
    `dress` wear the same material; `size` sets the scale of its texture.
    """

    positions: Float[np.ndarray, "time vertex xyz=3"]
    texture: Float[np.ndarray, "vertex xyz=3"]
    mesh: Mesh
    size: float
    moving: bool
    centre: Float[np.ndarray, "time xyz=3"]
    radius: float
    dress: int = 0

    def shifted(self, shift: Float[np.ndarray, "time xyz=3"]) -> "Body":
        """The body moved by an offset per time."""
        return replace(self, positions=self.positions + shift[:, None], centre=self.centre + shift)


def bounded_body(
    *,
    positions: Float[np.ndarray, "time vertex xyz=3"],
    texture: Float[np.ndarray, "vertex xyz=3"],
    mesh: Mesh,
    size: float,
    moving: bool,
    dress: int = 0,
) -> Body:
    """A Body with the sphere about its vertices' mean worked out."""
    centre = positions.sum(1) / positions.shape[1]
    offset = positions[0] - centre[0]
    reach = float(np.sqrt(np.einsum("vi,vi->v", offset, offset).max()))
    return Body(
        positions=positions,
        texture=texture,
        mesh=mesh,
        size=size,
        moving=moving,
        centre=centre,
        radius=reach,
        dress=dress,
    )


def still_body(
    mesh: Mesh,
    vertices: Float[np.ndarray, "vertex xyz=3"] | None = None,
    *,
    times: int,
    size: float,
    dress: int = 0,
) -> Body:
    """A body that never moves: a mesh where its `vertices` are, which are its own or are given."""
    placed = mesh.vertices if vertices is None else vertices
    return bounded_body(
        positions=np.broadcast_to(placed, (times, *placed.shape)),
        texture=mesh.vertices,
        mesh=mesh,
        size=size,
        moving=False,
        dress=dress,
    )


def random_shape(
    rng: np.random.Generator, *, difficulty: float, detail: int, supple: bool = False
) -> Mesh:
    """A random closed shape of about unit radius; simple scenes hold ellipsoids and boxes only.

    The straight sides of a `supple` one have vertices enough to be bent.
    """
    cells = 5 if supple else 1
    if rng.random() >= max(difficulty, 0.0) * 0.9 + 0.05:
        if rng.random() < 0.55:
            return shapes.sphere_mesh(detail)
        return shapes.placed(shapes.box_mesh(cells), scale=0.72)
    segments = int(rng.integers(14, 24))
    pick = rng.choice
    makers: list[Callable[[], Mesh]] = [
        lambda: shapes.cylinder_mesh(segments, cells, float(pick([1.0, 1.0, 0.6, 0.8]))),
        lambda: shapes.cone_mesh(segments, 3 + cells // 2),
        lambda: shapes.torus_mesh(float(pick([0.2, 0.35, 0.5]))),
        lambda: shapes.blob_mesh(rng, detail + 1, float(rng.uniform(0.2, 0.6))),
        lambda: shapes.blob_mesh(rng, detail + 1, float(rng.uniform(0.2, 0.6))),
        lambda: shapes.flatten_shading(shapes.sphere_mesh(int(rng.integers(2, 4)))),
        lambda: shapes.superquadric_mesh(detail, float(rng.uniform(0.0, 0.8))),
        lambda: shapes.capsule_mesh(float(pick([0.5, 1.0, 2.0])), segments),
        lambda: shapes.vase_mesh(rng, segments),
        lambda: shapes.prism_mesh(int(rng.integers(3, 8)), float(pick([0.01, 0.5, 1.0]))),
        lambda: shapes.flatten_shading(shapes.blob_mesh(rng, 3, float(rng.uniform(0.3, 0.6)))),
        lambda: shapes.stairs_mesh(int(rng.integers(2, 5))),
        lambda: _compound(rng, detail),
        lambda: _compound(rng, detail),
    ]
    return makers[rng.integers(len(makers))]()


def _compound(rng: np.random.Generator, detail: int) -> Mesh:
    """A few simple shapes grown together."""
    parts = []
    for _ in range(int(rng.integers(2, 5))):
        base = [
            shapes.sphere_mesh(max(detail - 2, 3)),
            shapes.box_mesh(1),
            shapes.cone_mesh(14),
            shapes.cylinder_mesh(14),
        ][rng.integers(4)]
        parts.append(
            shapes.placed(
                base,
                scale=rng.uniform(0.2, 0.5, 3),
                rotation=motion.random_rotation(rng),
                centre=rng.uniform(-0.4, 0.4, 3),
            )
        )
    return shapes.join_meshes(parts)


def deformed(
    rng: np.random.Generator, vertices: Float[np.ndarray, "vertex xyz=3"], tau: np.ndarray
) -> Float[np.ndarray, "time vertex xyz=3"]:
    """The unit shape bent, twisted, squashed, waving, wobbling or swelling over time."""
    kind = rng.integers(6)
    phase = rng.uniform(0.0, 2.0 * np.pi)
    swing = np.sin(rng.uniform(1.5, 6.0) * tau + phase)
    if kind == 0:
        return motion.bend(vertices, rng.uniform(0.5, 1.6) * swing)
    if kind == 1:
        return motion.twist(vertices, rng.uniform(0.8, 2.5) * swing)
    if kind == 2:
        return motion.squash(vertices, rng.uniform(0.2, 0.5) * swing)
    if kind == 3:
        return motion.wave(
            vertices, rng.uniform(2.0, 7.0) * tau + phase,
            rng.uniform(0.15, 0.4), rng.uniform(1.5, 4.0),
        )  # fmt: skip
    if kind == 4:
        directions = rng.normal(size=(3, 3)) * rng.uniform(1.0, 2.5)
        phases = rng.uniform(0.0, 6.3, 3) + tau[:, None] * rng.uniform(-6.0, 6.0, 3)
        # A wave folds nothing as long as its steepness stays below 1.
        amounts = rng.normal(size=(3, 3)) * 0.25 / np.linalg.norm(directions, axis=1)[:, None]
        return motion.wobble(vertices, phases, directions, amounts)
    places = vertices[rng.integers(len(vertices), size=3)]
    strengths = rng.uniform(-0.5, 0.9, 3) * np.sin(
        rng.uniform(0.0, 6.3, 3) + tau[:, None] * rng.uniform(1.5, 6.0, 3)
    )
    return motion.swell(vertices, rng.uniform(0.0, 0.9) * places, strengths)


def moving_path(
    rng: np.random.Generator, tau: np.ndarray, *, reach: float
) -> tuple[np.ndarray, np.ndarray, str]:
    """Ground offsets (time, 2), heights (time,) and the kind of a random motion."""
    kind = str(rng.choice(["slide", "roll", "throw", "float", "curve", "tumble"]))
    heading = rng.uniform(0.0, 2.0 * np.pi)
    direction = np.array([np.cos(heading), np.sin(heading)])
    progress = motion.ease(rng, tau)
    offsets = reach * progress[:, None] * direction
    heights = np.zeros(len(tau))
    if kind == "curve":
        bow = rng.uniform(-2.5, 2.5) * tau
        step = reach * np.stack([np.cos(heading + bow), np.sin(heading + bow)], 1) / len(tau)
        offsets = np.concatenate([np.zeros((1, 2)), step[:-1].cumsum(0)])
    elif kind == "throw":
        heights = motion.ballistic_heights(rng, tau, rng.uniform(0.4, 1.4))
    elif kind in ("float", "tumble"):
        lift = motion.smooth_wander(rng, tau)
        heights = np.maximum(rng.uniform(0.0, 1.0) + reach * lift[:, 2], 0.0)
        if rng.random() < 0.4:
            offsets = offsets * 0.5 + reach * 0.7 * lift[:, :2]
    return offsets, heights, kind


def random_body(
    rng: np.random.Generator,
    *,
    tau: np.ndarray,
    place: tuple[float, float],
    size: float,
    reach: float,
    difficulty: float,
    detail: int,
    deforms: bool | None = None,
) -> Body:
    """A body on (or above) the ground at `place`; `reach` > 0 makes it move by about that far.

    Of those that move `deforms` says whether they deform; None leaves it to chance.
    """
    moving = reach > 0.0
    deforming = moving and (rng.random() < 0.05 + 0.35 * difficulty if deforms is None else deforms)
    mesh = random_shape(rng, difficulty=difficulty, detail=detail, supple=deforming)
    proportions = np.exp(rng.normal(size=3) * 0.28)
    proportions *= size / proportions.max()
    upright = rng.random() < 0.55
    rest = motion.turn_about_z(rng.uniform(0.0, 6.3)) if upright else motion.random_rotation(rng)
    times = len(tau)
    if deforming:
        local = deformed(rng, mesh.vertices, tau) * proportions
    else:
        local = (mesh.vertices * proportions)[None]
    offsets, heights, kind = np.zeros((times, 2)), np.zeros(times), "rest"
    turns = rest[None]
    if moving:
        offsets, heights, kind = moving_path(rng, tau, reach=reach)
        turns = _turns(rng, tau, kind, offsets, size) @ rest
    elif rng.random() < 0.08 * difficulty:
        heights = heights + rng.uniform(0.1, 1.2)
    positions = local @ turns.transpose(0, 2, 1)
    lowest = np.ascontiguousarray(positions[:, :, 2]).min(1)
    if kind == "tumble":
        # A body that turns in the air keeps its own height and is only kept out of the ground.
        centre = np.maximum(heights + 0.6 * size, -lowest)
    else:
        centre = heights - lowest
    anchors = np.empty((times, 3))
    anchors[:, :2] = np.asarray(place) + offsets
    anchors[:, 2] = centre
    positions = positions + anchors[:, None]
    return bounded_body(
        positions=positions,
        texture=mesh.vertices * proportions,
        mesh=mesh,
        size=size,
        moving=moving,
    )


def _turns(
    rng: np.random.Generator, tau: np.ndarray, kind: str, offsets: np.ndarray, size: float
) -> np.ndarray:
    """Rotations over time that go with a kind of motion."""
    if kind == "roll":
        delta = offsets[-1] - offsets[0]
        axis = np.array([-delta[1], delta[0], 0.0]) + np.array([1e-6, 0.0, 0.0])
        travelled = (offsets @ delta) / max(float(np.linalg.norm(delta)), 1e-9)
        return motion.axis_angle_rotations(axis, travelled / (0.8 * size))
    if kind in ("slide", "curve") and rng.random() < 0.7:
        angles = rng.normal() * 0.8 * motion.ease(rng, tau)
        return motion.axis_angle_rotations(np.array([0.0, 0.0, 1.0]), angles)
    angles = rng.uniform(0.2, 2.2) * motion.ease(rng, tau)
    return motion.axis_angle_rotations(rng.normal(size=3), angles)
