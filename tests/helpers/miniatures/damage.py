"""Ways in which a file of a data set goes wrong, and the check that one line says so."""

import pytest

from dynapoint.errors import InputError


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    """It ends in its middle, as when a download stops."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def scramble(path):
    """It is another kind of file."""
    path.write_bytes(b"<html><body>404 not found</body></html>\n")


def refused(call, path, *words):
    """The call says in one line which file is at fault, and what is wrong with it."""
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    for word in words:
        assert word in said
