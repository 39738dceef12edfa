"""The panel: everything that can be chosen."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import viser

from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer.stage import Choices, Stage
from dynapoint.viewer.words import plain

SPEEDS = {"¼×": 0.25, "½×": 0.5, "1×": 1.0, "2×": 2.0, "4×": 4.0}
RESET_VIEW, SCREENSHOT = "Reset view", "Screenshot"
_BACKGROUNDS = {"Show all": "none", "Hide black": "black", "Hide white": "white"}


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Handles of the panel's parts."""

    play: Any
    time: Any
    speed: Any
    frozen: Any
    percentile: Any
    background: Any
    point_size: Any
    tint: Any
    detail: Any
    tracks: Any
    source: Any
    only_moving: Any
    trail: Any
    columns: Any
    rows: Any
    drag: Any
    source_picture: Any
    cameras: Any
    all_cameras: Any
    follow: Any
    picture: Any
    actions: Any
    progress: Any
    words: Any

    def choices(self) -> Choices:
        """What is chosen now."""
        (left, right), (top, bottom) = self.columns.value, self.rows.value
        return Choices(
            time=int(self.time.value),
            frozen=self.frozen.value,
            confidence_percentile=float(self.percentile.value),
            background=cast(Any, _BACKGROUNDS[self.background.value]),
            tint=self.tint.value,
            tracks=self.tracks.value,
            source=int(self.source.value),
            region=(left / 100, right / 100, top / 100, bottom / 100),
            only_moving=self.only_moving.value,
            trail=int(self.trail.value),
        )

    @property
    def repainting(self) -> tuple[Any, ...]:
        """Those whose change changes what is shown."""
        return (
            *(self.time, self.frozen, self.percentile, self.background, self.point_size),
            *(self.tint, self.tracks, self.source, self.only_moving, self.trail),
            *(self.columns, self.rows, self.cameras, self.all_cameras, self.follow),
        )


def add_controls(server: "viser.ViserServer", stage: Stage) -> Controls:
    """Build the panel for a scene."""
    gui, rec = server.gui, stage.rec
    last = max(rec.frame_count - 1, 1)
    one = rec.frame_count == 1
    parts: dict[str, Any] = {}
    gui.add_markdown(_heading(rec))
    parts["time"] = gui.add_slider(time_label(stage, 0), 0, last, 1, 0, disabled=one)
    parts["play"] = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY, disabled=one)
    parts["speed"] = gui.add_dropdown("Speed", tuple(SPEEDS), initial_value="1×", disabled=one)
    parts["frozen"] = gui.add_checkbox(
        "Freeze time",
        False,
        hint="The points of all frames together, each where it is at the chosen time.",
    )
    parts["words"] = gui.add_markdown("", visible=False)
    parts["progress"] = gui.add_progress_bar(0, visible=False)
    with gui.add_folder("Points"):
        parts |= _point_controls(gui)
    with gui.add_folder("Tracks", expand_by_default=False):
        parts |= _track_controls(gui, stage)
    with gui.add_folder("Cameras", expand_by_default=False):
        parts["cameras"] = gui.add_checkbox("Show the camera", True)
        parts["all_cameras"] = gui.add_checkbox("Show more cameras", True)
        parts["follow"] = gui.add_checkbox(
            "Follow the camera", False, hint="See what the camera saw, at its own field of view."
        )
    parts["actions"] = gui.add_button_group("View", (RESET_VIEW, SCREENSHOT))
    parts["picture"] = gui.add_image(stage.picture(0), jpeg_quality=80)
    return Controls(**parts)


def time_label(stage: Stage, time: int) -> str:
    """The time in seconds where it is known, for the slider."""
    seconds = stage.rec.timestamps_s
    if not np.isfinite(seconds[time]):
        return "Frame"
    return f"Time {seconds[time] - seconds[np.isfinite(seconds)].min():.2f} s"


def _point_controls(gui: Any) -> dict[str, Any]:
    return {
        "percentile": gui.add_slider(
            "Hide", 0, 95, 1, 10, hint="This share of the points, in percent: the least confident."
        ),
        "background": gui.add_dropdown("Background", tuple(_BACKGROUNDS), initial_value="Show all"),
        "point_size": gui.add_slider("Size", 0.2, 4.0, 0.1, 1.0),
        "tint": gui.add_checkbox("Tint what moves", False),
        "detail": gui.add_checkbox(
            "All while moving",
            False,
            hint="Draw all points while time moves too; for computers with a graphics card.",
        ),
    }


def _track_controls(gui: Any, stage: Stage) -> dict[str, Any]:
    last = max(stage.rec.frame_count - 1, 1)
    one = stage.rec.frame_count == 1
    return {
        "tracks": gui.add_checkbox("Show tracks", False, disabled=one),
        "source": gui.add_slider("From frame", 0, last, 1, 0, disabled=one),
        "only_moving": gui.add_checkbox("Only what moves", True),
        "trail": gui.add_slider("Trail", 1, 30, 1, 10, hint="How many frames long."),
        "columns": gui.add_multi_slider("Left, right", 0, 100, 1, (0, 100)),
        "rows": gui.add_multi_slider("Top, bottom", 0, 100, 1, (0, 100)),
        "drag": gui.add_button("Drag a rectangle", icon=viser.Icon.MARQUEE_2),
        "source_picture": gui.add_image(stage.picture(0), jpeg_quality=80, visible=False),
    }


def _heading(rec: Reconstruction) -> str:
    """What the scene is, in one line."""
    height, width = rec.map_hw
    name = plain(rec.frames.name)
    return (
        f"**{name}** &nbsp; {rec.frame_count} frames, {width} × {height}, {plain(rec.model_name)}"
    )
