"""Telling sources apart by what they hold: a clip is the same whatever its name and place.

Names recur from one day to the next, and times change with every copy; sizes, beginnings and ends
of files do not.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dynapoint.data.images import images_in_folder
from dynapoint.errors import DynapointError

_END_BYTES = 64 * 1024


def identity_of(sources: Sequence[Path]) -> str | None:
    """A hash of the sizes, beginnings and ends of all files of a scene's source, in order.

    Args:
        sources: A video, a folder of images, or image files.

    Returns:
        64 hexadecimal digits; None where a file cannot be read.
    """
    files = (
        file
        for source in sources
        for file in (images_in_folder(source) if source.is_dir() else [source])
    )
    try:
        return identity_of_streams((file.open("rb"), file.stat().st_size) for file in files)
    except (OSError, DynapointError):
        return None


def identity_of_streams(files: Iterable[tuple[Any, int]]) -> str:
    """The same of open files with their sizes in bytes, each of which is closed.

    Raises:
        OSError: One cannot be read.
    """
    found = hashlib.sha256()
    for stream, size in files:
        with stream:
            found.update(_ends(stream, size))
    return found.hexdigest()


def _ends(stream: Any, size: int) -> bytes:
    """The hash of a file's size, its first bytes and its last."""
    found = hashlib.sha256(str(size).encode())
    found.update(stream.read(_END_BYTES))
    with suppress(OSError):
        stream.seek(max(_END_BYTES, size - _END_BYTES))
        found.update(stream.read(_END_BYTES))
    return found.digest()
