"""One picture of a scene that a person can judge."""

import numpy as np
from PIL import Image, ImageDraw

from dynapoint.data.selection import evenly_spaced
from dynapoint.results.drawing import FAINT, INK, PAPER, font
from dynapoint.results.panels import (
    Scaled,
    confidence_panels,
    depth_panels,
    image_panel,
    legend,
    motion_panels,
    path_panel,
    track_panel,
)
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.scene_points import FrameTracks
from dynapoint.results.summary import SceneSummary, summarize
from dynapoint.results.time_order import order_of_times

_ROWS = 4
_PANEL_AREA = 320 * 184
_MARGIN = 8
_LABEL_HEIGHT = 20
_TITLES = (
    "input",
    "depth at its own time",
    "confidence",
    "frame 0's motion until then",
    "frame 0's points and their ways",
)


def draw(scene: SceneMaps, tracks: FrameTracks | None = None) -> Image.Image:
    """Draw a contact sheet: four frames, each with depth, confidence, motion and tracks.

    Rows are evenly spaced times. Motion shows, on the pixels of frame 0, how far their points have
    moved until then; tracks show points of frame 0 in the row's frame with the way they came, faint
    where hidden. Below are the colour scales and the camera's path seen from above.

    Args:
        scene: The scene.
        tracks: Those of frame 0, if they are at hand; memory-mapped ones are read in parts.
    """
    tracks = scene.tracks() if tracks is None else tracks
    order = order_of_times(scene.timestamps_s)
    times = [order[place] for place in evenly_spaced(scene.frame_count, _ROWS)]
    size = _panel_size(scene)
    summary = summarize(scene)
    scaled = (
        depth_panels(scene.own_time_depth[times]),
        confidence_panels(scene.own_time_confidence[times]),
        motion_panels(tracks, times, typical_depth=summary.typical_depth),
    )
    width = 5 * (size[0] + _MARGIN) + _MARGIN
    heading = _wrapped(_heading(scene, summary), width - 2 * _MARGIN)
    top = _MARGIN + 22 * len(heading) + _LABEL_HEIGHT
    row_height = size[1] + _LABEL_HEIGHT
    path_height = max(200, min(300, size[1]))
    below = top + len(times) * row_height
    sheet = Image.new("RGB", (width, below + 62 + path_height + _MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    for line, text in enumerate(heading):
        pen.text((_MARGIN, _MARGIN + 22 * line), text, fill=INK, font=font(16))
    left = [_MARGIN + column * (size[0] + _MARGIN) for column in range(5)]
    for column, title in enumerate(_TITLES):
        pen.text((left[column], top - _LABEL_HEIGHT), title, fill=FAINT, font=font(13))
    for row, time in enumerate(times):
        y = top + row * row_height
        panels = [
            image_panel(scene, time, size),
            *(maps.panel(row, size) for maps in scaled),
            track_panel(scene, tracks, time=time, size=size),
        ]
        for x, panel in zip(left, panels, strict=True):
            sheet.paste(panel, (x, y))
        pen.text((left[0], y + size[1] + 2), _row_label(scene, time), fill=FAINT, font=font(12))
    for column, maps in enumerate(scaled, start=1):
        _paste_legend(sheet, maps, (left[column], below + 4), size[0])
    path_size = (width - 2 * _MARGIN, path_height)
    sheet.paste(path_panel(scene, size=path_size), (_MARGIN, below + 62))
    caption = "from above: points of frame 0, camera path (white: earliest, orange: latest camera)"
    pen.text((_MARGIN, below + 44), caption, fill=FAINT, font=font(12))
    return sheet


def _panel_size(scene: SceneMaps) -> tuple[int, int]:
    """(width, height) of a panel: equal areas for all aspects of pictures, within reason."""
    width, height = scene.map_hw[::-1] / scene.pixel_map.scale[0]
    aspect = float(np.clip(width / height, 0.3, 4.0))
    width = max(150, round((_PANEL_AREA * aspect) ** 0.5))
    return width, max(60, round(width / aspect))


def _heading(scene: SceneMaps, summary: SceneSummary) -> list[str]:
    """What the scene is and how its camera moved."""
    map_height, map_width = scene.map_hw
    parts = [
        summary.name,
        f"{summary.frames} frames of {scene.frames.size_words}",
        f"maps {map_width}x{map_height}",
        f"model {summary.model}",
        summary.lens_words,
        f"median depth {summary.typical_depth:.3g}",
        summary.camera_words,
    ]
    return [" | ".join(parts), *([summary.note] if summary.note else [])]


def _row_label(scene: SceneMaps, time: int) -> str:
    """Which frame a row shows."""
    source, seconds = scene.source_frame_index[time], scene.timestamps_s[time]
    return f"frame {time} (source {source}{f', {seconds:.2f} s' if np.isfinite(seconds) else ''})"


def _wrapped(lines: list[str], width: int) -> list[str]:
    """Lines broken at spaces to fit a width in pixels."""
    letters = font(16)
    fitted: list[str] = []
    for line in lines:
        current = ""
        for word in line.split(" "):
            longer = f"{current} {word}" if current else word
            if current and letters.getlength(longer) > width:
                fitted.append(current)
                longer = word
            current = longer
        fitted.append(current)
    return fitted


def _paste_legend(sheet: Image.Image, scaled: Scaled, corner: tuple[int, int], width: int) -> None:
    """A colour bar with the words for its ends below it."""
    x, y = corner
    sheet.paste(legend(scaled, size=(width, 10)), corner)
    pen, small = ImageDraw.Draw(sheet), font(12)
    pen.text((x, y + 13), scaled.low_label, fill=FAINT, font=small)
    label_width = small.getlength(scaled.high_label)
    pen.text((x + width - label_width, y + 13), scaled.high_label, fill=FAINT, font=small)
