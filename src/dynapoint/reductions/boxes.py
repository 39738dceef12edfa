"""Oriented boxes around points: the one of least surface, held to neither gravity nor the axes.

Least surface rather than least volume: a thing seen from one side is a sheet, which has no volume,
and a corner of a box of which two sides are seen fits into two boxes of one volume.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Points farther beyond the central 98 % along an axis than half of what these span are stray.
_CENTRAL = (0.01, 0.99)
_STRAY_BEYOND = 0.5
# The hull is that of the points which lie farthest in so many directions.
_DIRECTIONS = 256
# Faces of the hull, the largest first, on which the box is tried.
_MOST_FACES = 48


@dataclass(frozen=True, kw_only=True)
class OrientedBox:
    """A box in the frame and unit of its points.

    Sides are sorted from long to short, and the axes are right-handed.

    Attributes:
        centre: The middle of the box.
        axes: `axes[k]` is the unit direction of side k.
        size: `size[k]` is the full length of side k.
    """

    centre: Float[np.ndarray, "xyz=3"]
    axes: Float[np.ndarray, "side=3 xyz=3"]
    size: Float[np.ndarray, "side=3"]


def fit_box(points: Float[np.ndarray, "point xyz=3"]) -> OrientedBox:
    """The box of least surface around points, without those that stray far from the rest.

    One side lies on a face of the convex hull and another holds an edge of it, as in the least
    rectangle around points of a plane (Freeman and Shapira 1975); principal axes are tried too.
    Points on a plane, on a line or in one place give sizes of 0; NaN without any point.
    """
    if len(points) == 0:
        return OrientedBox(
            centre=np.full(3, np.nan), axes=np.full((3, 3), np.nan), size=np.full(3, np.nan)
        )
    points = points.astype(np.float64)
    kept = _without_strays(points, _principal_axes(points))
    candidates = [_principal_axes(kept), *_axes_on_faces(kept)]
    sizes = np.stack([np.ptp(kept @ axes.T, axis=0) for axes in candidates])
    surface = sizes[:, 0] * sizes[:, 1] + sizes[:, 1] * sizes[:, 2] + sizes[:, 2] * sizes[:, 0]
    # Principal axes come first and stand where nothing is gained, as for points on a line.
    gained = surface <= surface.min() + 1e-12 * sizes.max() ** 2
    best = int(np.flatnonzero(gained)[0])
    axes = _ordered(candidates[best], sizes[best])
    along = kept @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    return OrientedBox(centre=(low + high) / 2 @ axes, axes=axes, size=high - low)


def box_corners(
    centre: Float[np.ndarray, "*box xyz=3"],
    axes: Float[np.ndarray, "*box side=3 xyz=3"],
    size: Float[np.ndarray, "*box side=3"],
) -> Float[np.ndarray, "*box corner=8 xyz=3"]:
    """Corners of boxes: 4i + 2j + k lies at the far end of sides 0, 1, 2 where i, j, k is 1."""
    ends = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    return centre[..., None, :] + (ends * size[..., None, :]) @ axes


def _principal_axes(points: Float[np.ndarray, "point xyz=3"]) -> Float[np.ndarray, "side=3 xyz=3"]:
    centred = points - points.mean(axis=0)
    return np.linalg.eigh(centred.T @ centred)[1].T[::-1]


def _without_strays(
    points: Float[np.ndarray, "point xyz=3"], axes: Float[np.ndarray, "side=3 xyz=3"]
) -> Float[np.ndarray, "kept xyz=3"]:
    along = points @ axes.T
    low, high = np.quantile(along, _CENTRAL, axis=0)
    # What rounding moves off a plane is no stray.
    slack = _STRAY_BEYOND * (high - low) + 1e-6 * np.ptp(along, axis=0).max()
    return points[((along >= low - slack) & (along <= high + slack)).all(axis=1)]


def _axes_on_faces(points: Float[np.ndarray, "point xyz=3"]) -> list[np.ndarray]:
    """Axes of boxes of which one side lies on a face of the convex hull and one holds an edge."""
    # SciPy is slow to import, and few callers fit boxes.
    from scipy.spatial import ConvexHull, QhullError  # noqa: PLC0415

    outer = np.unique(points[np.unique((points @ _spread_directions().T).argmax(axis=0))], axis=0)
    outer = outer - outer.mean(axis=0)
    extent = np.abs(outer).max()
    if len(outer) < 4 or not extent > 0:
        return []
    outer = outer / extent
    try:
        # Joggled, points of a plane have a hull too.
        hull = ConvexHull(outer, qhull_options="QJ")
    except QhullError:
        return []
    triangles = outer[hull.simplices]
    edges = (triangles - np.roll(triangles, 1, axis=1)).reshape(-1, 3)
    found = []
    for normal in _largest_faces(triangles):
        across = edges - (edges @ normal)[:, None] * normal
        length = np.linalg.norm(across, axis=1)
        first = across[length > 1e-6] / length[length > 1e-6, None]
        second = np.cross(normal, first)
        spans = [np.ptp(side @ outer.T, axis=1) for side in (first, second)]
        height = np.ptp(outer @ normal)
        best = int(np.argmin(spans[0] * spans[1] + height * (spans[0] + spans[1])))
        found.append(np.stack([first[best], second[best], normal]))
    return found


def _largest_faces(
    triangles: Float[np.ndarray, "triangle corner=3 xyz=3"],
) -> Float[np.ndarray, "face xyz=3"]:
    """Unit normals of the planes with the largest areas of triangles; both signs count as one."""
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(normal, axis=1)
    triangles, normal, area = (part[area > 0] for part in (triangles, normal, area))
    normal = normal / area[:, None]
    largest = np.take_along_axis(normal, np.abs(normal).argmax(axis=1)[:, None], axis=1)
    normal = normal * np.sign(largest)
    _, first, group = np.unique(normal.round(6), axis=0, return_index=True, return_inverse=True)
    total = np.bincount(group.reshape(-1), area)
    return normal[first[np.argsort(-total)[:_MOST_FACES]]]


def _spread_directions() -> Float[np.ndarray, "direction xyz=3"]:
    """Directions spread evenly over the sphere, along a Fibonacci spiral."""
    index = np.arange(_DIRECTIONS) + 0.5
    z = 1 - 2 * index / _DIRECTIONS
    angle = np.pi * (1 + 5**0.5) * index
    across = np.sqrt(1 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def _ordered(
    axes: Float[np.ndarray, "side=3 xyz=3"], size: Float[np.ndarray, "side=3"]
) -> Float[np.ndarray, "side=3 xyz=3"]:
    """Right-handed axes from long to short; the first two point where their largest part is > 0."""
    first, second = axes[np.argsort(-size, kind="stable")[:2]]
    first = first * np.sign(first[np.abs(first).argmax()])
    second = second * np.sign(second[np.abs(second).argmax()])
    return np.stack([first, second, np.cross(first, second)])
