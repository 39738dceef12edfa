"""Columns of Parquet files, read with pyarrow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dynapoint.datasets.files import damaged, need_file
from dynapoint.errors import InputError

if TYPE_CHECKING:
    import pyarrow


def read_columns(
    path: Path, columns: Sequence[str], where: Mapping[str, int] | None = None
) -> "pyarrow.Table":
    """Some columns of a file, all rows or those with the values wanted in other columns.

    Raises:
        InputError: pyarrow is not installed, the file is missing or damaged, or lacks a column.
    """
    try:
        import pyarrow.lib  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"{path}: reading Parquet needs pyarrow, which is not installed; "
            "run `pip install 'dynapoint[datasets]'`"
        ) from error
    need_file(path)
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
        missing = [column for column in (*columns, *(where or {})) if column not in there]
        if not missing:
            filters = [(column, "=", value) for column, value in (where or {}).items()]
            return pq.read_table(path, columns=list(columns), filters=filters or None)
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise damaged(path, str(error)) from error
    raise damaged(path, f"it has no column {', '.join(missing)}")
