"""One picture of what a scene's maps imply: tracks, motion, flow, objects, matches and fusion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from dynapoint.exports.clouds import own_spacing, own_time_cloud
from dynapoint.exports.discs import draw_points
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file
from dynapoint.progress import steps
from dynapoint.results.colors import HEAT, hue_colors
from dynapoint.results.drawing import FAINT, INK, PAPER, font
from dynapoint.results.panels import image_panel, track_panel
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.time_order import order_of_times

_PANEL_AREA = 430 * 246
_COLUMNS = 4
_MARGIN, _LABEL = 10, 22
# The view of a cloud turns by so much about what the first camera looks at, and looks down.
_YAW_DEG, _PITCH_DEG = 18.0, 10.0
_MATCHES = 36
_CLOUD_POINTS = 200_000


def write_sheet(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a PNG with a panel for every answer, drawn for `options.time` or the middle frame.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    times = options.times(rec)
    moment = times[len(times) // 2]
    with export_file(path, ".png", overwrite=options.overwrite) as partial:
        draw_sheet(rec, moment, own=options.shows_own(rec)).save(partial, format="PNG")


def draw_sheet(rec: Reconstruction, moment: int, *, own: bool = False) -> Image.Image:
    """The picture; `moment` is the frame whose pixels and time most panels show.

    `own` shows that frame's own pixels from aside, and not all frames fused.
    """
    height, width = rec.frames.picture_hw[0]
    aspect = float(np.clip(width / height, 0.4, 3.0))
    size = (round((_PANEL_AREA * aspect) ** 0.5), round((_PANEL_AREA / aspect) ** 0.5))
    last = order_of_times(rec.timestamps_s)[-1]
    other = last if moment != last else order_of_times(rec.timestamps_s)[0]
    panels: list[tuple[str, Callable[[], Image.Image]]] = [
        (f"frame {moment}", lambda: image_panel(rec, moment, size)),
        (
            f"frame 0's points in frame {last}, with their ways",
            lambda: track_panel(rec, rec.tracks(), time=last, size=size),
        ),
        (f"what moves in frame {moment} (probability)", lambda: _motion_panel(rec, moment, size)),
        (
            f"moving objects in frame {moment}, one colour each",
            lambda: _objects_panel(rec, moment, size),
        ),
        (
            f"optical flow to frame {other}: hue is direction",
            lambda: _flow_panel(rec, moment, other, size),
        ),
        (
            f"matches in frame {other}, placed at one time",
            lambda: _match_panel(rec, moment, other, size),
        ),
        (
            f"frame {moment} alone, from aside" if own else f"all frames fused at time {moment}",
            lambda: _moment_panel(rec, moment, size, own=own),
        ),
        ("what stands still, alone", lambda: _still_panel(rec, size)),
    ]
    drawn = [(title, draw()) for title, draw in steps(panels, "panels", wanted=rec.progress)]
    return _arranged(rec, drawn, size)


def _moment_panel(
    rec: Reconstruction, time: int, size: tuple[int, int], *, own: bool
) -> Image.Image:
    """All frames fused at a time, or that frame's own pixels."""
    if own:
        cloud = own_time_cloud(rec, time, ExportOptions(max_points=_CLOUD_POINTS))
        spacing = own_spacing(rec, time, cloud.points)
        return _cloud_panel(rec, cloud.points, cloud.colors, spacing, size)
    fused = rec.fuse(time=time, max_points=_CLOUD_POINTS)
    return _fused_panel(rec, fused, size)


def _still_panel(rec: Reconstruction, size: tuple[int, int]) -> Image.Image:
    """What stands still."""
    return _fused_panel(rec, rec.background(max_points=_CLOUD_POINTS), size)


def _fused_panel(rec: Reconstruction, cloud: Any, size: tuple[int, int]) -> Image.Image:
    """A fused cloud."""
    points = np.asarray(cloud.points)
    footprint = points[:, 2].clip(1e-6) / rec.map_intrinsics[0, 0, 0]
    spacing = np.maximum(footprint, cloud.voxel_size)
    return _cloud_panel(rec, points, np.asarray(cloud.colors), spacing, size)


def _motion_panel(rec: Reconstruction, frame: int, size: tuple[int, int]) -> Image.Image:
    """Probability of motion over the darkened frame."""
    probability = rec.motion(frame=frame).probability
    return _over(rec, frame, HEAT.paint(probability), np.asarray(probability), size)


def _objects_panel(rec: Reconstruction, frame: int, size: tuple[int, int]) -> Image.Image:
    """Instances over the darkened frame."""
    instance = np.asarray(rec.objects(frames=[frame], time=frame).instance)[0]
    colors = _instance_colors(instance, int(instance.max()))
    return _over(rec, frame, colors, 0.75 * (instance > 0), size)


def _instance_colors(
    instance: Int[np.ndarray, "height width"], count: int
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A colour for each number; neighbours in number are far apart in hue."""
    palette = hue_colors((np.arange(count + 1) * 0.618034) % 1.0)
    return palette[instance]


def _over(
    rec: Reconstruction,
    frame: int,
    colors: UInt8[np.ndarray, "height width rgb=3"],
    opacity: Float[np.ndarray, "height width"],
    size: tuple[int, int],
) -> Image.Image:
    """Colours of a map over its darkened frame."""
    below = image_panel(rec, frame, size)
    below = Image.blend(below, Image.new("RGB", size), 0.55)
    above = Image.fromarray(colors).resize(size, Image.Resampling.NEAREST)
    mask = Image.fromarray(np.round(255 * np.clip(opacity, 0, 1)).astype(np.uint8))
    return Image.composite(above, below, mask.resize(size, Image.Resampling.NEAREST))


def _flow_panel(rec: Reconstruction, frame: int, other: int, size: tuple[int, int]) -> Image.Image:
    """Optical flow: hue for direction, brightness for length."""
    flow = rec.optical_flow(frame=frame, to_time=other)
    shift = np.where(np.asarray(flow.valid)[..., None], flow.flow_px, 0.0)
    length = np.linalg.norm(shift, axis=-1)
    longest = max(float(np.percentile(length, 98)), 1.0)
    share = (np.arctan2(shift[..., 1], shift[..., 0]) / (2 * np.pi)) % 1.0
    hue = hue_colors(share.reshape(-1)).reshape(*share.shape, 3)
    bright = np.clip(length / longest, 0, 1)[..., None]
    picture = Image.fromarray(np.round(hue * bright).astype(np.uint8))
    picture = picture.resize(size, Image.Resampling.NEAREST)
    words = f"longest {longest:.1f} of {rec.pixel_map.picture_hw[frame, 1]} pixels"
    ImageDraw.Draw(picture).text((6, size[1] - 18), words, fill=INK, font=font(12))
    return picture


def _match_panel(rec: Reconstruction, frame: int, other: int, size: tuple[int, int]) -> Image.Image:
    """Some mutual matches, from the frame on the left to the other on the right."""
    match = rec.match(frame=frame, to_frame=other)
    half = (size[0] // 2, max(1, round(size[1] / 2)))
    canvas = Image.new("RGB", size, PAPER)
    top = (size[1] - half[1]) // 2
    for index, shown in enumerate((frame, other)):
        canvas.paste(image_panel(rec, shown, half), (index * half[0], top))
    good = np.asarray(match.valid & match.mutual)
    rows, columns = np.nonzero(good)
    chosen = np.random.default_rng(0).permutation(len(rows))[:_MATCHES]
    start = np.stack([columns[chosen] + 0.5, rows[chosen] + 0.5], axis=1)
    end = rec.pixel_map.to_map(other, np.asarray(match.xy_px)[rows[chosen], columns[chosen]])
    scale = np.array(half) / rec.map_hw[::-1]
    start, end = start * scale + [0, top], end * scale + [half[0], top]
    pen = ImageDraw.Draw(canvas)
    colors = hue_colors(rows[chosen] / max(1, rec.map_hw[0]))
    for first, second, color in zip(start, end, colors.tolist(), strict=True):
        pen.line([tuple(first), tuple(second)], fill=tuple(color), width=1)
    pen.text((6, 6), f"{good.mean():.0%} of the pixels", fill=INK, font=font(12))
    return canvas


def _cloud_panel(
    rec: Reconstruction,
    points: Float[np.ndarray, "point xyz=3"],
    colors: UInt8[np.ndarray, "point rgb=3"],
    spacing: Float[np.ndarray, " point"],
    size: tuple[int, int],
) -> Image.Image:
    """A cloud from the side and above."""
    shown = _central(points)
    if not shown.any():
        return Image.new("RGB", size, PAPER)
    middle = np.median(points[shown], axis=0)
    pose = _turned_camera(middle)
    focal = rec.map_intrinsics[0, 0, 0] * size[0] / rec.map_hw[1] * 0.8
    picture = draw_points(
        points[shown],
        colors[shown],
        spacing[shown],
        world_from_camera=pose,
        focal_px=float(focal),
        image_hw=(size[1], size[0]),
    )
    panel = Image.fromarray(picture)
    words = f"{len(points)} points"
    ImageDraw.Draw(panel).text((6, size[1] - 18), words, fill=INK, font=font(12))
    return panel


def _central(points: Float[np.ndarray, "point xyz=3"]) -> Bool[np.ndarray, " point"]:
    """All points but the farthest few, which make everything else small."""
    if not len(points):
        return np.zeros(0, dtype=bool)
    return points[:, 2] <= np.percentile(points[:, 2], 97)


def _turned_camera(middle: Float[np.ndarray, "xyz=3"]) -> Float[np.ndarray, "4 4"]:
    """The first camera turned about a point to its right and upwards (OpenCV axes)."""
    yaw, pitch = np.radians(_YAW_DEG), np.radians(_PITCH_DEG)
    turn_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    turn_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    pose = np.eye(4)
    pose[:3, :3] = turn_y @ turn_x
    pose[:3, 3] = middle - pose[:3, :3] @ [0, 0, np.linalg.norm(middle)]
    return pose


def _arranged(
    rec: Reconstruction, panels: list[tuple[str, Image.Image]], size: tuple[int, int]
) -> Image.Image:
    """Panels with their titles in rows, under a heading."""
    rows = -(-len(panels) // _COLUMNS)
    wide = _COLUMNS * (size[0] + _MARGIN) + _MARGIN
    high = 34 + rows * (size[1] + _LABEL + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (wide, high), PAPER)
    pen = ImageDraw.Draw(sheet)
    parts = [rec.frames.name, f"{rec.frame_count} frames", f"model {rec.model_name}"]
    heading = " | ".join([*parts, *([rec.frames.note] if rec.frames.note else [])])
    pen.text((_MARGIN, 8), heading, fill=INK, font=font(16))
    for index, (title, panel) in enumerate(panels):
        row, column = divmod(index, _COLUMNS)
        x = _MARGIN + column * (size[0] + _MARGIN)
        y = 34 + row * (size[1] + _LABEL + _MARGIN)
        pen.text((x, y), title, fill=FAINT, font=_fitting_font(title, size[0]))
        sheet.paste(panel, (x, y + _LABEL))
    return sheet


def _fitting_font(text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font in which a title is no wider than its panel, which is narrow for portrait video."""
    for size in range(13, 8, -1):
        if font(size).getlength(text) <= width:
            return font(size)
    return font(8)
