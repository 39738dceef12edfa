"""Exporting in one call, for Python: the format by name or suffix, choices by keyword."""

from pathlib import Path
from typing import Literal

from dynapoint.exports.catalog import export, format_of
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
) -> Path:
    """Write a scene in another program's format; arguments as of `Reconstruction.export`."""
    options = ExportOptions(
        time=time,
        max_points=max_points,
        confidence_percentile=confidence_percentile,
        hide_pixels=hide_pixels,
        fps=fps,
        show=show,
        overwrite=overwrite,
    )
    return export(rec, format_of(path) if to is None else to, path, options)
