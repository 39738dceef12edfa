"""Where a long clip is worked on: finished windows stay when the process is killed."""

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dynapoint.errors import OutputError, SceneError
from dynapoint.inference.long.window_files import (
    FinishedWindow,
    read_whole_window,
    window_folder,
)
from dynapoint.results.on_disk.manifest import WINDOWS_FOLDER
from dynapoint.results.on_disk.stored_frames import FRAMES_FOLDER
from dynapoint.whole_file import hand_on, hidden_folder, new_folder, restore, whole_file

_FACTS_FILE, _LOCK_FILE, _LENS_FILE = "made_with.json", "lock", "lens.json"
# First answers of windows that are predicted again.
_FIRST_FOLDER = "first"

Facts = Mapping[str, str | int | float | None]
"""All that what a window says depends on, beside the window's number."""


@dataclass(frozen=True, kw_only=True)
class WorkFolder:
    """The folder of a clip that is being worked on.

    Attributes:
        path: Where it is.
        resumed: How many windows an earlier process left finished.
        frames_written: So many frames it has written, of which windows are finished.
        deleted: How many windows it left that were made with other options, and are deleted.
    """

    path: Path
    resumed: int = 0
    frames_written: int = 0
    deleted: int = 0

    def finished(self, index: int) -> FinishedWindow | None:
        """A window that was finished before, if it was; one that is damaged is deleted.

        Of one that was predicted again it is the first answer, from which all goes on the same way.
        """
        ways = (self._first(index), self.path / window_folder(index))
        there = next((folder for folder in ways if folder.is_dir()), None)
        if there is None:
            return None
        try:
            return read_whole_window(there)
        except SceneError:
            for folder in ways:
                shutil.rmtree(folder, ignore_errors=True)
            return None

    def predicted_again(self, index: int) -> bool:
        """Whether an earlier process predicted a window again, and others took its cameras' place.

        Raises:
            OSError: A file is missing.
        """
        first, last = (
            (folder / "world_from_camera.npy").read_bytes()
            for folder in (self._first(index), self.path / window_folder(index))
        )
        return first != last

    def keep_first(self, index: int) -> None:
        """Keep the answer of a window that is to be predicted again, unless it is kept already.

        Raises:
            OSError: Nothing can be written.
        """
        if self._first(index).is_dir():
            return
        self._first(index).parent.mkdir(exist_ok=True)
        with new_folder(self._first(index)) as part:
            for file in (self.path / window_folder(index)).iterdir():
                hand_on(file, part / file.name)

    def focal_px(self) -> float | None:
        """The focal length that an earlier process found before all windows, if it did."""
        try:
            return float(json.loads((self.path / _LENS_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def keep_focal(self, focal_px: float) -> None:
        """Keep a focal length for processes that go on from here.

        Raises:
            OutputError: It cannot be written.
        """
        with whole_file(self.path / _LENS_FILE) as part:
            part.write_text(json.dumps(focal_px), encoding="utf-8")

    def make(self) -> None:
        """Make the folders in it."""
        (self.path / WINDOWS_FOLDER).mkdir(exist_ok=True)
        (self.path / FRAMES_FOLDER).mkdir(exist_ok=True)

    def _first(self, index: int) -> Path:
        return self.path / _FIRST_FOLDER / f"{index:05d}"


def unfinished_folder(output: Path) -> Path:
    """Where a clip is worked on that becomes the scene `output`."""
    output = Path(os.path.realpath(output))
    return output.parent / f".{output.name}.unfinished"


@contextmanager
def kept_work_folder(output: Path, facts: Facts) -> Iterator[WorkFolder]:
    """The work folder of a scene to be written; deleted if the block succeeds.

    If it fails it is kept as soon as a window is finished.

    What an earlier process left there is taken up if it was made with the same facts, else it is
    deleted.

    Args:
        output: What becomes the scene.
        facts: What windows depend on.

    Raises:
        OutputError: Another process works on the same scene, or nothing can be written.
    """
    path = unfinished_folder(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        restore(path)
        path.mkdir(exist_ok=True)
        with _locked(path, output):
            told = json.dumps(dict(facts), indent=1, sort_keys=True) + "\n"
            facts_file = path / _FACTS_FILE
            same = facts_file.is_file() and facts_file.read_text(encoding="utf-8") == told
            deleted = 0
            if not same:
                deleted = len(list((path / WINDOWS_FOLDER).glob("[0-9]*")))
                _empty(path)
                with whole_file(facts_file) as part:
                    part.write_text(told, encoding="utf-8")
            work = replace(_taken_up(path), deleted=deleted)
            work.make()
            try:
                yield work
            except Exception:
                # Where no window is finished there is nothing to go on with.
                if not any((path / WINDOWS_FOLDER).glob("[0-9]*")):
                    _remove_at_once(path)
                raise
            _remove_at_once(path)
    except OSError as error:
        raise OutputError(
            f"{output} cannot be written ({_reason(error)}); what is finished stays in "
            f"{path}: make room and run the same command again, or delete it"
        ) from error


def passing_work_folder() -> WorkFolder:
    """A work folder among temporary files that goes when it is no longer used."""
    path = Path(tempfile.mkdtemp(prefix="dynapoint-"))
    work = WorkFolder(path=path)
    weakref.finalize(work, shutil.rmtree, path, ignore_errors=True)
    work.make()
    return work


def _taken_up(path: Path) -> WorkFolder:
    """A work folder with what an earlier process finished in it, from the first window on."""
    resumed = frames = 0
    while (path / window_folder(resumed)).is_dir():
        try:
            window = read_whole_window(path / window_folder(resumed)).window
        except SceneError:
            break
        if window.wide:
            break
        frames = max(frames, window.stop)
        resumed += 1
    return WorkFolder(path=path, resumed=resumed, frames_written=frames)


def _reason(error: OSError) -> str:
    """Why nothing can be written; NumPy and safetensors do not say it of a full disk."""
    said = str(error)
    full = "os error 28" in said or " requested and " in said
    return "No space left on device" if full else error.strerror or said


def _remove_at_once(path: Path) -> None:
    """Remove a work folder: half of it must never be taken for what a process left unfinished."""
    shutil.rmtree(path.replace(hidden_folder(path, "part")), ignore_errors=True)


def _empty(path: Path) -> None:
    """Delete all that lies in a work folder but its lock."""
    # First what says how it was made: half of it is then nobody's.
    (path / _FACTS_FILE).unlink(missing_ok=True)
    for each in path.iterdir():
        if each.name == _LOCK_FILE:
            continue
        shutil.rmtree(each) if each.is_dir() else each.unlink()


@contextmanager
def _locked(path: Path, output: Path) -> Iterator[None]:
    """Hold a work folder for this process; the lock of one that is killed is free again."""
    try:
        import fcntl  # noqa: PLC0415 - not everywhere.
    except ImportError:
        yield
        return
    with (path / _LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{output} is being written by another process; wait for it, or give another path"
            ) from None
        yield
