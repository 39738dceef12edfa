"""Exporting in one call, for Python: the format by name or suffix, choices by keyword."""

import warnings
from pathlib import Path
from typing import Literal

from dynapoint.exports.catalog import export, format_of, part_shown
from dynapoint.exports.options import ExportOptions
from dynapoint.results.reconstruction import Reconstruction


def export_scene(
    rec: Reconstruction,
    path: Path | str,
    *,
    to: str | None = None,
    time: int | None = None,
    max_points: int | None = None,
    confidence_percentile: float = 0.0,
    hide_pixels: Literal["none", "black", "white"] = "none",
    fps: float | None = None,
    show: Literal["auto", "fused", "own"] = "auto",
    overwrite: bool = False,
    segment: int | None = None,
    max_frames: int | None = None,
) -> Path:
    """Write a scene in another program's format.

        dynapoint.export(rec, "walk.glb")
        dynapoint.export(rec, "for_splats", to="colmap")

    Args:
        rec: The scene.
        path: The file or folder to write.
        to: The format: ply, glb, usd, colmap, nerfstudio, rerun, tum, tapvid3d, depth, depth-exr,
            html, mp4, sheet, blender or nuke. None takes it from the suffix of `path`.
        time: Only this time, as a frame index; None for all.
        max_points: At most this many points in a cloud; None leaves it to the format.
        confidence_percentile: Drop this share of a cloud's points, in percent: the least confident.
        hide_pixels: Drop points whose pixel is nearly black, or nearly white.
        fps: Times per second in animations; None plays them as the source did.
        show: "fused" shows all frames fused, "own" each frame's own pixels (html, mp4, sheet,
            blender). "auto" fuses unless frames disagree so much that surfaces would appear twice.
        overwrite: Replace an earlier export.
        segment: Which world of a long clip (`rec.segments`); None for the longest, or that of
            `time`.
        max_frames: At most so many evenly spaced frames; None leaves it to the format. What is left
            out of a long scene is said in a warning, and in the export where it has a place for it.

    Returns:
        The file or folder written.

    Raises:
        ConfigError: The format is unknown, or no format has the suffix.
        InputError: `time` is not the index of a frame used, or there is no such segment.
        OutputError: `path` exists or cannot be written, or the format needs a missing library.
    """
    options = ExportOptions(
        time=time,
        max_points=max_points,
        confidence_percentile=confidence_percentile,
        hide_pixels=hide_pixels,
        fps=fps,
        show=show,
        overwrite=overwrite,
        segment=segment,
        max_frames=max_frames,
    )
    to = format_of(path) if to is None else to
    _warn(to, part_shown(rec, to, options).notes)
    return export(rec, to, path, options)


def _warn(to: str, notes: tuple[str, ...]) -> None:
    """Say what is left out, in the name of who exports."""
    if notes:
        words = f"{to}: {'; '.join(notes)} (segment= and max_frames= choose otherwise)"
        warnings.warn(words, stacklevel=3)
