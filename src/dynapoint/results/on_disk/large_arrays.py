"""Arrays larger than memory: written row by row, handed on without being read, and let go of."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dynapoint.whole_file import hand_on


class GrowingArray:
    """A .npy file that rows are appended to; never holds more in memory than it is given."""

    def __init__(self, path: Path, shape: Sequence[int], dtype: str = "<f4") -> None:
        self._dtype = np.dtype(dtype)
        # A scene may share the file that is there.
        path.unlink(missing_ok=True)
        self._file = path.open("wb")
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": tuple(shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows, or the next one."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)

    def __enter__(self) -> "GrowingArray":
        """The array; the end of the `with` block closes its file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Close the file."""
        self._file.close()


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file; one that is mapped from a whole .npy file is handed on unread.

    Files of scenes are never written into, so that two scenes may share one.

    Raises:
        OSError: It cannot be written.
    """
    source = _whole_file_of(array)
    if source is None:
        np.save(path, array, allow_pickle=False)
        return
    hand_on(source, path)


def let_go(*arrays: Any) -> None:
    """Give back the memory of what was read of mapped arrays; they can be read again."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        # Windows has no such call.
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def files_below(folder: Path, name: str) -> list[str]:
    """All files in a folder of a folder, relative to that, in order."""
    found = (folder / name).rglob("*")
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


def _whole_file_of(array: np.ndarray) -> Path | None:
    """The .npy file that an array was mapped from, if it is all of it."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return None
    path = Path(array.filename)
    try:
        whole = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return None
    same = whole.shape == array.shape and whole.dtype == array.dtype
    # A part of the file begins elsewhere.
    begins = array.offset == whole.offset and array.strides == whole.strides
    return path if same and begins else None
