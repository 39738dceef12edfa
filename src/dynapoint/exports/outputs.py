"""Where exports go: files and folders that appear whole or not at all, at the path given."""

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dynapoint
from dynapoint.errors import OutputError
from dynapoint.results.on_disk.output_folder import whole_folder
from dynapoint.whole_file import whole_file

EXPORT_FILE = "export.json"
_FORMAT_NAME = "dynapoint-export"


def with_suffix(path: Path, *suffixes: str) -> Path:
    """The path as it is if its name ends in one of `suffixes`, else with the first one appended.

    Raises:
        OutputError: It is a folder, to whose name a suffix is hardly meant to be appended.
    """
    if path.name.lower().endswith(suffixes):
        return path
    if path.is_dir():
        raise OutputError(
            f"{path} is a folder but a file is to be written; give the file's path, "
            f"e.g. {path / f'NAME{suffixes[0]}'}"
        )
    return path.parent / (path.name + suffixes[0])


def check_free(path: Path, *suffixes: str, overwrite: bool) -> Path:
    """The file that `export_file` would write, once it is sure that it may.

    Raises:
        OutputError: It is a folder, or exists and may not be replaced.
    """
    path = with_suffix(path, *suffixes)
    if path.is_dir():
        raise OutputError(f"{path} is a folder but a file is to be written; give another path")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(
            f"{path} exists already; add --overwrite (overwrite=True) or give another path"
        )
    return path


@contextmanager
def export_file(path: Path, *suffixes: str, overwrite: bool) -> Iterator[Path]:
    """Give a temporary name to write a file to, which becomes `path` if the block succeeds.

    Args:
        path: The file; the first of `suffixes` is appended unless its name ends in one of them.
            Missing folders above it are made.
        suffixes: With their dots, in lower case.
        overwrite: Replace a file that is there.

    Raises:
        OutputError: `path` exists and may not be replaced, or cannot be written.
    """
    path = check_free(path, *suffixes, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(
            f"{path} cannot be written (a file stands where its folder would be); give another path"
        ) from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); give a path you may write to"
        ) from error
    with whole_file(path) as partial:
        yield partial


@contextmanager
def export_folder(
    path: Path, to: str, *, overwrite: bool, note: str | None = None
) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes `path` if the block succeeds.

    `export.json` is added, which says what the folder is and lists its files, so that a later
    export may replace it and nothing else.

    Args:
        path: The folder, whatever its name ends in; missing ones above it are made.
        to: Name of the format.
        overwrite: Replace an earlier export that holds nothing besides.
        note: What was left out, to be said in `export.json`.

    Raises:
        OutputError: `path` exists and may not be replaced, or cannot be written.
    """
    with whole_folder(path, overwrite=overwrite, check_replaceable=_check_export) as folder:
        yield folder
        about = {
            "format": _FORMAT_NAME,
            "to": to,
            "package_version": dynapoint.__version__,
            **({} if note is None else {"note": note}),
            "files": _files_in(folder),
        }
        (folder / EXPORT_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def readable_name(name: str) -> str:
    """A scene's name as text that can be written: bytes of a file name that are none become �."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def require(module: str, *, extra: str, format_name: str) -> Any:
    """Import a library that only some exports need.

    Raises:
        OutputError: It is not installed; the message names the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise OutputError(
            f"{format_name} needs {module}, which is not installed; "
            f"run `pip install dynapoint[{extra}]`"
        ) from error


def _files_in(folder: Path) -> list[str]:
    """All files below a folder, relative to it."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir())


def _check_export(output: Path, overwrite: bool) -> None:
    """Refuse to replace anything but an export of ours or an empty folder, and that unless told."""
    if not output.is_dir():
        kind = "a file" if output.is_file() else "no folder"
        raise OutputError(f"{output} exists and is {kind}; a folder is to be written there")
    if not overwrite:
        raise OutputError(
            f"{output} exists already; add --overwrite (overwrite=True) or give another path"
        )
    files = _files_in(output)
    try:
        about = json.loads((output / EXPORT_FILE).read_text(encoding="utf-8")) if files else {}
        ours = {*about["files"], EXPORT_FILE} if files else set()
        known = not files or about["format"] == _FORMAT_NAME
    except (OSError, ValueError, KeyError, TypeError):
        known, ours = False, set()
    foreign = [file for file in files if file not in ours]
    if not known or foreign:
        named = f" ({foreign[0]})" if foreign else ""
        raise OutputError(
            f"{output} holds files that are no export of dynapoint{named}; "
            "move them elsewhere or give another path"
        )
