"""Ways in which a downloaded file can be bad, and what a reader has to say of it."""

import pytest

from dynapoint.errors import InputError


def cut_off(path):
    """Half of the file is there."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def emptied(path):
    """The download did not begin."""
    path.write_bytes(b"")


def garbled(path):
    """A page of an unwilling server instead of the file."""
    path.write_bytes(b"<html>403 Forbidden</html>\n")


def missing(path):
    """It was not unpacked."""
    path.unlink()


DAMAGES = (cut_off, emptied, garbled, missing)


def refused(call, path, *words):
    """The one line that says what is wrong with a file, with some words that it must have."""
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    for word in words:
        assert word in said
    return said
