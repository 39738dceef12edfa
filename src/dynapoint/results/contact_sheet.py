"""One picture of a scene that a person can judge."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from dynapoint.data.selection import evenly_spaced
from dynapoint.results.asking import span_of
from dynapoint.results.drawing import FAINT, INK, PAPER, font, line_height, wrapped, write_lines
from dynapoint.results.panels import (
    MOTION_SCALE,
    Scaled,
    confidence_panels,
    depth_panels,
    image_panel,
    legend,
    motion_panels,
    moved_panels,
    share_moved,
    track_panel,
    ways_panel,
)
from dynapoint.results.scene_maps import SceneMaps, maps_of_frames
from dynapoint.results.scene_points import FrameTracks
from dynapoint.results.summary import SceneSummary, segment_lines, summarize
from dynapoint.results.thinning import MOST_SHOWN, shown_part
from dynapoint.results.time_order import order_of_times
from dynapoint.results.views import View, view_panel

_ROWS = 4
# Pictures of segments fill no more rows than these.
_SEGMENT_ROWS = 2
_PANEL_AREA = 320 * 184
_MARGIN = 8
_HEADING, _TITLE, _SMALL = 16, 13, 12
_VIEW_HEIGHT = 320
_BAR_HEIGHT = 10
_BAR = " | "
_TITLES = ("input", "depth at its own time", "confidence")
_WHITE_WORDS = f"white: {100 * MOTION_SCALE:.0f} % of distance"
# So many times of a window are looked at, beside a frame's own.
_WINDOW_TIMES = 12
_VIEWS: tuple[tuple[View, str], ...] = (
    (
        "above",
        "from above, ahead is right: frame {first}'s points, cameras (white: earliest, orange: "
        "latest)",
    ),
    ("side", "the same from the right side"),
)


def draw(scene: SceneMaps, tracks: FrameTracks | None = None) -> Image.Image:
    """Draw a contact sheet: four frames, each with depth, confidence, motion and tracks.

    Rows are evenly spaced times. Motion shows, on the pixels of frame 0, how far their points have
    moved until then, as a share of their distance and on one scale for all scenes; tracks show
    points of frame 0 in the row's frame with the way they came, faint where hidden. Below are the
    colour scales and the cameras' path seen from above and from the side.

    Of a long clip the longest world is drawn, thinned in time, and above it a picture of each. Its
    rows show how their own frames' points move while a network saw them, before and after.

    Args:
        scene: The scene.
        tracks: Those of frame 0, if they are at hand; memory-mapped ones are read in parts.
    """
    part = shown_part(scene, most=MOST_SHOWN)
    size = _panel_size(scene)
    width = 5 * (size[0] + _MARGIN) + _MARGIN
    heading = [
        *_heading(scene, summarize(scene)),
        *([f"below: {'; '.join(part.notes)}"] if part.notes else []),
    ]
    above = [_text_band(heading, width, size=_HEADING, color=INK)]
    if len(scene.segments) > 1:
        above.append(_segments(scene, width, size))
    # The same tracks, cut where the part is.
    whole = scene if tracks is None else replace(scene, kept_tracks=tracks)
    drawn = part.of(whole)
    order = order_of_times(drawn.timestamps_s)
    times = [order[place] for place in evenly_spaced(drawn.frame_count, _ROWS)]
    if scene.joining is None:
        movement = _movement_of_first(drawn, times, size, part.frames[0])
    else:
        movement = _movement_in_windows(scene, [part.frames[time] for time in times], size)
    return _stacked([*above, *_rows(drawn, part.frames, times, movement, size)], width)


@dataclass(frozen=True, kw_only=True)
class _Movement:
    """What rows show of motion.

    Attributes:
        titles: Of the two columns.
        motion: How far pixels' points move.
        ways: Their ways, drawn into each row's frame.
    """

    titles: tuple[str, str]
    motion: Scaled
    ways: list[Image.Image]


def _movement_of_first(
    scene: SceneMaps, times: list[int], size: tuple[int, int], number: int
) -> _Movement:
    """The motion of the first frame's points, which has a number in the whole scene."""
    tracks = scene.tracks()
    return _Movement(
        titles=(
            f"frame {number}'s motion ({_WHITE_WORDS})",
            f"frame {number}'s points and their ways",
        ),
        motion=motion_panels(tracks, times),
        ways=[track_panel(scene, tracks, time=time, size=size) for time in times],
    )


def _movement_in_windows(scene: SceneMaps, frames: list[int], size: tuple[int, int]) -> _Movement:
    """The motion of the rows' own frames at the times for which a network saw them.

    In a long clip a camera soon has left what the first frame showed.
    """
    shares, drawn = [], []
    for frame in frames:
        span = span_of(scene, frame)
        times = sorted({*(span[place] for place in evenly_spaced(len(span), _WINDOW_TIMES)), frame})
        maps = [maps_of_frames(scene, [frame], time, keep=False) for time in times]
        camera = scene.world_from_camera[frame, :3, 3]
        moved = [share_moved(scene.own_time_points[frame], each[0], camera) for each, _ in maps]
        known = [confidence[0] > 0 for _, confidence in maps]
        shares.append(np.where(known, moved, 0.0).max(axis=0))
        drawn.append(
            ways_panel(
                scene,
                [each[0] for each, _ in maps],
                None,
                source=frame,
                time=frame,
                size=size,
                dot=times.index(frame),
            )
        )
    return _Movement(
        titles=(
            f"its motion while seen ({_WHITE_WORDS})",
            "its points and their ways in its window",
        ),
        motion=moved_panels(np.stack(shares)),
        ways=drawn,
    )


def _rows(
    scene: SceneMaps,
    numbers: Sequence[int],
    times: list[int],
    movement: _Movement,
    size: tuple[int, int],
) -> list[Image.Image]:
    """What is drawn of a scene whose frames have these numbers, below each other."""
    width = 5 * (size[0] + _MARGIN) + _MARGIN
    scaled = (
        depth_panels(np.stack([scene.depth_of(time) for time in times])),
        confidence_panels(scene.own_time_confidence[times]),
        movement.motion,
    )
    titles = [*_TITLES, *movement.titles]
    bands = [_in_columns([_text(title, size[0], _TITLE) for title in titles], width, size[0])]
    for row, time in enumerate(times):
        panels = [
            image_panel(scene, time, size),
            *(maps.panel(row, size) for maps in scaled),
            movement.ways[row],
        ]
        bands.append(_in_columns(panels, width, size[0]))
        bands.append(
            _text_band([_row_label(scene, time, numbers[time])], width, size=_SMALL, color=FAINT)
        )
    legends = [Image.new("RGB", (1, 1), PAPER), *(_legend(maps, size[0]) for maps in scaled)]
    bands.append(_in_columns(legends, width, size[0]))
    bands.append(_views(scene, numbers[0], width))
    return bands


def _segments(scene: SceneMaps, width: int, size: tuple[int, int]) -> Image.Image:
    """A picture from the middle of each segment with what it is, the longest where many are."""
    lines = segment_lines(scene)
    small = (size[0] // 2, max(1, size[1] // 2))
    columns = (width - _MARGIN) // (small[0] + _MARGIN)
    by_length = sorted(range(len(lines)), key=lambda k: -scene.segments[k].count)
    chosen = sorted(by_length[: columns * _SEGMENT_ROWS])
    cells = [
        _stacked(
            [
                image_panel(scene, (scene.segments[k].start + scene.segments[k].stop) // 2, small),
                _text(lines[k], small[0], _SMALL),
            ]
        )
        for k in chosen
    ]
    bands = [
        _in_columns(cells[first : first + columns], width, small[0])
        for first in range(0, len(cells), columns)
    ]
    if len(chosen) < len(lines):
        rest = f"and {len(lines) - len(chosen)} shorter segments"
        bands.append(_text_band([rest], width, size=_SMALL, color=FAINT))
    return _stacked(bands)


def _views(scene: SceneMaps, first: int, width: int) -> Image.Image:
    """The scene from above and from the side, each with its words."""
    half = (width - 3 * _MARGIN) // 2
    parts = [
        _stacked(
            [
                _text(words.format(first=first), half, _SMALL),
                view_panel(scene, view, within=(half, _VIEW_HEIGHT)),
            ]
        )
        for view, words in _VIEWS
    ]
    return _in_columns(parts, width, half)


def _stacked(bands: list[Image.Image], width: int | None = None) -> Image.Image:
    """Pictures below each other; on a sheet of a width, with a margin above and below."""
    margin = 0 if width is None else _MARGIN
    wide = max(band.width for band in bands) if width is None else width
    sheet = Image.new("RGB", (wide, sum(band.height for band in bands) + 2 * margin), PAPER)
    top = margin
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    return sheet


def _in_columns(parts: list[Image.Image], width: int, column: int) -> Image.Image:
    """Pictures beside each other, in columns of one width."""
    band = Image.new("RGB", (width, max(part.height for part in parts)), PAPER)
    for index, part in enumerate(parts):
        band.paste(part, (_MARGIN + index * (column + _MARGIN), 0))
    return band


def _text(words: str, width: int, size: int) -> Image.Image:
    """Faint words in as many lines as they need."""
    # Letters may reach a pixel to the left of where they are put.
    lines = wrapped(words, size, width - 2)
    part = Image.new("RGB", (width, len(lines) * line_height(size) + 3), PAPER)
    write_lines(ImageDraw.Draw(part), (1, 0), lines, size=size, color=FAINT)
    return part


def _text_band(
    texts: list[str], width: int, *, size: int, color: tuple[int, int, int]
) -> Image.Image:
    """Words over the whole width of the sheet, each text on lines of its own."""
    lines = [line for text in texts for line in wrapped(text, size, width - 2 * _MARGIN, at=_BAR)]
    band = Image.new("RGB", (width, len(lines) * line_height(size) + 5), PAPER)
    write_lines(ImageDraw.Draw(band), (_MARGIN, 2), lines, size=size, color=color)
    return band


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
        f"{summary.frames} frame{'s' * (summary.frames != 1)} of {scene.frames.size_words}",
        f"maps {map_width}x{map_height}",
        f"model {summary.model}",
        summary.lens_words,
        f"median depth {summary.typical_depth:.3g}",
        summary.camera_words,
        *([summary.segment_words] if summary.segment_words else []),
    ]
    return [_BAR.join(parts), *([summary.note] if summary.note else [])]


def _row_label(scene: SceneMaps, time: int, number: int) -> str:
    """Which frame a row shows, by its number in the whole scene."""
    source, seconds = scene.source_frame_index[time], scene.timestamps_s[time]
    return f"frame {number} (source {source}{f', {seconds:.2f} s' if np.isfinite(seconds) else ''})"


def _legend(scaled: Scaled, width: int) -> Image.Image:
    """A colour bar with the words for its ends below it, below each other where both need room."""
    low, high = scaled.low_label, scaled.high_label
    letters, apart = font(_SMALL), line_height(_SMALL)
    lines = [low, *wrapped(high, _SMALL, width - 2)]
    beside = letters.getlength(f"{low}  {high}") <= width - 2
    height = 4 + _BAR_HEIGHT + 3 + (1 if beside else len(lines)) * apart + 6
    part = Image.new("RGB", (width, height), PAPER)
    part.paste(legend(scaled, size=(width, _BAR_HEIGHT)), (0, 4))
    pen, top = ImageDraw.Draw(part), 4 + _BAR_HEIGHT + 3
    pen.text((1, top), low, fill=FAINT, font=letters)
    for row, line in enumerate(lines[1:], 0 if beside else 1):
        left = width - 1 - letters.getlength(line)
        pen.text((left, top + row * apart), line, fill=FAINT, font=letters)
    return part
