"""Uploads: files of a browser become a scene."""

import lzma
import re
import shutil
import threading
import zipfile
import zlib
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from dynapoint.data.between import load_between
from dynapoint.data.frames import load_frames
from dynapoint.data.images import is_image_path
from dynapoint.data.names import natural_order
from dynapoint.data.selection import FrameSelection
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.errors import InputError, OutputError
from dynapoint.inference.pipeline import reconstruct_frames
from dynapoint.models.catalog import load_model
from dynapoint.progress import begin, shown
from dynapoint.results.on_disk.output_folder import whole_folder
from dynapoint.results.on_disk.saving import write_all
from dynapoint.viewer.jobs import Report

MODEL = "nano"
MOST_FRAMES = 200
_CHUNK = 1 << 20
# What reading a damaged or locked ZIP file, or one packed in an unknown way, may raise.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(RuntimeError, EOFError, NotImplementedError, ValueError),
)


class Upload:
    """Files that one browser has sent to make one scene of: a video, or images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.count = 0
        self._lock = threading.Lock()
        (folder / "files").mkdir(parents=True)

    def add(self, name: str, body: BufferedIOBase, length: int) -> str:
        """Keep a file of so many bytes; returns what there is now, in words.

        Raises:
            InputError: It did not arrive whole, or is a ZIP file without images.
            OutputError: There is no room for it.
            OSError: It cannot be written.
        """
        # Of the name only letters and digits are kept: nothing is written beside the folder.
        ending = re.sub(r"[^.\w]", "", Path(name).suffix.lower())[:12]
        stem = re.sub(r"[^\w-]+", "_", Path(name).stem)[:60] or "upload"
        with self._lock:
            self.count += 1
            folder = self.folder / "files" / f"{self.count:06d}"
        # Images are a scene of the name of their folder.
        path = folder / stem / f"{stem}{ending}"
        path.parent.mkdir(parents=True)
        _receive(body, length, path)
        added = [path]
        if ending == ".zip":
            added = unpack_images(path, path.with_suffix(""))
            path.unlink()
        with self._lock:
            if any(not is_image_path(file) for file in [*self.files, *added]):
                # A video is a scene of its own, and so are the images after one.
                self.files = []
            self.files = [*self.files, *added]
            count = len(self.files)
        if not is_image_path(added[0]):
            return name
        return "1 image" if count == 1 else f"{count} images"

    def source(self) -> Path | list[Path]:
        """What to reconstruct.

        Raises:
            InputError: Nothing has been sent.
        """
        if not self.files:
            raise InputError("nothing has been uploaded; choose a video or images first")
        return self.files[0] if len(self.files) == 1 else list(self.files)


def _receive(body: BufferedIOBase, length: int, path: Path) -> None:
    """Write what arrives to a file; what does not arrive whole leaves none."""
    _require_room(path.parent, length)
    left = length
    try:
        with path.open("wb") as file:
            while left > 0:
                piece = body.read(min(_CHUNK, left))
                if not piece:
                    raise InputError(
                        f"{path.name} broke off after {length - left} of {length} bytes; try again"
                    )
                file.write(piece)
                left -= len(piece)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _require_room(folder: Path, size: int) -> None:
    """Refuse what the disk cannot hold before it is full.

    Raises:
        OutputError: There are fewer than so many bytes.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"the upload has {size / 1e6:.0f} MB and there is room for {free / 1e6:.0f} MB; make "
            "room, or start the viewer with TMPDIR naming a folder on a larger disk"
        )


# What is said of each stage, and the share of the work done before it.
_SAID = {
    "read": (0.0, "Reading"),
    "load model": (0.2, "Loading the network"),
    "network": (0.4, "Running the network"),
    "refine": (0.45, "Comparing with the pictures"),
    "tracks": (0.6, "Following points"),
    "contact sheet": (0.75, "Drawing"),
    "self-check": (0.85, "Checking"),
    "write": (0.9, "Writing"),
}


def make_scene(source: Any, scene: Path, *, frames: int, device: str | None, say: Report) -> None:
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
    with shown(tell=lambda stage: say(*_SAID[stage])):
        begin("read")
        small = SmallPictures()
        loaded = load_frames(source, FrameSelection(max_frames=frames), small=small)
        begin("load model")
        model = load_model(MODEL, device=device)
        with whole_folder(scene, overwrite=True) as folder:
            between = partial(load_between, source, loaded, small)
            rec = reconstruct_frames(loaded, model, model_name=MODEL, between=between)
            write_all(rec, folder)


def unpack_images(archive: Path, folder: Path) -> list[Path]:
    """The images of a ZIP file, in the order of their names, as files named by number.

    Raises:
        InputError: It is no ZIP file, is damaged, or holds no images.
        OutputError: There is no room for them.
    """
    folder.mkdir()
    files = []
    try:
        with zipfile.ZipFile(archive) as inside:
            # macOS puts a second, tiny file of the same ending beside every file.
            packed = [
                each
                for each in inside.infolist()
                if is_image_path(Path(each.filename))
                and not (each.is_dir() or each.filename.startswith("__MACOSX/"))
            ]
            # No more than the stated size is ever unpacked.
            _require_room(folder, sum(each.file_size for each in packed))
            by_name = {each.filename: each for each in packed}
            order = natural_order([Path(name) for name in by_name]).paths
            for index, each in enumerate(by_name[str(path)] for path in order):
                path = folder / f"{index:06d}{Path(each.filename).suffix.lower()}"
                with inside.open(each) as content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
                files.append(path)
    except _DAMAGED as error:
        raise InputError(f"the ZIP file cannot be read ({error}); upload another one") from error
    if not files:
        raise InputError("the ZIP file holds no images; put images, or upload a video as it is")
    return files
