"""A scene's page: the panel, what it shows, and the threads that keep both up to date."""

import io
import logging
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import viser
from PIL import Image

from dynapoint.errors import DynapointError
from dynapoint.viewer.cameras import picture_plane, quaternion_wxyz, vertical_view_rad
from dynapoint.viewer.controls import (
    RESET_VIEW,
    SCREENSHOT,
    SPEEDS,
    Controls,
    add_controls,
    time_label,
)
from dynapoint.viewer.nodes import Nodes
from dynapoint.viewer.selecting import picture_rectangle
from dynapoint.viewer.stage import Choices, Stage, Work

_LOG = logging.getLogger("dynapoint")
# Points are drawn somewhat larger than the gaps between them, so that surfaces close.
_POINT_RADIUS = 0.75
_HEAD_RADIUS = 0.006
# Once nothing has been chosen for so long, clouds are shown in full.
_REST_S = 0.6
# Playing skips frames rather than sending more of them a second than browsers can draw.
_LARGEST_RATE_HZ = 10.0
_VIEW_RAD = np.radians(50)


class ScenePage:
    """Shows a stage to all browsers that are connected, until it is closed."""

    def __init__(self, server: "viser.ViserServer", stage: Stage) -> None:
        self._server = server
        self._stage = stage
        self._nodes = Nodes(server)
        self._changed = threading.Event()
        self._wanted = threading.Event()
        self._playing = threading.Event()
        self._closed = threading.Event()
        self._failed: set[tuple[str, int]] = set()
        self._look_from_start()
        self._controls = add_controls(server, stage)
        self._connect(self._controls)
        self._paint(replace(self._controls.choices(), detail=False))
        self._changed.set()
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._keep_painting, self._keep_working, self._keep_playing)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the threads and remove the nodes; the panel is left to the caller."""
        self._closed.set()
        for event in (self._changed, self._wanted, self._playing):
            event.set()
        self._server.scene.remove_rect_select_callback()
        for thread in self._threads:
            thread.join(timeout=5)
        self._nodes.clear()

    def _look_from_start(self) -> None:
        """Begin a little behind and above the first camera, looking where it looks."""
        scene, camera = self._server.scene, self._server.initial_camera
        scene.set_up_direction("-y")
        camera.fov = float(_VIEW_RAD)
        camera.position, camera.look_at = (-0.1, -0.2, -0.4), (0.12, 0.05, 1.0)
        camera.near, camera.far = 0.01, 1000.0

    def _connect(self, controls: Controls) -> None:
        """Say what happens where."""
        for handle in controls.repainting:
            handle.on_update(lambda _: self._changed.set())
        controls.play.on_click(lambda _: self._toggle_play())
        act = {RESET_VIEW: self._reset_view, SCREENSHOT: self._screenshot}
        controls.actions.on_click(lambda event: act[event.target.value](event))
        controls.drag.on_click(self._drag_region)

    def _keep_painting(self) -> None:
        """Whatever has changed meanwhile is painted at once: a slider's every stop need not be."""
        rest: float | None = None
        while not self._closed.is_set():
            moved = self._changed.wait(rest)
            self._changed.clear()
            if not self._closed.is_set():
                choices = replace(
                    self._controls.choices(), detail=not moved or self._controls.detail.value
                )
                self._guarded(partial(self._paint, choices))
            rest = _REST_S if moved else None

    def _paint(self, choices: Choices) -> None:
        """Bring nodes and panel to what is chosen."""
        stage, controls, nodes = self._stage, self._controls, self._nodes
        parts = stage.step(choices)
        if controls.all_cameras.value and not controls.follow.value:
            parts["cameras.points"] = self._all_frusta()
        through = controls.follow.value
        if through or not controls.cameras.value:
            parts.pop("frustum.points")
        # One message for all of a step, so that no picture shows half of it.
        with self._server.atomic():
            radius = _POINT_RADIUS * controls.point_size.value * stage.spacing(choices)
            nodes.resize("cloud", radius)
            nodes.resize("detail", radius)
            nodes.resize("heads", _HEAD_RADIUS)
            nodes.send(parts)
            nodes.place_picture(
                parts["picture.image"],
                picture_plane(stage.rec, stage.space, choices.time),
                visible=controls.cameras.value and not through,
            )
            controls.time.label = time_label(stage, choices.time)
            _show_image(controls.picture, parts["picture.image"])
            controls.source_picture.visible = "source.image" in parts
            if "source.image" in parts:
                _show_image(controls.source_picture, parts["source.image"])
        self._server.flush()
        if through:
            for client in self._server.get_clients().values():
                self._look_through(client, choices.time)
        if stage.missing(choices):
            self._wanted.set()

    def _all_frusta(self) -> np.ndarray:
        if not hasattr(self, "_frusta"):
            self._frusta = self._stage.all_frusta()
        return self._frusta

    def _keep_working(self) -> None:
        """Work out what choices lack, one thing after another, while the rest can be used."""
        while not self._closed.is_set():
            self._wanted.wait()
            self._wanted.clear()
            while not self._closed.is_set():
                missing = self._stage.missing(self._controls.choices())
                todo = [work for work in missing if work.key not in self._failed]
                if not todo:
                    break
                self._do(todo[0])
                self._changed.set()

    def _do(self, work: Work) -> None:
        """Work one thing out under the progress bar; say so where it cannot be."""
        progress, words = self._controls.progress, self._controls.words
        words.content, words.visible = f"{work.words} …", True
        progress.value, progress.visible = 0, True
        try:
            self._stage.do(work, lambda share: setattr(progress, "value", round(100 * share)))
        except DynapointError as error:
            self._failed.add(work.key)
            self._tell(f"{work.words} failed", str(error))
        except Exception as error:
            self._failed.add(work.key)
            self._tell(f"{work.words} failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            words.visible = progress.visible = False

    def _toggle_play(self) -> None:
        if self._playing.is_set():
            self._playing.clear()
        else:
            self._playing.set()
        self._controls.play.label = "Pause" if self._playing.is_set() else "Play"
        self._controls.play.icon = (
            viser.Icon.PLAYER_PAUSE if self._playing.is_set() else viser.Icon.PLAYER_PLAY
        )

    def _keep_playing(self) -> None:
        """Move the slider as the source's clock has it, from where it is, round and round."""
        begins = self._stage.seconds()
        while not self._closed.is_set():
            self._playing.wait()
            slider = self._controls.time
            now = begins[int(slider.value)]
            while self._playing.is_set() and not self._closed.is_set():
                started = time.monotonic()
                time.sleep(1 / _LARGEST_RATE_HZ)
                passed = time.monotonic() - started
                now += passed * SPEEDS[self._controls.speed.value]
                now = now if now < begins[-1] else begins[0]
                slider.value = int(np.searchsorted(begins[:-1], now, side="right")) - 1

    def _look_through(self, client: "viser.ClientHandle", frame: int) -> None:
        """Put a browser's camera where a frame's was."""
        pose = self._stage.space.pose(self._stage.rec.world_from_camera[frame])
        camera = client.camera
        with client.atomic():
            camera.position = pose[:3, 3]
            camera.up_direction = -pose[:3, 1]
            camera.wxyz = quaternion_wxyz(pose[:3, :3])
            camera.fov = vertical_view_rad(self._stage.rec, frame, camera.aspect)

    def _reset_view(self, event: "viser.GuiEvent[Any]") -> None:
        """Back to where it began."""
        self._controls.follow.value = False
        start = self._server.initial_camera
        for client in [event.client] if event.client else []:
            client.camera.position, client.camera.look_at = start.position, start.look_at
            client.camera.up_direction, client.camera.fov = (0.0, -1.0, 0.0), start.fov

    def _screenshot(self, event: "viser.GuiEvent[Any]") -> None:
        """Send the browser what it shows, without the panel, as a PNG."""
        client = event.client
        if client is None:
            return
        camera = client.camera
        picture = client.get_render(camera.image_height, camera.image_width, timeout=30.0)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        name = f"{self._stage.rec.frames.name}_{self._controls.choices().time:04d}.png"
        client.send_file_download(name, file.getvalue(), save_immediately=True)

    def _drag_region(self, event: "viser.GuiEvent[Any]") -> None:
        """Look through the source frame's camera and let a rectangle be dragged over it."""
        client, controls = event.client, self._controls
        if client is None:
            return
        source = controls.choices().source
        controls.follow.value = False
        controls.tracks.value = True
        controls.time.value = source
        self._look_through(client, source)
        scene = self._server.scene
        scene.remove_rect_select_callback()

        @scene.on_rect_select()
        def _(selected: Any) -> None:
            camera = selected.client.camera
            region = picture_rectangle(
                self._stage, source, camera, selected.screen_min, selected.screen_max
            )
            scene.remove_rect_select_callback()
            if region is None:
                self._tell("Nothing there", f"The rectangle holds no point of frame {source}.")
                return
            left, right, top, bottom = (round(100 * share) for share in region)
            controls.columns.value, controls.rows.value = (left, right), (top, bottom)

        self._tell("Drag a rectangle", f"over what is to be followed in frame {source}", seconds=6)

    def _tell(self, title: str, words: str, seconds: float | None = None) -> None:
        """Say something in every browser."""
        for client in self._server.get_clients().values():
            client.add_notification(title, words, auto_close_seconds=seconds)

    def _guarded(self, act: Any) -> None:
        """One step that fails is said, and the next one may succeed."""
        try:
            act()
        except DynapointError as error:
            self._tell("This cannot be shown", str(error))
        except Exception:
            _LOG.exception("a step of the viewer failed")


def _show_image(handle: Any, picture: np.ndarray) -> None:
    if handle.image is not picture:
        handle.image = picture
