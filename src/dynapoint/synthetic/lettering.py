"""Pages, banners and boards with rows of letters: still, and full of edges."""

import numpy as np
from jaxtyping import Float

from . import shapes
from .bodies import Body, still_body
from .shapes import Mesh


def _letters(rng: np.random.Generator, rows: int, columns: int) -> Mesh:
    """Rows of small marks over [-1, 1]² at z = 0 that face +z; gaps part them into words."""
    high, wide = 2.0 / rows, 2.0 / columns
    row, column = np.divmod(np.arange(rows * columns), columns)
    ends = rng.uniform(0.4, 1.0, rows)
    kept = (rng.random(rows * columns) < 0.8) & (column < ends[row] * columns)
    kept[0] = True
    row, column = row[kept], column[kept]
    x, y = -1.0 + wide * (column + 0.1), 1.0 - high * (row + 0.25)
    right = x + wide * rng.uniform(0.3, 0.8, len(x))
    low = y - high * rng.uniform(0.25, 0.6, len(x))
    corners = np.stack([x, low, right, low, right, y, x, y], 1).reshape(-1, 2)
    first = 4 * np.arange(len(x), dtype=np.int32)[:, None, None]
    faces = (first + np.array([[0, 1, 2], [0, 2, 3]], np.int32)).reshape(-1, 3)
    return Mesh(
        vertices=np.concatenate([corners, np.zeros((len(corners), 1))], 1),
        faces=faces,
        face_group=np.repeat(np.arange(len(x), dtype=np.int32), 2),
    )


def lettered_sheet(
    rng: np.random.Generator,
    *,
    times: int,
    centre: tuple[float, float, float],
    axes: Float[np.ndarray, "3 3"],
    half: tuple[float, float],
    dress: int = 0,
) -> list[Body]:
    """A thin still sheet with writing on it, as two bodies of different dress.

    `axes` holds the directions of the lines, of the page's top and of its face as columns, and
    `centre` is the middle of its back.
    """
    thick = 0.012 * max(half)
    small = float(rng.uniform(0.08, 0.3)) * half[1]
    rows = int(np.clip(1.6 * half[1] / small, 2, 10))
    columns = int(np.clip(1.6 * half[0] / (0.7 * small), 3, 16))
    sheet = shapes.placed(
        shapes.box_mesh(1),
        scale=np.array([half[0], half[1], 0.5 * thick]),
        centre=(0.0, 0.0, 0.5 * thick),
    )
    letters = shapes.placed(
        _letters(rng, rows, columns),
        scale=np.array([0.85 * half[0], 0.85 * half[1], 1.0]),
        # Just before the sheet: in front of it in every image, and never seen to float.
        centre=(0.0, 0.0, 1.25 * thick),
    )
    bodies = []
    for k, mesh in enumerate((sheet, letters)):
        vertices = mesh.vertices @ axes.T + np.asarray(centre)
        size = 2.0 * max(half) if k == 0 else 20.0 * max(half)
        bodies.append(still_body(mesh, vertices, times=times, size=size, dress=dress + k))
    return bodies
