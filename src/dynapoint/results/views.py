"""A scene seen from above or from the side: points of frame 0 and the cameras' path."""

from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw

from dynapoint.results.pictures import picture_in_map
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.time_order import order_of_times

View = Literal["above", "side"]

# Drawn this much larger and made smaller afterwards, which smooths lines.
_OVERSAMPLING = 2
_BACKDROP = (20, 20, 26)
_FIRST, _LAST, _PATH = (255, 255, 255), (255, 170, 60), (255, 90, 90)
# Room around the scene and the size of cameras, as shares of the picture's shorter side.
_MARGIN, _CAMERA = 0.06, 0.07
# Width over height of pictures; scenes that are longer or slimmer leave room beside them.
_SLIMMEST, _WIDEST = 0.4, 4.0
# Dots of the points, in pixels before they are made smaller.
_SMALLEST_DOT, _LARGEST_DOT = 2, 8
# Points farther from the middle half than this times its extent are outliers, and so are these
# percentages at either end.
_FENCE, _TAIL = 1.5, 2.0
# What goes down in the picture, and what comes towards the viewer (- : against the axis).
_DOWN = {"above": 0, "side": 1}
_NEARER = {"above": (1, -1.0), "side": (0, 1.0)}


def view_panel(scene: SceneMaps, seen_from: View, *, within: tuple[int, int]) -> Image.Image:
    """Points of frame 0 and the path of the camera in the order of time; ahead is right.

    The picture has the scene's own proportions and is as large as fits `within`, so that the scene
    fills it; points far from all others are left out of the account, cameras never.

    Args:
        scene: The scene.
        seen_from: "above" shows what lies right of the first camera below, "side" what is down.
        within: The largest (width, height), in pixels.
    """
    shown = scene.pixel_map.shown_pixels(0)
    points = scene.own_time_points[0][shown].astype(np.float64)
    colors = np.asarray(picture_in_map(scene, 0, scene.map_hw[::-1], Image.Resampling.BOX))[shown]
    axis, sign = _NEARER[seen_from]
    order = np.argsort(sign * points[:, axis], kind="stable")
    axes = [2, _DOWN[seen_from]]
    flat = points[order][:, axes]
    cameras = scene.world_from_camera[order_of_times(scene.timestamps_s)]
    low, high = extent_of(flat, cameras[:, axes, 3])
    (width, height), scale = _fitted(high - low, within)

    def place(world: Float64[np.ndarray, "entries xy=2"]) -> Float64[np.ndarray, "entries xy=2"]:
        return np.array([width, height]) / 2 + (world - (low + high) / 2) * scale

    picture = Image.fromarray(_dots(place(flat), colors[order], (width, height)))
    pen = ImageDraw.Draw(picture)
    path = place(cameras[:, axes, 3])
    if len(path) > 1:
        pen.line([tuple(xy) for xy in path.tolist()], fill=_PATH, width=4)
    side = _CAMERA * min(width, height) / scale
    corners = np.array([[-0.5, -0.5, 1.0], [0.5, 0.5, 1.0]]) * side
    for index, color in ((len(path) - 1, _LAST), (0, _FIRST)):
        ends = (cameras[index, :3, 3] + corners @ cameras[index, :3, :3].T)[:, axes]
        wedge = np.vstack([path[index : index + 1], place(ends)])
        pen.polygon([tuple(xy) for xy in wedge.tolist()], outline=color, width=3)
    return picture.resize(
        (width // _OVERSAMPLING, height // _OVERSAMPLING), Image.Resampling.LANCZOS
    )


def extent_of(
    points: Float64[np.ndarray, "points axes=2"], cameras: Float64[np.ndarray, "frame axes=2"]
) -> tuple[Float64[np.ndarray, "axes=2"], Float64[np.ndarray, "axes=2"]]:
    """The corners of a box around all cameras and all points but outliers."""
    low, high = cameras.min(axis=0), cameras.max(axis=0)
    if len(points):
        tail, quarter, third, head = np.percentile(points, [_TAIL, 25, 75, 100 - _TAIL], axis=0)
        reach = _FENCE * (third - quarter)
        # The outermost points within the fence, not the fence itself, which may be far from them.
        within = (points >= quarter - reach) & (points <= third + reach)
        low = np.minimum(low, np.maximum(tail, np.where(within, points, np.inf).min(axis=0)))
        high = np.maximum(high, np.minimum(head, np.where(within, points, -np.inf).max(axis=0)))
    # One point has no extent, which leaves nothing to divide by.
    least = 1e-6 * max(float(np.abs([low, high]).max()), 1e-6)
    short = np.maximum(least - (high - low), 0.0) / 2
    return low - short, high + short


def _fitted(
    extent: Float64[np.ndarray, "axes=2"], within: tuple[int, int]
) -> tuple[tuple[int, int], float]:
    """(width, height) of a picture before it is made smaller, and its pixels per unit."""
    most = _OVERSAMPLING * np.array(within, dtype=np.float64)
    aspect = float(np.clip(extent[0] / extent[1], _SLIMMEST, _WIDEST))
    width = min(most[0], most[1] * aspect)
    size = np.array([width, width / aspect])
    room = size - 2 * _MARGIN * size.min()
    rounded = np.maximum(np.floor(size / _OVERSAMPLING), 1).astype(int) * _OVERSAMPLING
    return (int(rounded[0]), int(rounded[1])), float((room / extent).min())


def _dots(
    xy: Float64[np.ndarray, "points xy=2"],
    colors: UInt8[np.ndarray, "points rgb=3"],
    size: tuple[int, int],
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """Points as dots, later ones over earlier ones, as large as leaves few gaps."""
    width, height = size
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = _BACKDROP
    apart = (width * height / max(len(xy), 1)) ** 0.5
    dot = int(np.clip(round(apart), _SMALLEST_DOT, _LARGEST_DOT))
    # Far outliers would overflow whole numbers.
    inside = ((xy > -dot) & (xy < [width + dot, height + dot])).all(axis=1)
    corner, colors = np.floor(xy[inside] - dot / 2).astype(np.int64), colors[inside]
    for row, column in np.ndindex(dot, dot):
        place = corner + np.array([column, row])
        seen = ((place >= 0) & (place < [width, height])).all(axis=1)
        canvas[place[seen, 1], place[seen, 0]] = colors[seen]
    return canvas
