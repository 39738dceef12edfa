"""What a prediction was made of and by what, so that a stale one is never scored."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import UInt8

FORMAT = 1
_SHOWN_DIGITS = 8
_MEASURED = ("seconds", "peak_mib")
_KINDS: dict[str, Any] = {"format": int, "metric": bool} | dict.fromkeys(_MEASURED, (int, float))


@dataclass(frozen=True, kw_only=True)
class Made:
    """What stands in a prediction beside its arrays, as JSON under the key `about`.

    Who writes predictions elsewhere gives `task`; what is "" is not compared.

    Attributes:
        format: Of the file.
        task: `Task.digest` of the question.
        pictures: `pictures_digest` of what was shown.
        method: What made it.
        weights: SHA-256 of a network's weights file.
        options: All that changes the method's answers and is not told by the others.
        package: Name and version of the program.
        commit: Of its source, where it ran from a checkout.
        machine: Where it ran.
        metric: As in `Answer`.
        seconds: As in `Answer`.
        peak_mib: As in `Answer`.
    """

    task: str
    format: int = FORMAT
    pictures: str = ""
    method: str = ""
    weights: str = ""
    options: str = ""
    package: str = ""
    commit: str = ""
    machine: str = ""
    metric: bool = False
    seconds: float = 0.0
    peak_mib: float = 0.0

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> "Made":
        """What `to_json` or another program wrote; keys that are not known are passed over.

        Raises:
            ValueError: It is no JSON object with these types, or lacks the task's digest.
        """
        told = json.loads(text)
        if not isinstance(told, dict) or not isinstance(told.get("task"), str):
            raise ValueError("`about` is no JSON object with the `task`'s digest")
        known: dict[str, Any] = {
            field.name: told[field.name] for field in fields(cls) if field.name in told
        }
        for name, value in known.items():
            kind = _KINDS.get(name, str)
            # In Python True is a whole number.
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise ValueError(f"`{name}` of `about` is {value!r}")
            if name in _MEASURED:
                known[name] = float(value)
                if not 0 <= known[name] < math.inf:
                    raise ValueError(f"`{name}` of `about` is {value!r}")
        return cls(**known)


def difference(found: Made, wanted: Made) -> str | None:
    """What a prediction was made with that is not as wanted, in words; None if it fits."""
    if found.format != wanted.format:
        return f"in format {found.format}, not {wanted.format}"
    if found.task != wanted.task:
        return "for another task of this name"
    for name, words in (
        ("pictures", "of other pictures"),
        ("method", "by another method"),
        ("weights", "with other weights"),
        ("options", "with other options"),
    ):
        before, now = getattr(found, name), getattr(wanted, name)
        if before and now and before != now:
            return f"{words} ({_short(name, before)}, now {_short(name, now)})"
    return None


def pictures_digest(images: Iterable[UInt8[np.ndarray, "height width rgb=3"]]) -> str:
    """SHA-256 of pictures in their order, with their sizes, in hexadecimal."""
    found = hashlib.sha256()
    for image in images:
        found.update(json.dumps(image.shape).encode())
        found.update(np.ascontiguousarray(image).tobytes())
    return found.hexdigest()


def _short(name: str, value: str) -> str:
    return value[:_SHOWN_DIGITS] if name in ("pictures", "weights") else value
