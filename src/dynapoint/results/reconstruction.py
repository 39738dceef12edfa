"""A reconstruction: what a user holds, asks, looks at and saves.

Every answer is a function of a scene in a module of its topic, which fetches the maps that one
function of `dynapoint.reductions` needs, calls it, and gives its result with NumPy arrays; here it
becomes a method. Places in images (`xy`, `xy_px`, `flow_px`), asked for and answered, are in pixels
of the ORIGINAL images; arrays of an answer for each pixel, masks, rows and columns are those of the
maps (`rec.map_hw`, `rec.pixel_map`). Points and lengths are in the world (the camera of frame 0)
and in scene units. `frame` is whose pixels; `time`, `from_time` and `to_time` are when their points
are asked for, given by the index of the frame seen then. Torch and the reductions are loaded when
something is asked, so that opening a scene is quick.

What lies above (exports, the viewer) is reached by the package's public names.
"""

import base64
import html
import operator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from PIL.Image import Image

import dynapoint
from dynapoint.results import (
    camera_answers,
    checks,
    cloud_answers,
    contact_sheet,
    flow_answers,
    motion_answers,
    place_answers,
)
from dynapoint.results import figure as figures
from dynapoint.results.checked import checked_index
from dynapoint.results.on_disk import saving
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.scene_points import FrameTracks, PointDecoder, QueryResult
from dynapoint.results.subscene import segment_of, subscene
from dynapoint.results.summary import summarize

if TYPE_CHECKING:
    from dynapoint.reductions.self_check import SelfCheck

__all__ = ["FrameTracks", "PointDecoder", "QueryResult", "Reconstruction", "Served"]

# Contact sheets in notebooks are drawn this wide at most.
_NOTEBOOK_WIDTH_PX = 1100


@runtime_checkable
class Served(Protocol):
    """A viewer page that is served until `close()`; a notebook shows it in its cell.

    Attributes:
        address: The page's URL, for browsers on this machine.
    """

    address: str

    def close(self) -> None:
        """Stop the server."""
        ...

    def __enter__(self) -> "Served":
        """The page; the end of the `with` block closes it."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Stop the server."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Reconstruction(SceneMaps):
    """A 4D scene: frames, their cameras, and the 3D point of every pixel at every time.

    The world is the camera of frame 0 (OpenCV axes: x right, y down, z forward). Points and camera
    positions share one scene unit; it is a metre only if the scene was made metric. Pixels are
    those of the original images, with centres at half-integers. Arguments `frame` and `time` are
    indices of the frames used, from 0. Attributes: `SceneMaps`.
    """

    track = place_answers.track
    match = place_answers.match
    expected_error = place_answers.expected_error
    object_flow = flow_answers.object_flow
    scene_flow = flow_answers.scene_flow
    optical_flow = flow_answers.optical_flow
    motion_between = motion_answers.motion_between
    motion = motion_answers.motion
    objects = motion_answers.objects
    rigid_object = motion_answers.rigid_object
    fuse = cloud_answers.fuse
    background = cloud_answers.background
    fit_intrinsics = camera_answers.fit_intrinsics
    camera_motion = camera_answers.camera_motion
    camera_motion_by_procrustes = camera_answers.camera_motion_by_procrustes
    camera_disagreement = camera_answers.camera_disagreement

    def span(self, start: SupportsIndex, stop: SupportsIndex) -> "Reconstruction":
        """Frames `start` up to, not with, `stop` as a scene of their own.

            rec.span(100, 148).export("part.html")

        The world is the camera of the first of them, unless that is the world already. Answers are
        those of the whole scene, asked for these times alone. Arrays are views of this scene's
        where the world stays, and else copies; frames are not copied.

        Raises:
            InputError: An index is not that of a frame used, or no frame lies between them.
        """
        last = operator.index(stop) - 1
        first = checked_index(start, "start", self.frame_count)
        return subscene(self, range(first, checked_index(last, "stop - 1", self.frame_count) + 1))

    def segment(self, index: SupportsIndex) -> "Reconstruction":
        """One of the `segments` of a long clip as a scene of its own, in the world that it has.

        Index 0 of a scene without segments is the scene itself.

        Raises:
            InputError: There is no such segment.
        """
        return segment_of(self, index)

    def self_check(self) -> "SelfCheck[np.ndarray]":
        """Grade the scene from 0 to 1 by how well it agrees with itself; no ground truth needed."""
        return checks.check(self)

    def save(self, path: Path | str, *, overwrite: bool = False, lean: bool = False) -> Path:
        """Save the whole scene as a folder: arrays, contact sheet, self-check and network.

        `dynapoint.open(path)` is the same reconstruction again, without the video.

        Args:
            path: The folder to write; missing parent folders are created.
            overwrite: Replace an existing scene. Anything else is never replaced.
            lean: Write a small fraction of it, for thousands of clips: nothing of the network, maps
                and frames in fewer bits. It then answers for frame 0 at all times and for all
                frames at their own; docs/formats.md says how much is lost.

        Returns:
            The folder.

        Raises:
            OutputError: `path` exists or cannot be written. No part of the scene is left on disk.
        """
        saving.save(self, path, overwrite=overwrite, lean=lean)
        return Path(path)

    def export(
        self,
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
        """Write the scene in another program's format.

        Args:
            path: The file or folder to write.
            to: The format: ply, glb, usd, blender, nuke, colmap, nerfstudio, rerun, tum, tapvid3d,
                depth, depth-exr, html, mp4 or sheet. None takes it from the suffix of `path`.
            time: Only this time, as a frame index; None for all.
            max_points: At most this many points in a cloud; None leaves it to the format.
            confidence_percentile: Drop this share of a cloud's points, in percent: the least
                confident.
            hide_pixels: Drop points whose pixel is nearly black, or nearly white.
            fps: Times per second in animations; None plays them as the source did.
            show: What pictures of the cloud show: all frames "fused", each frame's "own" pixels, or
                what the self-check advises.
            overwrite: Replace an earlier export.
            segment: Which world of a long clip (`segments`); None for the longest, or that of
                `time`.
            max_frames: At most so many evenly spaced frames; None leaves it to the format. What is
                left out of a long scene is said in a warning.

        Returns:
            The file or folder written.

        Raises:
            ConfigError: The format is unknown, or no format has the suffix.
            InputError: `time` is not the index of a frame used, or there is no such segment.
            OutputError: `path` exists or cannot be written, or the format needs a missing library.
        """
        return dynapoint.export(
            self,
            path,
            to=to,
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

    def show(self, *, port: int = 0, open_browser: bool = True) -> Served:
        """Serve the scene to browsers on this machine, beside the running program.

        Args:
            port: The port to listen on; 0 takes any free port.
            open_browser: Also open the page in the default browser, if there is one.

        Returns:
            The page: `address` is its URL, `close()` stops the server. A notebook shows it in the
            cell.

        Raises:
            ConfigError: The port is not available.
        """
        return dynapoint.view(self, port=port, open_browser=open_browser)

    def contact_sheet(self) -> Image:
        """Draw one picture of the scene to judge it by: frames, depth, tracks, motion."""
        return contact_sheet.draw(self)

    figure = figures.figure

    def __repr__(self) -> str:
        """A few lines: the source, its worlds, the lens and camera, and what to do next."""
        facts = summarize(self)
        height, width = facts.image_hw
        rows, columns = facts.map_hw
        metres = "" if facts.scale_words is None else f"  {facts.scale_words}\n"
        worlds = "" if facts.segment_words is None else f"  {facts.segment_words} (segment(k))\n"
        return (
            f"Reconstruction of {facts.name}: {facts.frames} frames of {width}x{height}, maps of "
            f"{columns}x{rows}, by {facts.model}\n"
            f"{worlds}{metres}  {facts.lens_words}; {facts.camera_words}\n"
            "  ask query, track, motion, fuse, ...; then show(), save(path), export(path)"
        )

    def _repr_html_(self) -> str:
        """The same with the contact sheet, for notebooks."""
        sheet, buffer = self.contact_sheet(), BytesIO()
        sheet.thumbnail((_NOTEBOOK_WIDTH_PX, 10 * _NOTEBOOK_WIDTH_PX))
        sheet.save(buffer, format="PNG")
        picture = base64.b64encode(buffer.getvalue()).decode()
        words = html.escape(repr(self))
        return f'<pre>{words}</pre><img src="data:image/png;base64,{picture}">'
