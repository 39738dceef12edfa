"""Writing a result folder whole or not at all, also when the process is killed."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dynapoint.errors import OutputError, SceneError
from dynapoint.results.on_disk.manifest import CACHE_FOLDER, files_of_scene
from dynapoint.whole_file import hidden_folder, restore, take_place

# Raises an OutputError unless what is there may be replaced: (path, overwrite).
ReplaceCheck = Callable[[Path, bool], None]


def check_output(
    output: Path, *, overwrite: bool, check_replaceable: ReplaceCheck | None = None
) -> None:
    """Make sure, before any heavy work, that a scene may and can be written as the folder `output`.

    Leaves nothing behind: a folder is made and removed again where the scene would be written. What
    killed processes left of the same folder is cleaned up (`restore`).

    Raises:
        OutputError: `output` exists and is no scene of ours, or is one and `overwrite` is false, or
            holds files besides the scene; or nothing can be written there.
    """
    try:
        os.fspath(output.resolve()).encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            f"{output} has bytes in its path that are no UTF-8, and the network's file in it could "
            "not be read again; give another place"
        ) from error
    restore(output)
    if os.path.lexists(output):
        (check_replaceable or _check_scene)(output, overwrite)
    made: list[Path] = []
    try:
        place = output.resolve()
        made = _make_folders(place.parent)
        # The very name is tried, because its length or characters may be what is refused; out of
        # sight, because a process killed just now must not leave an empty folder in its place.
        probe = hidden_folder(place, "part")
        try:
            (probe / place.name).mkdir()
            (probe / place.name).rmdir()
        finally:
            probe.rmdir()
    except OSError as error:
        raise _cannot_write(output, error) from error
    finally:
        _remove_empty(made)


@contextmanager
def whole_folder(
    output: Path, *, overwrite: bool, check_replaceable: ReplaceCheck | None = None
) -> Iterator[Path]:
    """Give an empty folder beside `output`, which takes its place if the block succeeds.

    If the block fails or is interrupted, what was there before is there again and nothing else. If
    the process is killed, hidden folders stay beside `output` until it is written again.
    What may be replaced is a scene of ours, or what `check_replaceable` allows.

    Raises:
        OutputError: As `check_output`, or writing fails midway.
    """
    check_output(output, overwrite=overwrite, check_replaceable=check_replaceable)
    output = output.resolve()
    made: list[Path] = []
    temporary: Path | None = None
    done = False
    try:
        made = _make_folders(output.parent)
        temporary = hidden_folder(output, "part")
        yield temporary
        take_place(temporary, output)
        done = True
    except OSError as error:
        raise _cannot_write(output, error) from error
    finally:
        if not done:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            _remove_empty(made)


def _check_scene(output: Path, overwrite: bool) -> None:
    """Refuse to replace anything but a scene of ours, and that only if told to."""
    if not output.is_dir():
        kind = "a file" if output.is_file() else "no folder"
        raise OutputError(f"{output} exists and is {kind}; give a path that does not exist yet")
    try:
        ours = files_of_scene(output)
    except SceneError as error:
        raise OutputError(
            f"{output} exists and is not a scene of dynapoint; give a path that does not exist yet"
        ) from error
    if not overwrite:
        raise OutputError(
            f"{output} holds a scene already; add --overwrite (overwrite=True) or give another path"
        )
    foreign = sorted(
        str(path.relative_to(output))
        for path in output.rglob("*")
        if not path.is_dir()
        and path.relative_to(output).as_posix() not in ours
        and path.relative_to(output).parts[0] != CACHE_FOLDER
    )
    if foreign:
        raise OutputError(
            f"{output} holds {len(foreign)} files besides the scene ({foreign[0]}); "
            "move them elsewhere or give another path"
        )


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and the missing ones above it; returns those made, outermost first.

    If one cannot be made, those made before it are removed again.
    """
    missing: list[Path] = []
    while not os.path.exists(folder):
        missing.append(folder)
        folder = folder.parent
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
    except OSError:
        _remove_empty(made)
        raise
    return made


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, innermost (last) first, as far as they are empty."""
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def _cannot_write(output: Path, error: OSError) -> OutputError:
    """The one line for a path that cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(f"{output} cannot be written ({reason}); give a path you may write to")
