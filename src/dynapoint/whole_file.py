"""Files and folders that appear whole or not at all, what killed processes leave, and hashes."""

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dynapoint.errors import OutputError

# Of a file's name, so many bytes go into the name of its partial one, which must not get too long.
_NAME_BYTES, _HOST_CHARACTERS = 100, 30


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, and rename it into place at the end.

    A reader sees the old file or the new one, never a part; a failure leaves nothing behind, and
    what a killed process left of the same file is removed.

    Raises:
        OutputError: the file cannot be written.
    """
    folder = path.absolute().parent
    partial = folder / f"{partial_prefix(path.name)}.part"
    try:
        for left in abandoned(folder, path.name, "part"):
            left.unlink(missing_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); make room or name another place"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty hidden folder beside `path`, which becomes it if the block succeeds.

    What was there before is replaced; a failure leaves it and nothing else, and what a killed
    process left of the same folder is removed. The folder above it has to be there.

    Raises:
        OSError: The folder cannot be written.
    """
    path = path.absolute()
    restore(path)
    partial = hidden_folder(path, "part")
    try:
        yield partial
        take_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def hidden_folder(output: Path, kind: str) -> Path:
    """A new empty folder beside `output` that tells which process made it, and for what."""
    prefix = f"{partial_prefix(output.name)}."
    return Path(tempfile.mkdtemp(prefix=prefix, suffix=f".{kind}", dir=output.parent))


def take_place(new: Path, output: Path) -> None:
    """Rename `new` to `output`; what was there is put back if that fails, else removed.

    Raises:
        OSError: It cannot be renamed.
    """
    # Hidden folders are private; a result has the rights of any new folder.
    give_usual_rights(new)
    if not output.exists():
        new.rename(output)
        return
    old = hidden_folder(output, "old")
    try:
        # On POSIX a folder may be renamed onto an empty one.
        output.replace(old)
    except OSError:
        old.rmdir()
        raise
    try:
        new.rename(output)
    except BaseException:
        old.replace(output)
        raise
    # From here on it is not to be put back, because it is no longer whole.
    shutil.rmtree(old.replace(old.with_suffix(".part")), ignore_errors=True)


def restore(output: Path) -> None:
    """Clean up what killed processes left of a folder, so that it is there whole or not at all.

    Of one that was killed while it replaced the folder, what was there before is put back.
    """
    output = Path(os.path.realpath(output))
    for left in abandoned(output.parent, output.name, "old"):
        with suppress(OSError):
            # An empty one has not taken anything yet.
            if not os.path.lexists(output) and any(left.iterdir()):
                left.rename(output)
        if os.path.lexists(output):
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.rmdir()
    for left in abandoned(output.parent, output.name, "part"):
        shutil.rmtree(left, ignore_errors=True)


def partial_prefix(name: str) -> str:
    """How the hidden name begins under which this process writes what becomes `name`."""
    return f"{_prefix_on_this_machine(name)}{os.getpid()}"


def abandoned(folder: Path, name: str, kind: str) -> list[Path]:
    """What processes of this machine that are no more left of `name`, hidden in `folder`.

    Args:
        folder: Where `name` is, or was to be.
        name: Of a file or folder.
        kind: The suffix, without its dot, of what is looked for; another one may follow, for
            libraries that tell formats by names.
    """
    # Elsewhere a process cannot be asked after without ending it.
    if os.name != "posix":
        return []
    ours = re.compile(rf"{re.escape(_prefix_on_this_machine(name))}(\d+)\b.*\.{kind}(\.\w+)?")
    found = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            match = ours.fullmatch(path.name)
            if match is not None and not _is_alive(int(match[1])):
                found.append(path)
    return found


def _prefix_on_this_machine(name: str) -> str:
    # Other machines may share the folder, and their processes cannot be asked after.
    host = re.sub(r"[^\w-]", "-", platform.node())[:_HOST_CHARACTERS]
    whole = os.fsencode(name)
    short = whole[:_NAME_BYTES]
    if short != whole:
        # Two long names that begin alike are told apart.
        short += f"-{hashlib.sha256(whole).hexdigest()[:12]}".encode()
    return f".{short.decode(errors='ignore')}.{host}-"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        # It belongs to another user, or is no number of a process.
        return True
    return True


def give_usual_rights(path: Path) -> None:
    """Give a file or folder that only its owner may use, as some libraries make them, usual rights.

    These are those of any new file or folder of this process: all but what the umask takes away.
    """
    path.chmod(_usual_rights(path))


def _usual_rights(path: Path) -> int:
    """The rights that a file or folder of its kind gets in this process."""
    # The mask can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return (0o777 if path.is_dir() else 0o666) & ~mask


def hand_on(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where that cannot be, or where it has unusual rights.

    For files that nobody writes into, such as those of scenes.

    Raises:
        OSError: It cannot be written.
    """
    with suppress(OSError):
        # Two names of a file have the same rights.
        if source.stat().st_mode & 0o777 == _usual_rights(source):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
