"""The formats by name."""

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

from dynapoint.errors import ConfigError
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import with_suffix
from dynapoint.results.asking import span_of
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.subscene import worlds
from dynapoint.results.thinning import (
    MOST_ON_SHEETS,
    MOST_SHOWN,
    MOST_TRACKED,
    Shown,
    even_choice,
    shown_part,
)


@dataclass(frozen=True, kw_only=True)
class Format:
    """Where a format's writer is and what it writes.

    `writer` is MODULE:FUNCTION within this package; `suffixes` are those its file may have, none
    for a folder; `folder_of_times` says that all times make a folder of such files; `words` are
    what it is good for. `most_frames` is how many frames of a long scene it takes unless told
    (None: all), `most_fused` how many of them its clouds are made of. `draws_fused` says that
    it shows all frames fused, or each frame's own pixels. `neighbours` says that these frames are
    side by side where windows made the scene: it compares them with each other.
    """

    writer: str
    words: str
    suffixes: tuple[str, ...] = ()
    folder_of_times: bool = False
    most_frames: int | None = None
    most_fused: int | None = None
    draws_fused: bool = False
    neighbours: bool = False


FORMATS = {
    "ply": Format(
        words="a cloud for each time: MeshLab, CloudCompare, Open3D",
        writer="ply:write_ply",
        suffixes=(".ply",),
        folder_of_times=True,
    ),
    "glb": Format(
        words="moving points and cameras: Blender, browsers, game engines",
        writer="glb:write_glb",
        suffixes=(".glb",),
        most_frames=MOST_SHOWN,
    ),
    "usd": Format(
        words="moving points, camera and tracks: Houdini, Blender, usdview",
        writer="usd:write_usd",
        suffixes=(".usd", ".usdc"),
        most_frames=MOST_SHOWN,
    ),
    "blender": Format(
        words="a script that makes camera, pictures and points in Blender",
        writer="blender:write_blender",
        most_frames=MOST_SHOWN,
        draws_fused=True,
    ),
    "nuke": Format(
        words="the camera for Nuke, After Effects and other compositors",
        writer="nuke:write_nuke",
        suffixes=(".chan",),
    ),
    "colmap": Format(
        words="images, masks, poses and still points: COLMAP and splat trainers",
        writer="colmap:write_colmap",
        most_fused=MOST_SHOWN,
    ),
    "nerfstudio": Format(
        words="transforms.json, images, masks and a seed cloud",
        writer="nerfstudio:write_nerfstudio",
        most_fused=MOST_SHOWN,
    ),
    "rerun": Format(
        words="everything, to scrub through in the Rerun viewer",
        writer="rerun_rrd:write_rerun",
        suffixes=(".rrd",),
        most_frames=MOST_SHOWN,
    ),
    "tum": Format(
        words="the camera's trajectory as text", writer="tum:write_tum", suffixes=(".txt", ".tum")
    ),
    "tapvid3d": Format(
        words="tracks as the benchmark's npz",
        writer="tapvid3d:write_tapvid3d",
        suffixes=(".npz",),
        most_frames=MOST_TRACKED,
    ),
    "depth": Format(
        writer="depth:write_depth",
        words="depth of each frame as 16-bit PNG",
    ),
    "depth-exr": Format(
        writer="depth:write_depth_exr",
        words="depth of each frame as float EXR",
    ),
    "html": Format(
        words="this scene as one page that plays offline",
        writer="html:write_html",
        suffixes=(".html",),
        most_frames=MOST_SHOWN,
    ),
    "mp4": Format(
        words="a film of a camera swinging about the scene",
        writer="mp4:write_mp4",
        suffixes=(".mp4",),
        most_frames=MOST_SHOWN,
        draws_fused=True,
    ),
    "sheet": Format(
        words="every answer in one picture",
        writer="sheet:write_sheet",
        suffixes=(".png",),
        most_frames=MOST_ON_SHEETS,
        draws_fused=True,
        neighbours=True,
    ),
}


def export(
    rec: Reconstruction, to: str, path: Path | str, options: ExportOptions | None = None
) -> Path:
    """Write a reconstruction in another program's format.

    Args:
        rec: The scene.
        to: Name of the format, one of `FORMATS`.
        path: The file or folder to write. Its name says nothing about the format; a file whose
            name lacks the format's suffix gets it appended.
        options: What to write of the scene.

    Returns:
        The file or folder written.

    Raises:
        ConfigError: The format is unknown.
        InputError: The time asked for is no index of a frame used.
        OutputError: `path` exists or cannot be written, or a library is missing.
    """
    known = find_format(to)
    options = ExportOptions() if options is None else options
    shown = part_shown(rec, to, options)
    path = Path(path)
    if known.suffixes and not (known.folder_of_times and options.time is None):
        path = with_suffix(path, *known.suffixes)
    module, function = known.writer.split(":")
    writer = getattr(importlib.import_module(f"dynapoint.exports.{module}"), function)
    if shown.notes:
        if known.draws_fused and options.show == "auto":
            # A stored check is that of the whole scene.
            judged = rec.segment(shown.segment) if rec.folder is None else rec
            options = replace(options, show="own" if options.shows_own(judged) else "fused")
        if options.time is not None:
            options = replace(options, time=list(shown.frames).index(options.time))
    writer(shown.of(rec), path, options)
    return path


def part_shown(rec: Reconstruction, to: str, options: ExportOptions) -> Shown:
    """What of a scene `export` writes, and in words what it leaves out.

    Raises:
        ConfigError: The format is unknown.
        InputError: The time asked for is no index of a frame used, or the segment is none.
    """
    known = find_format(to)
    options.times(rec)
    fused = known.folder_of_times and options.time is not None
    most = options.max_frames or (MOST_SHOWN if fused else known.most_frames)
    shown = shown_part(rec, most=most, segment=options.segment, time=options.time)
    if known.neighbours and rec.joining is not None and most is not None:
        shown = _seen_together(rec, shown, most, options)
    count = len(shown.frames)
    if known.most_fused is None or options.time is not None or count <= known.most_fused:
        return shown
    words = f"points come from {len(even_choice(count, known.most_fused))} of {count} frames"
    return replace(shown, notes=(*shown.notes, words))


def _seen_together(rec: Reconstruction, shown: Shown, most: int, options: ExportOptions) -> Shown:
    """At most so many frames that a network saw together with the time wanted, or the middle one.

    What is shown if that is all frames of its world.
    """
    part = worlds(rec)[shown.segment]
    if len(shown.frames) == part.count:
        return shown
    time = (part.start + part.stop) // 2 if options.time is None else options.time
    span = span_of(rec, time)
    first = min(time, max(span.start, span.stop - most))
    frames = range(first, min(first + most, span.stop))
    words = f"frames {first} to {frames.stop - 1} of its {part.count}, neighbours of frame {time}"
    return replace(shown, frames=frames, notes=(*shown.notes[:-1], words))


def format_of(path: Path | str) -> str:
    """The format that the suffix of a path says.

    Raises:
        ConfigError: It is that of none.
    """
    suffix = Path(path).suffix.lower()
    for name, known in FORMATS.items():
        if suffix in known.suffixes:
            return name
    raise ConfigError(
        f"{Path(path).name} does not say the format; give one of {', '.join(FORMATS)} (--to, to=)"
    )


def find_format(name: str) -> Format:
    """The format of a name.

    Raises:
        ConfigError: It is unknown; the message lists all.
    """
    if name not in FORMATS:
        raise ConfigError(f"{name!r} is no format to export to; give one of {', '.join(FORMATS)}")
    return FORMATS[name]
