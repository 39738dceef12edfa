"""From a rectangle dragged over the view to a region of a frame's picture."""

from typing import Any

import numpy as np

from dynapoint.viewer.stage import Stage
from dynapoint.viewer.tracks import Region

# Single points at depth edges must not stretch the region.
_OUTSIDE_PERCENT = 2.0


def picture_rectangle(
    stage: Stage,
    frame: int,
    camera: Any,
    screen_min: tuple[float, float],
    screen_max: tuple[float, float],
) -> Region | None:
    """The box about the pixels of a frame whose points a browser's camera shows in a rectangle.

    Args:
        stage: The scene.
        frame: Whose pixels; their points are taken where they are at its own time.
        camera: Of a browser: `wxyz`, `position` (view, OpenCV axes), `fov` (vertical) and `aspect`.
        screen_min: Upper left corner, in shares of the window.
        screen_max: Lower right corner.

    Returns:
        In shares of the picture; None where the rectangle holds no point.
    """
    rec = stage.rec
    points = stage.space.scaled(rec.own_time_points[frame]).astype(np.float64)
    usable = (rec.own_time_confidence[frame] > 0) & np.isfinite(points).all(axis=-1)
    inside = usable & in_rectangle(points, camera, screen_min, screen_max)
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return None
    xy = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=-1)
    image_from_map = np.linalg.inv(rec.pixel_map.map_from_image[frame])
    share = (xy @ image_from_map.T)[:, :2] / rec.frames.picture_hw[frame][::-1]
    low, high = np.percentile(share, [_OUTSIDE_PERCENT, 100 - _OUTSIDE_PERCENT], axis=0).clip(0, 1)
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def in_rectangle(
    points: np.ndarray,
    camera: Any,
    screen_min: tuple[float, float],
    screen_max: tuple[float, float],
) -> np.ndarray:
    """Which points (view) a browser's camera shows in a rectangle of its window."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 - slow to load.

    w, x, y, z = np.asarray(camera.wxyz, dtype=np.float64)
    rotation = Rotation.from_quat([x, y, z, w]).as_matrix()
    seen = (points - np.asarray(camera.position)) @ rotation
    half_height = np.tan(camera.fov / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        across = 0.5 + seen[..., 0] / seen[..., 2] / (2 * half_height * camera.aspect)
        down = 0.5 + seen[..., 1] / seen[..., 2] / (2 * half_height)
    return (
        (seen[..., 2] > 0)
        & (across >= screen_min[0])
        & (across <= screen_max[0])
        & (down >= screen_min[1])
        & (down <= screen_max[1])
    )
