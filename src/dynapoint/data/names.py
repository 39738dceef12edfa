"""The order of files by their names: numbers in names count as numbers, seconds among them."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

# A number with a part behind a point, which is no part of a longer chain (dates, versions).
_DECIMAL = re.compile(r"(?<![\d.])(\d+)\.(\d+)(?!\.?\d)")
_WHOLE = re.compile(r"\d+")

Key = tuple[tuple[int, int | float, str], ...]


@dataclass(frozen=True, kw_only=True)
class NaturalOrder:
    """Files in the order of their names, and a line where that could be meant otherwise."""

    paths: list[Path]
    remark: str | None


def natural_order(paths: Sequence[Path]) -> NaturalOrder:
    """Put files in the order of the numbers in their names, so that `frame_10` follows `frame_9`.

    A point between two numbers is a decimal point (12.05, 12.1, 12.125: seconds), unless the names
    count behind it (1.8, 1.9, 1.10: no number is written with a zero at its end while others are
    shorter). Where that is not certain and makes a difference, it is said.
    """
    by_decimals = sorted(paths, key=natural_key)
    by_counters = sorted(paths, key=_counting_key)
    if by_decimals == by_counters:
        return NaturalOrder(paths=by_decimals, remark=None)
    counts, certain = _reading([path.stem for path in paths])
    chosen = by_counters if counts else by_decimals
    if certain:
        return NaturalOrder(paths=chosen, remark=None)
    first, second = next(
        (one, other)
        for one, other in pairwise(chosen)
        if by_decimals.index(one) + 1 != by_decimals.index(other)
        or by_counters.index(one) + 1 != by_counters.index(other)
    )
    words = "counted behind the point" if counts else "read as decimal numbers"
    return NaturalOrder(
        paths=chosen,
        remark=f"names {words}: {first.name} before {second.name}; give a list for another order",
    )


def readable(text: str) -> str:
    """A text that can be written anywhere, in one line: what is no text becomes %xx, byte by byte.

    Names of files may hold any bytes; those that are no UTF-8 are half of a pair of code points in
    Python, which JSON, HTML and terminals refuse.
    """
    return "".join(
        "".join(f"%{byte:02x}" for byte in os.fsencode(each)) if _unwritable(each) else each
        for each in text
    )


def _unwritable(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def natural_key(path: Path) -> Key:
    """Sort key by the numbers in a name, those with a decimal point included."""
    folder, stem = _in_parts(path)
    pieces: list[tuple[int, int | float, str]] = list(folder)
    end = 0
    for found in _DECIMAL.finditer(stem):
        pieces += _whole_numbers(stem[end : found.start()])
        # The same value written differently stays in one order.
        pieces += [(0, float(found.group()), ""), (1, 0, found.group())]
        end = found.end()
    return (*pieces, *_whole_numbers(stem[end:] + path.suffix))


def _counting_key(path: Path) -> Key:
    """Sort key by the whole numbers in a name."""
    return tuple(_whole_numbers(str(path)))


def _in_parts(path: Path) -> tuple[Key, str]:
    """The key of a path's folder, and the name without its suffix."""
    folder = str(path.parent)
    return (() if folder == "." else (*_whole_numbers(folder), (1, 0, "/"))), path.stem


def _whole_numbers(text: str) -> list[tuple[int, int | float, str]]:
    """Pieces of a text, its numbers by value."""
    pieces = [piece for piece in re.split(r"(\d+)", text) if piece]
    return [
        (0, int(piece), "") if piece.isdecimal() and piece.isascii() else (1, 0, piece.casefold())
        for piece in pieces
    ]


def _reading(stems: Sequence[str]) -> tuple[bool, bool]:
    """Whether names count behind the point, and whether that is certain."""
    behind = [found.group(2) for stem in stems for found in _DECIMAL.finditer(stem)]
    # Decimal numbers never lose a zero between the point and a digit, counters have none.
    decimals = any(digits[0] == "0" and len(digits) > 1 for digits in behind)
    lengths = {len(digits) for digits in behind}
    counters = len(lengths) > 1 and any(
        digits[-1] == "0" and digits[0] != "0" and len(digits) > min(lengths) for digits in behind
    )
    return counters and not decimals, counters != decimals
