"""What a stored scene keeps of a network, so that it can be asked further questions."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from dynapoint.errors import ModelError
from dynapoint.models.kept.encoded_files import write_encoded
from dynapoint.models.source import ModelSource
from dynapoint.results.on_disk.manifest import ENCODED_FILE, WEIGHTS_FILES, NetworkEntry
from dynapoint.whole_file import sha256_of

LARGEST_WEIGHTS_BYTES = 32 * 1024**2
"""Larger weights files are not copied into scenes."""


def store_network(encoded: Any, source: ModelSource, folder: Path) -> NetworkEntry:
    """Write what a network keeps of a clip, and its weights where they are small.

    Raises:
        ModelError: What it keeps is of a kind that has no name.
        OSError: `folder` cannot be written to.
    """
    path = folder / ENCODED_FILE
    try:
        write_encoded(encoded, path)
    except TypeError as error:
        raise ModelError(f"what {source.name} encoded cannot be kept: {error}") from error
    # The file may have gone since the network was loaded, which is no reason to lose a scene.
    there = source.weights.is_file()
    return NetworkEntry(
        name=source.name,
        weights_sha256=source.weights_sha256,
        weights_bytes=source.weights.stat().st_size if there else 0,
        weights_file=copy_weights(source, folder) if there else None,
        decoder_weights=source.decoder_weights,
        precision=source.precision,
        encoded_sha256=sha256_of(path),
        encoded_bytes=path.stat().st_size,
    )


def copy_weights(source: ModelSource, folder: Path) -> str | None:
    """Copy a small weights file that has not changed since; returns its name in the scene."""
    if source.weights.stat().st_size > LARGEST_WEIGHTS_BYTES:
        return None
    # Loaders go by the suffix, and take any other for torch's own.
    name = WEIGHTS_FILES[source.weights.suffix != ".safetensors"]
    copy = folder / name
    if not _link_from_neighbour(source, copy):
        shutil.copyfile(source.weights, copy)
    if sha256_of(copy) == source.weights_sha256:
        return name
    copy.unlink()
    return None


def _link_from_neighbour(source: ModelSource, copy: Path) -> bool:
    """Share the weights of a scene beside this one: a second name of one file, if it is the same.

    Scenes are replaced whole and never written into, so that none can change another's weights.
    """
    size = source.weights.stat().st_size
    for other in sorted(copy.parent.parent.glob(f"[!.]*/{copy.name}")):
        with suppress(OSError):
            if other.stat().st_size == size and sha256_of(other) == source.weights_sha256:
                os.link(other, copy)
                return True
    return False
