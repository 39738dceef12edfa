"""The page without a scene: upload a video or images, reconstruct them, look, download."""

import io
import re
import shutil
import tempfile
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import viser

from dynapoint.data.frames import load_frames
from dynapoint.data.images import is_image_path, natural_key
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import DynapointError, InputError
from dynapoint.exports.catalog import FORMATS, export
from dynapoint.inference.opening import open_scene
from dynapoint.inference.pipeline import reconstruct_frames
from dynapoint.models.catalog import load_model
from dynapoint.results import contact_sheet, store
from dynapoint.results.manifest import CACHE_FOLDER
from dynapoint.results.output_folder import whole_folder
from dynapoint.viewer.page import ScenePage
from dynapoint.viewer.stage import Stage
from dynapoint.viewer.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "nano"
_MOST_FRAMES = 60
_STAGES = ("Reading", "Loading the network", "Running the network", "Following points", "Writing")
_INTRODUCTION = (
    "Upload a video, images one after another, or a ZIP of images. They stay on the machine that "
    "serves this page."
)


class UploadPage:
    """One upload box for all browsers; what is reconstructed lives as long as the page."""

    def __init__(self, server: "viser.ViserServer", *, device: str | None = None) -> None:
        self._server = server
        self._device = device
        self._folder = tempfile.TemporaryDirectory(prefix="dynapoint-view-")
        self._uploads = Path(self._folder.name) / "uploads"
        self._uploads.mkdir()
        self._files: list[Path] = []
        self._count = 0
        self._scene: Path | None = None
        self._page: ScenePage | None = None
        self._busy = threading.Lock()
        self._add_box()

    def close(self) -> None:
        """Delete all that was uploaded and made."""
        if self._page is not None:
            self._page.close()
        self._folder.cleanup()

    def _add_box(self) -> None:
        gui = self._server.gui
        self._introduction = gui.add_markdown(_INTRODUCTION)
        self._upload = gui.add_upload_button("Add a video or images", icon=viser.Icon.UPLOAD)
        self._listing = gui.add_markdown("", visible=False)
        self._frames = gui.add_slider("At most frames", 2, _MOST_FRAMES, 1, 24)
        self._go = gui.add_button("Reconstruct", icon=viser.Icon.PLAYER_PLAY, disabled=True)
        self._progress = gui.add_progress_bar(0, visible=False, animated=True)
        self._words = gui.add_markdown("", visible=False)
        self._upload.on_upload(lambda event: self._guarded(lambda: self._add(event.target.value)))
        self._go.on_click(lambda _: self._guarded(self._reconstruct))

    def _add(self, uploaded: Any) -> None:
        """Keep one file."""
        # Of the name only letters and digits are kept: nothing is written beside the folder.
        ending = Path(uploaded.name).suffix.lower()
        stem = re.sub(r"[^\w-]+", "_", Path(uploaded.name).stem)[:60] or "upload"
        self._count += 1
        folder = self._uploads / f"{self._count:06d}"
        folder.mkdir()
        path = folder / f"{stem}{ending}"
        path.write_bytes(uploaded.content)
        added = [path]
        if ending == ".zip":
            added = unpack_images(path, folder / "images")
        if any(not is_image_path(file) for file in [*self._files, *added]):
            # A video is a scene of its own, and so are the images after one.
            self._files = []
        self._files += added
        name = plain(uploaded.name)
        kind = f"{len(self._files)} images" if is_image_path(self._files[0]) else name
        self._listing.content, self._listing.visible = f"Ready: {kind}", True
        self._go.disabled = False

    def _reconstruct(self) -> None:
        """Make a scene of what was uploaded, and show it."""
        if not self._busy.acquire(blocking=False):
            return
        self._go.disabled = self._upload.disabled = True
        try:
            scene = Path(self._folder.name) / "scene.4d"
            source: Any = self._files[0] if len(self._files) == 1 else list(self._files)
            make_scene(
                source, scene, frames=int(self._frames.value), device=self._device, say=self._say
            )
            self._scene = scene
            self._show(scene)
        except BaseException:
            # The box is still there, for another try.
            self._progress.visible = self._words.visible = False
            self._go.disabled = self._upload.disabled = False
            raise
        finally:
            self._busy.release()

    def _say(self, share: float, words: str) -> None:
        self._progress.visible = self._words.visible = True
        self._progress.value = round(100 * share)  # type: ignore[misc]
        self._words.content = f"{words} …"

    def _show(self, scene: Path) -> None:
        """The scene's panel in place of the box, with downloads and a way back."""
        gui = self._server.gui
        gui.reset()
        self._page = ScenePage(self._server, Stage(open_scene(scene, device=self._device)))
        with gui.add_folder("Download"):
            as_zip = gui.add_button("Scene (.4d, zipped)", icon=viser.Icon.DOWNLOAD)
            as_zip.on_click(lambda event: self._guarded(lambda: self._send_zip(event.client)))
            if "html" in FORMATS:
                as_html = gui.add_button("Page to play offline (.html)", icon=viser.Icon.DOWNLOAD)
                as_html.on_click(lambda event: self._guarded(lambda: self._send_html(event.client)))
        again = gui.add_button("Another upload", icon=viser.Icon.UPLOAD)
        again.on_click(lambda _: self._start_again())

    def _start_again(self) -> None:
        if self._page is not None:
            self._page.close()
            self._page = None
        self._files = []
        self._server.gui.reset()
        self._add_box()

    def _send_zip(self, client: Any) -> None:
        assert self._scene is not None
        client.send_file_download("scene.4d.zip", zipped(self._scene), save_immediately=True)

    def _send_html(self, client: Any) -> None:
        assert self._scene is not None
        working = client.add_notification(
            "Writing the page", "Fusing all frames …", loading=True, with_close_button=False
        )
        try:
            with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
                scene = open_scene(self._scene, device=self._device)
                path = export(scene, "html", Path(folder) / "scene.html")
                client.send_file_download("scene.html", path.read_bytes(), save_immediately=True)
        finally:
            working.remove()

    def _guarded(self, act: Any) -> None:
        """What goes wrong is said in the browser, and the page goes on."""
        try:
            act()
        except (DynapointError, OSError) as error:
            for client in self._server.get_clients().values():
                client.add_notification("That did not work", str(error), color="red")


def make_scene(source: Any, scene: Path, *, frames: int, device: str | None, say: Any) -> None:
    """Reconstruct a source with the small network into a stored scene, saying how far it is.

    Args:
        source: A video file, an image file, or several.
        scene: The folder to write; an earlier scene there is replaced.
        frames: At most so many.
        device: Where to compute.
        say: Called with the share of the work done and what is being done.

    Raises:
        DynapointError: The source cannot be used, or there is no room.
    """

    @contextmanager
    def stage(index: int) -> "Iterator[None]":
        say(index / len(_STAGES), _STAGES[index])
        yield

    with stage(0):
        loaded = load_frames(source, FrameSelection(max_frames=frames))
    with stage(1):
        model = load_model(MODEL, device=device)
    with whole_folder(scene, overwrite=True) as folder:
        with stage(2):
            rec = reconstruct_frames(loaded, model, model_name=MODEL)
        with stage(3):
            tracks = store.write_tracks(rec, folder)
        with stage(4):
            store.write_scene(rec, folder, contact_sheet=contact_sheet.draw(rec, tracks))


def zipped(scene: Path) -> bytes:
    """A stored scene as a ZIP file, without its cache; not packed, as floats hardly shrink."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(scene.rglob("*")):
            inside = path.relative_to(scene)
            if path.is_file() and inside.parts[0] != CACHE_FOLDER:
                archive.write(path, scene.name / inside)
    return file.getvalue()


def unpack_images(archive: Path, folder: Path) -> list[Path]:
    """The images of a ZIP file, in the order of their names, as files named by number.

    Raises:
        InputError: It is no ZIP file, is damaged, or holds no images.
    """
    folder.mkdir()
    files = []
    try:
        with zipfile.ZipFile(archive) as inside:
            names = [i.filename for i in inside.infolist() if not i.is_dir()]
            # macOS puts a second, tiny file of the same ending beside every file.
            names = [n for n in names if is_image_path(Path(n)) and not n.startswith("__MACOSX/")]
            for index, name in enumerate(sorted(names, key=lambda name: natural_key(Path(name)))):
                path = folder / f"{index:06d}{Path(name).suffix.lower()}"
                with inside.open(name) as packed, path.open("wb") as file:
                    shutil.copyfileobj(packed, file)
                files.append(path)
    except (zipfile.BadZipFile, RuntimeError, EOFError, NotImplementedError) as error:
        raise InputError(f"the ZIP file cannot be read ({error}); upload another one") from error
    if not files:
        raise InputError("the ZIP file holds no images; put images, or upload a video as it is")
    return files
