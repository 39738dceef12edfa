"""HTML: one file that plays the scene in any browser, offline.

The page is drawn with WebGL2 by a few hundred lines of our own (`assets/`). It holds everything it
shows and asks no other machine for anything, which its content security policy makes sure of.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dynapoint.exports import web_packing as packing
from dynapoint.exports import web_scene
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file
from dynapoint.exports.web_bytes import fused_paint, grid_certainty, grid_motion, track_arrays
from dynapoint.exports.web_packing import Box, TextBuffer
from dynapoint.exports.web_page import asset, filled_page, page_facts
from dynapoint.exports.web_scene import GridCloud, SplitCloud, TrackSet
from dynapoint.progress import steps
from dynapoint.results.motion_answers import moving_at_ends
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.time_order import order_of_times

# By default the page stays below 30 MB; movers may take so much of it.
_DEFAULT_CHARACTERS = 29_500_000
_MOVER_CHARACTERS = 12_000_000
_MOST_OWN = 60_000
# Clouds are thinned by this factor until the page is small enough.
_THINNER = 0.85


@dataclass(kw_only=True)
class _Page:
    """What is packed so far: text, and a manifest that names its chunks."""

    text: TextBuffer = field(default_factory=TextBuffer)
    manifest: dict[str, Any] = field(default_factory=dict)


def write_html(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a page with the clouds of all times, up to 16 frames fused, tracks and cameras.

    Positions are 16-bit steps within the box about all that is shown: along each axis an error of
    at most the box's edge / 65535 / 2, which the page states under "About". Points farther away
    than 20 median distances are left out. Colours are those of JPEG pictures of the frames at most
    512 pixels long, or of the fused cloud, as sRGB. By default the page has at most 60000 points
    of each frame and 200000 fused ones and is below 30 MB, for which clouds are thinned;
    `max_points` sets the number of both instead, whatever the size. With `options.time`, the page
    shows that time only.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    with export_file(path, ".html", overwrite=options.overwrite) as partial:
        partial.write_text(_document(rec, options), encoding="utf-8")


def _document(rec: Reconstruction, options: ExportOptions) -> str:
    """The page."""
    times = options.times(rec)
    fused = web_scene.split_cloud(
        rec, options, max_points=options.max_points or web_scene.MOST_FUSED
    )
    first = order_of_times(rec.timestamps_s)[0]
    tracks = web_scene.frame_tracks(rec, times, frame=first)
    finest = web_scene.grid_hw(rec, options.max_points or _MOST_OWN)
    farthest = web_scene.farthest_shown(rec)
    clouds = _grid_clouds(rec, options, finest, farthest)
    box = packing.box_around(
        [cloud.points[cloud.confidence > 0] for cloud in clouds]
        + [fused.still, fused.paths.reshape(-1, 3), tracks.points.reshape(-1, 3)]
    )
    page = _Page(
        manifest={
            **page_facts(rec, options),
            "box": {
                "low": box.low.tolist(),
                "size": box.size.tolist(),
                "error": box.error.tolist(),
            },
        }
    )
    _add_pictures(page, rec, times)
    _add_tracks(page, tracks)
    limit = None if options.max_points is not None else _MOVER_CHARACTERS
    _add_fused(page, fused, box, limit)
    _add_clouds(page, rec, options, clouds, box)
    return _filled(page)


def _add_pictures(page: _Page, rec: Reconstruction, times: list[int]) -> None:
    """Add the frames as JPEG files."""
    page.manifest["pictures"] = [
        page.text.add(packing.jpeg(web_scene.picture(rec, time))) for time in times
    ]


def _add_tracks(page: _Page, tracks: TrackSet) -> None:
    """Add tracks."""
    page.manifest["tracks"] = {
        "count": tracks.points.shape[1],
        "chunk": page.text.add(packing.deflated(*track_arrays(tracks))),
    }


def _add_fused(page: _Page, cloud: SplitCloud, box: Box, limit: int | None) -> None:
    """Add the fused cloud, with no more movers than fit into `limit` characters."""
    kept = np.arange(cloud.paths.shape[1])
    paths = _packed_paths(cloud, box, kept)
    while limit is not None and len(paths) * 4 / 3 > limit and len(kept) > 1:
        share = max(0.2, min(0.95, limit / (len(paths) * 4 / 3)))
        chosen = np.random.default_rng(0).choice(kept, int(len(kept) * share), replace=False)
        kept = np.sort(chosen)
        paths = _packed_paths(cloud, box, kept)
    paint = fused_paint(cloud, kept)
    page.manifest["fused"] = {
        "still": len(cloud.still),
        "movers": len(kept),
        "spacing": paint.spacing,
        "stillChunk": page.text.add(
            packing.deflated(packing.differences(box.quantised(cloud.still[None])))
        ),
        "pathChunk": page.text.add(paths),
        "paintChunk": page.text.add(
            packing.deflated(
                np.ascontiguousarray(paint.colors.T),
                paint.spacing_share,
                paint.certainty,
                paint.motion,
            )
        ),
    }


def _packed_paths(cloud: SplitCloud, box: Box, kept: np.ndarray) -> bytes:
    """Places of some movers at all times, and where they are usable."""
    steps = box.quantised(cloud.paths[:, kept])
    return packing.deflated(
        packing.differences(steps), cloud.usable[:, kept].astype(np.uint8) * np.uint8(255)
    )


def _grid_clouds(
    rec: Reconstruction, options: ExportOptions, grid: tuple[int, int], farthest: float
) -> list[GridCloud]:
    """The times' own clouds with the motion of their points."""
    times = options.times(rec)
    moving = moving_at_ends(rec, times)
    return [
        web_scene.grid_cloud(rec, time, options, grid, farthest=farthest, motion=motion)
        for time, motion in zip(steps(times, "clouds", wanted=rec.progress), moving, strict=True)
    ]


def _add_clouds(
    page: _Page,
    rec: Reconstruction,
    options: ExportOptions,
    clouds: list[GridCloud],
    box: Box,
) -> None:
    """Add each time's own cloud, on a grid as fine as fits into the page."""
    most = clouds[0].confidence.size
    farthest = web_scene.farthest_shown(rec)
    room = _DEFAULT_CHARACTERS - page.text.length - len(json.dumps(page.manifest)) - 100_000
    while True:
        ordered = np.sort(np.concatenate([cloud.confidence[::2].ravel() for cloud in clouds]))
        ordered = ordered[ordered > 0]
        packed = [_packed_cloud(cloud, box, ordered) for cloud in clouds]
        size = sum(len(content) for content in packed) * 4 / 3
        if options.max_points is not None or size <= room or most == 1:
            break
        most = max(1, int(most * max(0.2, _THINNER * room / size)))
        grid = web_scene.grid_hw(rec, most)
        clouds = _grid_clouds(rec, options, grid, farthest)
    page.manifest["grid"] = list(clouds[0].confidence.shape)
    page.manifest["clouds"] = [
        {
            "chunk": page.text.add(content),
            "footprint": cloud.footprint,
            "shown": int((cloud.confidence > 0).sum()),
        }
        for content, cloud in zip(packed, clouds, strict=True)
    ]


def _packed_cloud(cloud: GridCloud, box: Box, ordered: np.ndarray) -> bytes:
    """Places, ranks of confidence, and motion whose last bit says that a cell is one surface."""
    steps = packing.filled_gaps(box.quantised(cloud.points), cloud.confidence > 0)
    return packing.deflated(
        packing.differences(steps), grid_certainty(cloud, ordered), grid_motion(cloud)
    )


def _filled(page: _Page) -> str:
    """The page's parts in their places."""
    page.manifest["chunks"] = page.text.spans
    return filled_page(page.manifest, source=asset("web_data.js"), chunks="".join(page.text.pieces))
