"""NumPy's way to `reductions.visibility`: which camera sees a point, and where."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32

if TYPE_CHECKING:
    from dynapoint.reductions.visibility import SeenSurface


def surface_of(
    points: Float[np.ndarray, "height width xyz=3"],
    confidence: Float[np.ndarray, "height width"],
    world_from_camera: Float[np.ndarray, "4 4"],
    map_intrinsics: Float[np.ndarray, "3 3"],
    shown: Bool[np.ndarray, "height width"],
) -> "SeenSurface":
    """What a camera sees at its own time, in float64, from its own-time map."""
    import torch  # noqa: PLC0415 - opening a scene does not need it.

    from dynapoint.reductions.visibility import seen_surface  # noqa: PLC0415

    return seen_surface(
        torch.tensor(points, dtype=torch.float64),
        torch.tensor(confidence),
        torch.tensor(world_from_camera),
        torch.tensor(map_intrinsics),
        shown=torch.tensor(shown),
    )


def seen_probability(
    surface: "SeenSurface",
    points: Float[np.ndarray, "*points xyz=3"],
    point_map: Float[np.ndarray, "height width xyz=3"],
    confidence_map: Float[np.ndarray, "height width"],
) -> Float32[np.ndarray, "*points"]:
    """Probability in [0, 1] that a camera sees points (world) at its time.

    Args:
        surface: What the camera sees.
        points: Places in or between the pixels of the frame whose map is given.
        point_map: The frame's points at the camera's time, for how well the maps agree.
        confidence_map: 0 where they are unusable.
    """
    import torch  # noqa: PLC0415 - opening a scene does not need it.

    from dynapoint.reductions.visibility import agreement, visibility  # noqa: PLC0415

    all_points = torch.tensor(point_map, dtype=torch.float64)
    agreed = agreement(surface, all_points, torch.tensor(confidence_map))
    asked = torch.tensor(points, dtype=torch.float64)
    return visibility(surface, asked, agreed).visible.numpy().astype(np.float32)
