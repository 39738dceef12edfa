"""What the viewer works out once is kept in the scene's cache folder, where that can be written."""

import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import dynapoint
from dynapoint.errors import OutputError
from dynapoint.results.on_disk.manifest import CACHE_FOLDER, MANIFEST_FILE
from dynapoint.whole_file import sha256_of, whole_file

_VERSION = 3


def cached(
    scene: Path | None, name: str, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays from the scene's cache, or made now and put there.

    Those of another version of the package, or of another scene at the same place, are made anew;
    a scene that is not stored (None), or cannot be written to, keeps nothing.
    """
    if scene is None:
        return make()
    path = scene / CACHE_FOLDER / f"view_{name}.npz"
    key = f"{_VERSION} {dynapoint.__version__} {sha256_of(scene / MANIFEST_FILE)}"
    found = _read(path, key)
    if found is not None:
        return found
    made = make()
    with suppress(OutputError, OSError):
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            arrays: dict[str, Any] = {"key": np.array(key), **made}
            np.savez(file, **arrays)
    return made


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays, or None where there are none, they are damaged or of something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            return {name: file[name] for name in file.files if name != "key"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
