"""Files that appear whole or not at all, and their hashes."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynapoint.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, and rename it into place at the end.

    A reader sees the old file or the new one, never a part; a failure leaves nothing behind.

    Raises:
        OutputError: the file cannot be written.
    """
    partial = path.absolute().parent / f".{path.name}.{os.getpid()}.part"
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); make room or name another place"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
