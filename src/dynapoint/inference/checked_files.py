"""Files of a scene that may have changed since they were written."""

from pathlib import Path

from dynapoint.errors import SceneError
from dynapoint.whole_file import sha256_of


def check_file(path: Path, sha256: str) -> None:
    """Refuse a file of the scene that has changed since it was written."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise SceneError(
            f"{path} cannot be read ({error.strerror}); reconstruct the scene again"
        ) from error
    if found != sha256:
        raise SceneError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., not {sha256[:12]}...; reconstruct "
            "the scene again"
        )
