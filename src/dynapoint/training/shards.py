"""Files in parts that are small enough to be sent, told apart by the hash of the whole.

Each save is a folder of its own, and `newest` points to the last one that is complete, so that a
copy made while a save is written holds the parts of one version. What the versions were is in the
run's log, one line for each file that was saved.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynapoint.errors import ModelError, OutputError
from dynapoint.whole_file import new_folder, whole_file

LARGEST_SHARD = 15 * 1024 * 1024
LOG_FILE = "log.jsonl"
NEWEST = "newest"
_KEPT_SAVES = 2


def write_shards(files: Sequence[Path], folder: Path, *, number: int) -> Path:
    """Split files into one save of `folder`; returns the save's folder, `newest` from then on.

    Raises:
        OutputError: the parts cannot be written.
    """
    save = folder / f"save-{number:04d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new_folder(save) as partial:
            for file in files:
                data = file.read_bytes()
                for index in range(count_shards(len(data))):
                    part = data[index * LARGEST_SHARD : (index + 1) * LARGEST_SHARD]
                    (partial / f"{file.stem}.{index:02d}").write_bytes(part)
        with whole_file(folder / NEWEST) as link:
            link.symlink_to(save.name)
        # The one before stays: somebody may be copying it.
        for old in sorted(folder.glob("save-*"))[:-_KEPT_SAVES]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write shards into {folder} ({error.strerror})") from error
    return save


def count_shards(size: int) -> int:
    """How many parts a file of so many bytes has."""
    return max(1, -(-size // LARGEST_SHARD))


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A file put together again, and what the log says of it."""

    path: Path
    sha256: str
    said: dict[str, object]


def join_shards(folders: Sequence[Path], output: Path) -> list[Joined]:
    """Join the newest consistent version of every file whose parts lie in the folders.

    Each folder holds what came back once: parts, and a log. A version is consistent if a log says
    that a file of its hash was saved.

    Raises:
        ModelError: there are no parts, or no version of a file is consistent.
        OutputError: the files cannot be written.
    """
    saved = _saved_lines(folders)
    names = sorted({part.stem for folder in folders for part in _parts(folder)})
    if not names:
        raise ModelError(
            f"no shards in {', '.join(map(str, folders))}; give folders that have some"
        )
    joined = []
    for name in names:
        versions = []
        for folder in folders:
            data = b"".join(part.read_bytes() for part in _parts(folder) if part.stem == name)
            said = saved.get((name, hashlib.sha256(data).hexdigest()))
            if said is not None:
                versions.append((said, data))
        if not versions:
            raise ModelError(
                f"the shards of {name} are of no version that a log names; copy the folder again, "
                "or give one that was copied before"
            )
        said, data = max(versions, key=lambda version: float(version[0]["t"]))  # type: ignore[arg-type]
        path = output / f"{name}.safetensors"
        output.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_bytes(data)
        joined.append(Joined(path=path, sha256=str(said["sha256"]), said=said))
    return joined


def _parts(folder: Path) -> list[Path]:
    """The parts in a folder, in their order."""
    return sorted(path for path in folder.glob("*.[0-9][0-9]") if path.is_file())


def _saved_lines(folders: Sequence[Path]) -> dict[tuple[str, str], dict[str, object]]:
    """What the logs say was saved, by name and hash."""
    saved: dict[tuple[str, str], dict[str, object]] = {}
    for folder in folders:
        log = folder / LOG_FILE
        for text in log.read_text().splitlines() if log.is_file() else []:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                # A copy may end in the middle of a line.
                continue
            if line.get("event") == "saved":
                saved[line["name"], line["sha256"]] = line
    return saved
