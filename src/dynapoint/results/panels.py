"""The pictures on a contact sheet: depth, confidence, motion and tracks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64
from PIL import Image, ImageDraw

from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.colors import HEAT, LIGHT, WARM, ColorScale, hue_colors
from dynapoint.results.pictures import picture_in_map
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.scene_points import FrameTracks
from dynapoint.results.time_order import order_of_times

MOTION_SCALE = 0.1
"""What is drawn lightest has moved by this share of its distance, in all scenes."""

# Lines are drawn this much larger and made smaller afterwards, which smooths them.
_OVERSAMPLING = 2
_GRID_POINTS_ALONG_LONGER_SIDE = 18
# The scene from above takes this share of its panel.
_FILLED = 0.92


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Shares in [0, 1] of some maps with the colour scale and the words for its two ends."""

    shares: Float[np.ndarray, "map height width"]
    scale: ColorScale
    low_label: str
    high_label: str

    def panel(self, index: int, size: tuple[int, int]) -> Image.Image:
        """One map as a picture of `size` (width, height); every map pixel stays a flat patch."""
        picture = Image.fromarray(self.scale.paint(self.shares[index]))
        return picture.resize(size, Image.Resampling.NEAREST)


def depth_panels(depth: Float[np.ndarray, "map height width"]) -> Scaled:
    """Depth, near warm and far cold, even in inverse depth; gray where it is not positive."""
    usable = depth[depth > 0]
    near, far = np.percentile(usable, [2, 98]) if usable.size else (1.0, 2.0)
    far = max(far, near * 1.02)
    with np.errstate(divide="ignore"):
        inverse = np.where(depth > 0, 1.0 / depth, np.nan)
    shares = (inverse - 1 / far) / (1 / near - 1 / far)
    return Scaled(
        shares=shares, scale=WARM, low_label=f"far {far:.3g}", high_label=f"near {near:.3g}"
    )


def confidence_panels(confidence: Float[np.ndarray, "map height width"]) -> Scaled:
    """Confidence, light where large, even in its logarithm; darkest where there is none."""
    logarithm = np.log(np.maximum(confidence.astype(np.float64), 1e-6))
    some = logarithm[confidence > 0]
    low, high = np.percentile(some, [2, 98]) if some.size else (0.0, 0.0)
    high = max(high, low + 0.02)
    return Scaled(
        shares=(logarithm - low) / (high - low),
        scale=LIGHT,
        low_label=f"doubt {np.exp(low):.2g}",
        high_label=f"sure {np.exp(high):.2g}",
    )


def motion_panels(tracks: FrameTracks, times: list[int]) -> Scaled:
    """How far frame 0's points have moved at each of `times`, as a share of their distance.

    The scale is the same for all scenes, so that still ones are dark. Where there is no confidence,
    as in padding, nothing is shown to move.
    """
    start = tracks.points[0]
    # The world is the camera of frame 0.
    share = np.stack([share_moved(start, tracks.points[time], np.zeros(3)) for time in times])
    share[tracks.confidence[times] == 0] = 0.0
    return moved_panels(share)


def share_moved(
    start: Float32[np.ndarray, "height width xyz=3"],
    points: Float32[np.ndarray, "height width xyz=3"],
    camera: Float64[np.ndarray, "xyz=3"],
) -> Float64[np.ndarray, "height width"]:
    """How far points are from where they were, as a share of their distance then from a camera."""
    before = start.astype(np.float64)
    distance = np.linalg.norm(before - camera, axis=-1)
    moved = np.linalg.norm(points.astype(np.float64) - before, axis=-1)
    share: Float64[np.ndarray, "height width"] = moved / np.maximum(
        distance, np.finfo(np.float64).tiny
    )
    return share


def moved_panels(share: Float[np.ndarray, "map height width"]) -> Scaled:
    """Shares of their distance that points have moved, on the one scale of all scenes."""
    return Scaled(
        shares=share / MOTION_SCALE,
        scale=HEAT,
        low_label="still",
        high_label=f"{100 * MOTION_SCALE:.0f} % of the distance or more",
    )


def track_panel(
    scene: SceneMaps, tracks: FrameTracks, *, time: int, size: tuple[int, int]
) -> Image.Image:
    """Points of frame 0 drawn into frame `time`, with the way they moved in the world until then.

    The whole way is seen from the one camera of frame `time`, so what stands still is a dot even
    if the camera moves. Points hidden there are faint.
    """
    order = order_of_times(scene.timestamps_s)
    return ways_panel(
        scene,
        [tracks.points[earlier] for earlier in order[: order.index(time) + 1]],
        tracks.visible[time],
        source=0,
        time=time,
        size=size,
    )


def ways_panel(
    scene: SceneMaps,
    ways: Sequence[Float32[np.ndarray, "height width xyz=3"]],
    visible: Float32[np.ndarray, "height width"] | None,
    *,
    source: int,
    time: int,
    size: tuple[int, int],
    dot: int = -1,
) -> Image.Image:
    """Points of a frame drawn into another, with ways through the world seen from its one camera.

    Args:
        scene: The scene.
        ways: Where all pixels of the frame `source` are, one time after another.
        visible: How far each is visible at `time`; None if all are.
        source: The frame whose pixels they are.
        time: The frame that is drawn into.
        size: (width, height) of the panel.
        dot: Which of the times of `ways` is drawn as a dot.
    """
    wide, high = size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING
    backdrop = picture_in_map(scene, time, (wide, high), Image.Resampling.BILINEAR)
    backdrop = Image.blend(backdrop, Image.new("RGB", backdrop.size), 0.4).convert("RGBA")
    rows, columns = grid_of(scene.map_hw)
    shown = scene.pixel_map.shown_pixels(source)[rows, columns]
    rows, columns = rows[shown], columns[shown]
    world = np.stack([points[rows, columns] for points in ways])
    camera_points = points_in_camera(world.astype(np.float64), scene.world_from_camera[time])
    scale = np.array([wide, high]) / np.array(scene.map_hw[::-1])
    lines = project(camera_points, scene.map_intrinsics[time]) * scale
    colors = hue_colors((columns / scene.map_hw[1] + 0.35 * rows / scene.map_hw[0]) % 1.0)
    strength = np.ones(len(rows)) if visible is None else visible[rows, columns]
    overlay = Image.new("RGBA", backdrop.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(overlay)
    # Hidden points first, so that visible ones lie on top.
    for point in np.argsort(strength):
        alpha = round(60 + 195 * float(strength[point]))
        _draw_way(pen, lines[:, point], (*colors[point].tolist(), alpha), dot)
    return (
        Image.alpha_composite(backdrop, overlay)
        .convert("RGB")
        .resize(size, Image.Resampling.LANCZOS)
    )


def legend(scaled: Scaled, *, size: tuple[int, int]) -> Image.Image:
    """A bar of the colour scale."""
    ramp = np.linspace(0.0, 1.0, size[0])[None].repeat(size[1], axis=0)
    return Image.fromarray(scaled.scale.paint(ramp))


def image_panel(scene: SceneMaps, frame: int, size: tuple[int, int]) -> Image.Image:
    """What the maps show of a frame, at the panel's size."""
    return picture_in_map(scene, frame, size, Image.Resampling.LANCZOS)


def grid_of(map_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a square grid of map pixels, away from the border."""
    step = max(2.0, max(map_hw) / _GRID_POINTS_ALONG_LONGER_SIDE)
    # Whole numbers of steps: a range that ends at the side may, by rounding, reach it. A side that
    # is shorter than a step has one point, in its middle.
    along = [
        ((np.arange(side // step) + 0.5) * step).astype(np.int64)
        if side >= step
        else np.array([side // 2])
        for side in map_hw
    ]
    rows, columns = np.meshgrid(*along, indexing="ij")
    return rows.ravel(), columns.ravel()


def _draw_way(
    pen: ImageDraw.ImageDraw,
    way: Float64[np.ndarray, "time xy=2"],
    color: tuple[int, int, int, int],
    dot: int,
) -> None:
    """One track: a line through its known places and a dot at one of them."""
    near = np.isfinite(way).all(axis=1)
    # Points close to the camera's plane project arbitrarily far, which overflows the drawing.
    near &= np.abs(np.where(near[:, None], way, 0.0)).max(axis=1) < 1e5
    if near.sum() > 1:
        pen.line([tuple(xy) for xy in way[near]], fill=color, width=3, joint="curve")
    if near[dot]:
        x, y = way[dot]
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color)
