"""Files that lie elsewhere, through fsspec: S3, GCS, HTTP and what else has a file system there."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dynapoint.data.identity import identity_of_streams
from dynapoint.data.images import is_image_path
from dynapoint.errors import ConfigError, DynapointError, InputError, OutputError, SceneError
from dynapoint.results.on_disk.manifest import MANIFEST_FILE, Manifest, read_manifest

# One letter is a drive.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_LOCAL = ("file://", "local://")
_READ_ONLY = frozenset({"http", "https", "github", "data"})


def is_address(place: str) -> bool:
    """Whether something lies elsewhere: `s3://bucket/walk.mp4`, but neither a path nor `file://`."""
    return _ADDRESS.match(place) is not None and not place.startswith(_LOCAL)


def local(place: str) -> str:
    """A path for `file://PATH`; anything else as it is."""
    for prefix in _LOCAL:
        if place.startswith(prefix):
            return unquote(place.removeprefix(prefix))
    return place


def name_in(place: str) -> str:
    """The last part of a path or an address, without what follows a `?`."""
    if not is_address(place):
        return Path(place).name
    path = urlsplit(place).path if place.startswith(("http://", "https://")) else place
    return unquote(path.rstrip("/").rpartition("/")[2])


def file_system(address: str) -> tuple[Any, str]:
    """What reads and writes at an address, and the path that it knows the address by.

    Raises:
        ConfigError: fsspec, or what it needs for this kind of address, is not installed.
    """
    try:
        import fsspec  # noqa: PLC0415 - of the extra `cluster`.
    except ImportError as error:
        raise ConfigError(
            f"{address} is an address, and reading it needs fsspec, which is not installed; run "
            "`pip install 'dynapoint[cluster]'`"
        ) from error
    try:
        found, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ConfigError(f"{address} cannot be reached: {_line(error)}") from error
    except ValueError as error:
        raise ConfigError(
            f"{address} cannot be reached ({_line(error)}); give a path, or an address such as "
            "s3://, gs:// or https://"
        ) from error
    return found, path


def exists(address: str) -> bool:
    """Whether anything lies at an address.

    Raises:
        InputError: It cannot be asked.
    """
    system, path = file_system(address)
    try:
        return bool(system.exists(path))
    except Exception as error:
        raise _unreadable(address, error) from error


def listed(address: str) -> list[str]:
    """What a pattern at an address stands for, or the files of a folder; else the address alone.

    Raises:
        InputError: It cannot be asked, or a pattern matches nothing.
    """
    system, path = file_system(address)
    if address.startswith(("http://", "https://")):
        # A server has no folders, and `?` is no pattern.
        return [address]
    try:
        if any(sign in path for sign in "*?["):
            found = sorted(system.glob(path))
            if not found:
                raise InputError(f"no file matches {address}; check the pattern")
            return [system.unstrip_protocol(each) for each in found]
        if not system.isdir(path):
            return [address]
        files = sorted(entry["name"] for entry in system.ls(path, detail=True))
        return [system.unstrip_protocol(each) for each in files]
    except DynapointError:
        raise
    except Exception as error:
        raise _unreadable(address, error) from error


def fetch(address: str, folder: Path) -> Path:
    """Copy a file, or the images of a folder, into `folder`; returns where it lies.

    Raises:
        InputError: It is not there, or may not be read.
    """
    system, path = file_system(address)
    target = folder / (name_in(address) or "clip")
    try:
        if not address.startswith(("http://", "https://")) and system.isdir(path):
            target.mkdir(parents=True)
            for entry in system.ls(path, detail=False):
                if is_image_path(Path(entry)):
                    system.get_file(entry, str(target / Path(entry).name))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(target))
    except Exception as error:
        raise _unreadable(address, error) from error
    return target


def identity_at(addresses: tuple[str, ...]) -> str | None:
    """As `data.identity.identity_of`, of which only the ends are fetched; None where that fails."""

    def opened(address: str) -> Any:
        system, path = file_system(address)
        return system.open(path, "rb", block_size=1 << 17), int(system.size(path))

    try:
        return identity_of_streams(opened(address) for address in addresses)
    except Exception:
        return None


def upload(folder: Path, address: str) -> None:
    """Copy a scene to an address so that it is there whole or not at all.

    Stores know no folders that could be renamed, and put single files whole. What a scene is taken
    by, its manifest, is therefore removed first and put last; what was put is removed on failure.
    Files that belong to no scene stay.

    Raises:
        OutputError: It cannot be written; no scene is left there.
    """
    system, path = file_system(address)
    path = path.rstrip("/")
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    files.sort(key=lambda each: each == folder / MANIFEST_FILE)
    begun: list[str] = []
    try:
        _remove_scene(system, path)
        for file in files:
            target = f"{path}/{file.relative_to(folder).as_posix()}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            begun.append(target)
            system.put_file(str(file), target)
    except BaseException as error:
        for target in reversed(begun):
            with suppress(Exception):
                system.rm_file(target)
        if not isinstance(error, Exception):
            raise
        raise OutputError(
            f"{address} cannot be written ({_line(error)}); check that you may write there"
        ) from error


def _remove_scene(system: Any, path: str) -> None:
    """Remove the files of a scene, its manifest first, so that nobody takes a part for it."""
    system.invalidate_cache()
    manifest = f"{path}/{MANIFEST_FILE}"
    if not system.exists(manifest):
        return
    listed = json.loads(system.cat_file(manifest)).get("files", [])
    system.rm_file(manifest)
    for name in listed:
        if name != MANIFEST_FILE and ".." not in str(name).split("/"):
            with suppress(FileNotFoundError):
                system.rm_file(f"{path}/{name}")


def scene_at(address: str, folder: Path) -> Manifest | None:
    """The manifest of the whole scene at an address, of which every file is there; else None.

    Args:
        address: Of the scene.
        folder: An empty one, where its small files are put: manifest and self-check.
    """
    from dynapoint.results.checks import CHECK_FILE  # noqa: PLC0415

    system, path = file_system(address)
    path = path.rstrip("/")
    try:
        system.invalidate_cache()
        if not system.exists(f"{path}/{MANIFEST_FILE}"):
            return None
        there = {str(each).removeprefix(f"{path}/") for each in system.find(path)}
        for name in (MANIFEST_FILE, CHECK_FILE):
            if name in there:
                system.get_file(f"{path}/{name}", str(folder / name))
        found = read_manifest(folder)
    except SceneError:
        return None
    except Exception as error:
        raise _unreadable(address, error) from error
    return found if set(found.files) <= there else None


def check_writable(address: str) -> None:
    """Refuse an address that nothing can be written to by its kind.

    Raises:
        ConfigError: It is so.
    """
    kind = address.partition("://")[0].lower()
    if kind in _READ_ONLY:
        raise ConfigError(
            f"{address} cannot be written to: {kind} is for reading; give a folder, s3:// or gs://"
        )
    file_system(address)


def put_whole(file: Path, address: str) -> None:
    """Copy one file to an address, where stores show it whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    system, path = file_system(address)
    try:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), path)
    except Exception as error:
        raise OutputError(f"{address} cannot be written ({_line(error)})") from error


def joined(folder: str, name: str) -> str:
    """The place of something in a folder, here or elsewhere."""
    if is_address(folder):
        return f"{folder.rstrip('/')}/{name}"
    return str(Path(folder) / name)


def _unreadable(address: str, error: Exception) -> InputError:
    reason = "it is not there" if isinstance(error, FileNotFoundError) else _line(error)
    return InputError(f"{address} cannot be read ({reason}); check that it is there and readable")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
