"""The page that shows a scene: its template, and what it says of a scene whatever feeds it."""

import json
from html import escape
from importlib.resources import files
from typing import Any

import dynapoint
from dynapoint.exports import web_scene
from dynapoint.exports.clouds import play_times_s
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import readable_name
from dynapoint.results.reconstruction import Reconstruction

# In the order in which they need each other; what feeds the page comes before them.
_SCRIPTS = (
    *("web_state.js", "web_shaders.js", "web_draw.js"),
    *("web_look.js", "web_load.js", "web_page.js"),
)


def page_facts(rec: Reconstruction, options: ExportOptions) -> dict[str, Any]:
    """What the page says about the scene, and where its cameras are."""
    times = options.times(rec)
    moments = play_times_s(rec, options)
    frustums = [web_scene.frustum(rec, time) for time in times]
    return {
        "name": readable_name(rec.frames.name),
        "model": rec.model_name,
        "version": dynapoint.__version__,
        "note": rec.frames.note,
        # Frames as their numbers in the source, in the order of time; all other lists follow it.
        "times": times,
        "sourceFrames": rec.source_frame_index[times].tolist(),
        "beginsS": [round(float(moment), 6) for moment in moments],
        "fusedTimes": len(times),
        # Whether the view goes with the camera at first.
        "follow": rec.joining is not None and web_scene.leaves_first_view(rec),
        "medianDistance": web_scene.median_distance(rec),
        "cameras": [
            {
                "pose": camera.world_from_camera.T.reshape(-1).tolist(),
                "corners": camera.corners.reshape(-1).tolist(),
                "shownCorners": camera.shown_corners.reshape(-1).tolist(),
                "shownShare": camera.shown_share.tolist(),
            }
            for camera in frustums
        ],
    }


def filled_page(
    manifest: dict[str, Any],
    *,
    source: str,
    chunks: str = "",
    segments: str = "",
    tracking: str = "",
    downloads: str = "",
    connect: str = "'none'",
) -> str:
    """The template with everything in its place.

    Args:
        manifest: `page_facts` and what the source needs to know.
        source: Script that defines `manifest` and `Source`, which feeds the page.
        chunks: Base64 text that the source reads.
        segments: A section with the worlds to choose from.
        tracking: Further controls for tracks.
        downloads: A further section of the panel.
        connect: Whom the page may ask for more, as its content security policy says it.
    """
    parts = {
        "title": escape(f"{manifest['name']} | dynapoint"),
        "style": asset("web.css"),
        # In a script, "</" would end it whatever the quotes around it.
        "manifest": json.dumps(manifest, separators=(",", ":")).replace("<", "\\u003c"),
        "chunks": chunks,
        "script": source + "".join(asset(name) for name in _SCRIPTS),
        "segments": segments,
        "tracking": tracking,
        "downloads": downloads,
        "connect": connect,
    }
    return filled(asset("web.html"), parts)


def filled(template: str, parts: dict[str, str]) -> str:
    """A template with parts in the places that name them, as in %%name%%."""
    # Cut once, so that no part's own text is taken for a place to fill.
    pieces = template.split("%%")
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def asset(name: str, *, of: str = "dynapoint.exports") -> str:
    """A file of a page, which a package here brings along among its assets."""
    return (files(of) / "assets" / name).read_text(encoding="utf-8")
