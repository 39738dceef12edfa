"""The command that hands a stored scene on to other programs."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from dynapoint.cli.common import Flag, OutputOption, UsageError, optional, print_json, said_of_files
from dynapoint.cli.scene import SceneCommand
from dynapoint.progress import begin, shown


@dataclass(frozen=True, kw_only=True)
class Export(SceneCommand):
    """Write a stored scene in another program's format.

    OUT is taken as given: with --to, a file whose name lacks the format's suffix gets it appended;
    formats of many files make OUT a folder.
    """

    output: OutputOption
    """File or folder to write. Its suffix names the format, unless --to does."""
    to: Annotated[str | None, optional("FORMAT")] = None
    """ply, glb, usd, blender (a script), nuke (.chan), colmap, nerfstudio, rerun,
    tum, tapvid3d, depth (16-bit PNG), depth-exr, html,
    mp4 (seen from 16 degrees to both sides), or sheet (a PNG of every answer)."""
    time: Annotated[int | None, optional("INDEX")] = None
    """Only this time; for ply, all frames fused at it in one file instead of a file per time."""
    max_points: Annotated[int | None, optional("N")] = None
    """At most this many points; glb, html and mp4 choose for themselves without it."""
    confidence: Annotated[float, tyro.conf.arg(metavar="PERCENT")] = 0.0
    """Drop this share of the points, in percent: the least confident."""
    hide_pixels: Literal["none", "black", "white"] = "none"
    """Drop points whose pixel is nearly black, or nearly white."""
    fps: Annotated[float | None, optional("N")] = None
    """Times per second in animations; the default is that of the source."""
    show: Literal["auto", "fused", "own"] = "auto"
    """Show all frames fused or each frame's own pixels (html, mp4, sheet, blender); auto fuses
    unless frames disagree so much that surfaces would appear twice."""
    segment: Annotated[int | None, optional("INDEX")] = None
    """Which world of a long clip (`dynapoint info` lists them); the default is the longest."""
    max_frames: Annotated[int | None, optional("N")] = None
    """At most this many evenly spaced frames; the default depends on the format."""
    overwrite: Flag = False
    """Replace an earlier export."""
    json: Flag = False
    """Print the written files in one JSON object."""

    def run(self) -> int:
        """Write it and say where."""
        from dynapoint.errors import ConfigError  # noqa: PLC0415
        from dynapoint.exports.catalog import (  # noqa: PLC0415
            export,
            find_format,
            format_of,
            part_shown,
        )
        from dynapoint.exports.options import ExportOptions  # noqa: PLC0415

        try:
            to = format_of(self.output) if self.to is None else self.to
            find_format(to)
            options = ExportOptions(
                time=self.time,
                max_points=self.max_points,
                confidence_percentile=self.confidence,
                hide_pixels=self.hide_pixels,
                fps=self.fps,
                show=self.show,
                overwrite=self.overwrite,
                segment=self.segment,
                max_frames=self.max_frames,
            )
        except ConfigError as error:
            raise UsageError(str(error)) from error
        with shown(not self.json, name=self.scene.name):
            begin("open")
            rec = self.open()
            notes = part_shown(rec, to, options).notes
            begin(to)
            path = export(rec, to, self.output, options)
        if self.json:
            print_json(
                {
                    "scene": str(self.scene),
                    "format": to,
                    "output": str(path),
                    "notes": list(notes),
                    **said_of_files(path),
                }
            )
        else:
            hint = ["--segment and --max-frames choose otherwise"] if notes else []
            print("\n  ".join([f"{to} in {path}", *notes, *hint]))
        return 0
