"""rerun `.rrd`: images, cameras, points per time, the still scene and tracks, to scrub through."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dynapoint.exports.clouds import moving_cloud, own_time_cloud
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file, readable_name, require
from dynapoint.exports.splat_training import still_scene
from dynapoint.exports.tracks import held_tracks, moved_points
from dynapoint.geometry.arrays import typical_depth
from dynapoint.progress import steps
from dynapoint.results.colors import hue_colors
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.time_order import moments_s, order_of_times
from dynapoint.results.undistorted import as_pinholes

_POINTS_PER_TIME = 50_000
_TRACKED_POINTS, _TRACKS = 4000, 500
# Times that a track's trail goes back.
_TRAIL = 12
_JPEG_QUALITY = 95


def write_rerun(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write a recording with the timelines `frame` and `seconds` (of the source).

    `frame` counts frames in the order of time. Frames without a time and those that share one
    follow each other in `seconds` as they do in the other formats.

    Entities: `world/camera` (pose and pinhole) and `world/camera/image`; `world/points`, each
    frame's pixels at its own time, thinned to `max_points` (50000); `world/static`, the still
    background of all frames; `world/tracks`, trails of up to 500 points that move. The world is
    OpenCV's (y down), which is declared, so that up is up in the viewer. Images of lenses that
    distort are undistorted. With `options.time`, of that frame only.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written, or rerun-sdk is not installed.
    """
    rr = require("rerun", extra="rerun", format_name="rerun")
    rec = as_pinholes(rec)
    with export_file(path, ".rrd", overwrite=options.overwrite) as partial:
        stream = rr.RecordingStream("dynapoint")
        # When it was written is nothing to scrub through.
        stream.set_log_time_enabled(False)
        try:
            # Not to the file itself, because a full disk would then be no more than a warning.
            recording = rr.memory_recording(stream)
            # Active too: as a mere default it came too late, and the viewer laid out its own.
            stream.send_blueprint(_blueprint(), make_active=True, make_default=True)
            stream.send_recording_name(readable_name(rec.frames.name))
            _log_scene(rr, stream, rec, options)
            partial.write_bytes(recording.drain_as_bytes())
        finally:
            stream.disconnect()


def _blueprint() -> Any:
    """The scene on the left, the frame on the right."""
    import rerun.blueprint as layout  # noqa: PLC0415 - only this export needs it.

    return layout.Blueprint(
        layout.Horizontal(
            layout.Spatial3DView(origin="world", name="scene"),
            layout.Spatial2DView(origin="world/camera", name="frame", contents="$origin/image"),
            column_shares=[2, 1],
        )
    )


def _log_scene(rr: Any, stream: Any, rec: Reconstruction, options: ExportOptions) -> None:
    """Log everything."""
    times = options.times(rec)
    stamps = rec.timestamps_s[times]
    # Frames that share a time follow each other here too: one would hide the others.
    seconds = np.nan_to_num(stamps[0]) + moments_s(stamps)[:-1]
    places = order_of_times(rec.timestamps_s)
    stream.log("world", rr.ViewCoordinates.RDF, static=True)
    seeds = still_scene(rec, options).seeds
    radius = seeds.voxel_size / 2
    still = rr.Points3D(seeds.points, colors=seeds.colors, radii=radius)
    stream.log("world/static", still, static=True)
    thinned = replace(options, max_points=options.max_points or _POINTS_PER_TIME)
    tracked = moving_cloud(rec, options, max_points=_TRACKED_POINTS)
    chosen = moved_points(tracked, _TRACKS)
    colors = hue_colors(np.arange(len(chosen)) / max(1, len(chosen)))
    for index, time in enumerate(steps(times, "frames", wanted=rec.progress)):
        stream.set_time("frame", sequence=places.index(time))
        stream.set_time("seconds", duration=float(seconds[index]))
        _log_camera(rr, stream, rec, time)
        cloud = own_time_cloud(rec, time, thinned)
        points = rr.Points3D(cloud.points, colors=cloud.colors, radii=radius)
        stream.log("world/points", points)
        if len(chosen) and index:
            recent = slice(max(0, index - _TRAIL), index + 1)
            usable = tracked.usable[recent, chosen]
            trail = held_tracks(tracked.points[recent, chosen], usable).transpose(1, 0, 2)
            now = usable[-1]
            stream.log("world/tracks", rr.LineStrips3D(trail[now], colors=colors[now]))


def _log_camera(rr: Any, stream: Any, rec: Reconstruction, frame: int) -> None:
    """Log a frame's camera and image."""
    import cv2  # noqa: PLC0415 - only exports of pictures need it.

    pose = rec.world_from_camera[frame]
    stream.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    height, width = rec.frames.picture_hw[frame].tolist()
    typical = typical_depth(rec.depth_of(frame))
    pinhole = rr.Pinhole(
        image_from_camera=rec.intrinsics[frame],
        resolution=[width, height],
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=0.15 * typical,
    )
    stream.log("world/camera", pinhole)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    image = np.ascontiguousarray(rec.frames.picture(frame)[..., ::-1])
    jpeg = cv2.imencode(".jpg", image, quality)[1].tobytes()
    stream.log("world/camera/image", rr.EncodedImage(contents=jpeg, media_type="image/jpeg"))
