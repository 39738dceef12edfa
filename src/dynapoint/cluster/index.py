"""The index of results: a Parquet file beside the scenes, a row for each clip."""

import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynapoint.cluster import places
from dynapoint.cluster.result import ClipResult
from dynapoint.errors import ConfigError, OutputError
from dynapoint.whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow

INDEX_FILE = "index.parquet"
# It is written anew as a whole: so often at most, and for so small a share of the time.
_LEAST_S, _SHARE = 2.0, 0.05


class Index:
    """The rows of all clips whose scenes go into one folder, by the places of these.

    Rows of other lists that went into the same folder are kept. It is there whole at any time.
    """

    def __init__(self, output: str) -> None:
        """Read what is there.

        Raises:
            ConfigError: pyarrow is not installed.
            OutputError: What is there is no index.
        """
        self.place = places.joined(output, INDEX_FILE)
        self._schema = _schema()
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._changed = False
        self._due_s = 0.0
        self._read()

    def row(self, path: str) -> Mapping[str, Any] | None:
        """What is known of a scene."""
        return self._rows.get(path)

    def put(self, result: ClipResult) -> None:
        """Note what became of a clip, and write the index if it is time.

        A scene that was there already keeps what is known of how it was made.

        Raises:
            OutputError: It cannot be written.
        """
        there = self._rows.get(result.path)
        row = {name: getattr(result, name, None) for name in self._schema.names}
        row["stages"] = list(result.stages.items())
        row["finished_unix_s"] = time.time()
        if result.skipped and there is not None and there["failure"] is None:
            row = {**there, "source": result.source, "tags": result.tags}
        if row != there:
            self._rows[result.path] = row
            self._changed = True
        if time.monotonic() >= self._due_s:
            self.write()

    def write(self) -> None:
        """Write the index, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        if not self._changed:
            return
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        began_s = time.monotonic()
        table = pa.Table.from_pylist(list(self._rows.values()), schema=self._schema)
        if places.is_address(self.place):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / INDEX_FILE
                pq.write_table(table, file)
                places.put_whole(file, self.place)
        else:
            Path(self.place).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(Path(self.place)) as partial:
                pq.write_table(table, partial)
        self._changed = False
        spent_s = time.monotonic() - began_s
        self._due_s = time.monotonic() + max(_LEAST_S, spent_s / _SHARE)

    def _read(self) -> None:
        import pyarrow.lib  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        with tempfile.TemporaryDirectory() as folder:
            file = Path(self.place)
            if places.is_address(self.place):
                if not places.exists(self.place):
                    return
                file = places.fetch(self.place, Path(folder))
            if not file.is_file():
                return
            try:
                rows = pq.read_table(file, schema=self._schema).to_pylist()
            except (OSError, ValueError, pyarrow.lib.ArrowException) as error:
                raise OutputError(
                    f"{self.place} is no index of scenes that can be read; delete it, and it is "
                    "made anew from the scenes"
                ) from error
        self._rows = {row["path"]: row for row in rows}


def check_installed() -> None:
    """Refuse to go on without what writes the index.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    with suppress(ImportError):
        import pyarrow.parquet  # noqa: F401, PLC0415

        return
    raise ConfigError(
        "many clips have an index of results, which needs pyarrow, and that is not installed; run "
        "`pip install 'dynapoint[cluster]'`"
    )


def _schema() -> "pyarrow.Schema":
    """The columns; `docs/scale.md` explains them."""
    check_installed()
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema(
        [
            ("path", pa.string()),
            ("source", pa.string()),
            ("label", pa.string()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("tags", pa.string()),
            ("frames", pa.int64()),
            ("seconds", pa.float64()),
            ("stages", pa.map_(pa.string(), pa.float64())),
            ("grade", pa.float64()),
            ("cameras_grade", pa.float64()),
            ("trust", pa.string()),
            ("failure", pa.string()),
            ("attempts", pa.int64()),
            ("worker", pa.string()),
            ("memory_bytes", pa.int64()),
            ("finished_unix_s", pa.float64()),
        ]
    )
