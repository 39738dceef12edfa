"""Motions of bodies over the frames of a clip: paths, tumbling and deformation (NumPy, z up)."""

import numpy as np
from jaxtyping import Float

Path = Float[np.ndarray, "time xyz=3"]
Rotations = Float[np.ndarray, "time 3 3"]
Positions = Float[np.ndarray, "time vertex xyz=3"]


def axis_angle_rotations(
    axis: Float[np.ndarray, " xyz=3"], angles_rad: Float[np.ndarray, " time"]
) -> Rotations:
    """Rotations about one axis (any length) by the given angles."""
    x, y, z = axis / np.sqrt(axis @ axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sine, cosine = np.sin(angles_rad)[:, None, None], np.cos(angles_rad)[:, None, None]
    return np.eye(3) + sine * cross + (1.0 - cosine) * (cross @ cross)


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A rotation drawn uniformly, from a random unit quaternion."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def turn_about_z(angle_rad: float) -> Float[np.ndarray, "3 3"]:
    """The rotation about the vertical."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def smooth_wander(
    rng: np.random.Generator, tau: Float[np.ndarray, " time"], waves: int = 2
) -> Path:
    """A smooth random path that starts at the origin, of size about one."""
    rates = rng.uniform(0.5, 4.0, (waves, 3))
    phase = rng.uniform(0.0, 2.0 * np.pi, (waves, 3))
    amount = rng.normal(size=(waves, 3)) / (1.0 + rates)
    path = (amount * np.sin(rates * tau[:, None, None] * 2.0 + phase)).sum(1)
    return path - path[:1]


def ease(rng: np.random.Generator, tau: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Progress from 0 to 1: even, speeding up, slowing down, abrupt, or there and back."""
    kind = rng.integers(6)
    if kind <= 1:
        return tau
    if kind == 2:
        return tau ** rng.uniform(1.3, 2.2)
    if kind == 3:
        return 1.0 - (1.0 - tau) ** rng.uniform(1.3, 2.2)
    if kind == 4:
        start = rng.uniform(0.0, 0.6)
        return np.clip((tau - start) / rng.uniform(0.15, 0.4), 0.0, 1.0)
    middle = rng.uniform(0.3, 0.7)
    return np.where(tau < middle, tau, 2.0 * middle - tau) / max(middle, 1.0 - middle)


def ballistic_heights(
    rng: np.random.Generator, tau: Float[np.ndarray, " time"], height: float
) -> Float[np.ndarray, " time"]:
    """Heights above the ground of a thrown or bouncing body that reaches about `height`."""
    hop = rng.uniform(0.5, 1.3)
    phase = (tau + rng.uniform(0.0, hop)) / hop
    bounce = phase - np.floor(phase)
    decay = rng.uniform(0.6, 1.0) ** np.floor(phase)
    return height * decay * 4.0 * bounce * (1.0 - bounce)


def bend(
    vertices: Float[np.ndarray, "vertex xyz=3"], angles_rad: Float[np.ndarray, " time"]
) -> Positions:
    """Bend about y along z: the body's length (2 units about its middle) spans the given angle."""
    x, y, z = vertices.T
    # A straight body is the limit of an infinite bending radius, so tiny angles are kept off zero.
    angle = np.where(np.abs(angles_rad) < 1e-4, 1e-4, angles_rad)[:, None]
    radius = 2.0 / angle
    turn = z / radius
    out_x = radius - (radius - x) * np.cos(turn)
    out_z = (radius - x) * np.sin(turn)
    return np.stack([out_x, np.broadcast_to(y, out_x.shape), out_z], -1)


def twist(
    vertices: Float[np.ndarray, "vertex xyz=3"], angles_rad: Float[np.ndarray, " time"]
) -> Positions:
    """Twist about z: the ends (z = ±1) turn by ± half the angle."""
    x, y, z = vertices.T
    turn = 0.5 * angles_rad[:, None] * z
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([c * x - s * y, s * x + c * y, np.broadcast_to(z, c.shape)], -1)


def squash(
    vertices: Float[np.ndarray, "vertex xyz=3"], stretches: Float[np.ndarray, " time"]
) -> Positions:
    """Stretch along z by 1 + stretch and shrink across so that the volume stays."""
    along = 1.0 + stretches
    across = along**-0.5
    factors = np.stack([across, across, along], -1)
    return vertices * factors[:, None]


def wave(
    vertices: Float[np.ndarray, "vertex xyz=3"],
    phases_rad: Float[np.ndarray, " time"],
    amount: float = 0.25,
    rate: float = 3.0,
) -> Positions:
    """A wave that runs along x and displaces in z, growing from the x = -1 end."""
    x, y, z = vertices.T
    grow = np.clip(0.5 * (x + 1.0), 0.0, 1.2)
    out_z = z + amount * grow * np.sin(rate * x - phases_rad[:, None])
    return np.stack([np.broadcast_to(x, out_z.shape), np.broadcast_to(y, out_z.shape), out_z], -1)


def wobble(
    vertices: Float[np.ndarray, "vertex xyz=3"],
    phases_rad: Float[np.ndarray, "time wave"],
    directions: Float[np.ndarray, "wave xyz=3"],
    amounts: Float[np.ndarray, "wave xyz=3"],
) -> Positions:
    """Move every point by waves that run through space, as jelly does.

    Wave k displaces by `amounts[k]` times the sine of `directions[k]` · position − phase.
    """
    angles = vertices @ directions.T - phases_rad[:, None]
    return vertices + np.sin(angles) @ amounts


def swell(
    vertices: Float[np.ndarray, "vertex xyz=3"],
    centres: Float[np.ndarray, "bump xyz=3"],
    strengths: Float[np.ndarray, "time bump"],
    width: float = 0.6,
) -> Positions:
    """Grow or shrink about some places: each factor dies off over `width` from its centre."""
    offsets = vertices[:, None] - centres
    near = np.exp(-0.5 * (offsets**2).sum(-1) / width**2)
    return vertices + np.einsum("tb,vb,vbi->tvi", strengths, near, offsets)
