"""Plain values of a JSON object or list, each of the type wanted or refused by a ValueError."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

Entry = TypeVar("Entry")
Entries = dict[str, Any] | list[Any]

# Longer than any path; longer ones would drown the line that speaks of them.
_LONGEST_TEXT = 4096


def wrong(name: str | int, found: Any, wanted: str) -> ValueError:
    """What to say of an entry; the value as ASCII, in which nothing stops it from being printed."""
    return ValueError(f"{name} is {ascii(found)[:60]}, not {wanted}")


def value_of(content: Entries, name: str | int) -> Any:
    """An entry of any type."""
    if isinstance(content, dict) and name not in content:
        raise ValueError(f"{name} is missing")
    return content[name]  # type: ignore[index]


def optional(
    read: Callable[[dict[str, Any], str], Entry], content: dict[str, Any], name: str
) -> Entry | None:
    """An entry that may be null, else as `read` reads it."""
    return None if value_of(content, name) is None else read(content, name)


def text(content: Entries, name: str | int) -> str:
    """Text that can be printed and is no longer than any path."""
    found = value_of(content, name)
    # Half a surrogate pair is a string in JSON, but cannot be written anywhere.
    printable = isinstance(found, str) and not re.search("[\ud800-\udfff]", found)
    if not printable or len(found) > _LONGEST_TEXT:
        raise wrong(name, found, f"text of up to {_LONGEST_TEXT} characters")
    return str(found)


def whole(content: Entries, name: str | int, *, least: int = 0) -> int:
    """A whole number of a certain size."""
    found = value_of(content, name)
    if not isinstance(found, int) or isinstance(found, bool) or found < least:
        raise wrong(name, found, f"a whole number from {least}")
    return found


def number(content: dict[str, Any], name: str) -> float:
    """A number with a point."""
    found = value_of(content, name)
    if not isinstance(found, float):
        raise wrong(name, found, "a number with a point")
    return found


def truth(content: dict[str, Any], name: str) -> bool:
    """True or false."""
    found = value_of(content, name)
    if not isinstance(found, bool):
        raise wrong(name, found, "true or false")
    return found


def sha256(content: dict[str, Any], name: str) -> str:
    """A SHA-256 in hexadecimal."""
    found = value_of(content, name)
    if not isinstance(found, str) or not re.fullmatch("[0-9a-f]{64}", found):
        raise wrong(name, found, "a SHA-256")
    return found


def one_of(content: dict[str, Any], name: str, *choices: Any) -> Any:
    """One of a few texts, or null where that is one of them."""
    found = value_of(content, name)
    if not isinstance(found, str | None) or found not in choices:
        raise wrong(name, found, f"one of {choices}")
    return found


def table(content: dict[str, Any], name: str) -> dict[str, Any]:
    """An object."""
    found = value_of(content, name)
    if not isinstance(found, dict):
        raise wrong(name, found, "an object")
    return found


def items(content: dict[str, Any], name: str) -> list[Any]:
    """A list."""
    found = value_of(content, name)
    if not isinstance(found, list):
        raise wrong(name, found, "a list")
    return found


def texts(content: dict[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts."""
    found = items(content, name)
    return tuple(text(found, index) for index in range(len(found)))


def sides(content: dict[str, Any], name: str) -> tuple[int, int]:
    """Two positive whole numbers: a height and a width."""
    found = items(content, name)
    if len(found) != 2:
        raise wrong(name, found, "a height and a width")
    return whole(found, 0, least=1), whole(found, 1, least=1)
