"""What a network's confidence and visibility have meant on clips with truth, as monotone curves.

A confidence is a number of the network's own. How large the error was at each confidence is
measured on clips that the network was not trained on (`scripts/calibrate.py`), and kept in the
record beside its weights. Curves through a few such means are fitted by isotonic regression
(Zadrozny and Elkan, KDD 2002, for probabilities). Nothing here is about cameras.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from dynapoint.errors import ModelError

_LARGEST = 1e30


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A monotone map of one number to another: straight between knots, level beyond them.

    Attributes:
        at: Where the knots are, increasing.
        gives: Their values, which never fall or never rise.
    """

    at: tuple[float, ...]
    gives: tuple[float, ...]

    def __post_init__(self) -> None:
        steps = np.diff(self.gives)
        if not self.at or len(self.at) != len(self.gives):
            raise ValueError(f"a curve has {len(self.at)} places and {len(self.gives)} values")
        if not (np.isfinite(self.at).all() and np.isfinite(self.gives).all()):
            raise ValueError("a curve has knots that are not finite")
        if (np.diff(self.at) <= 0).any() or ((steps > 0).any() and (steps < 0).any()):
            raise ValueError("a curve's knots do not increase, or its values rise and fall")

    def __call__(self, values: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        """The curve at some values."""
        return np.interp(values, self.at, self.gives).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class AnswerCurves:
    """The curves of one kind of answer.

    Attributes:
        own_time: From the confidence of points at their frame's own time to the mean error, as a
            share of the scene's mean distance from the camera of frame 0.
        other_times: The same of points at other times.
        visible: From the probability that a depth test gives, where it is above 0, to the share of
            points that were seen.
    """

    own_time: Curve
    other_times: Curve
    visible: Curve

    def expected_error(
        self, confidence: Float[np.ndarray, "*shape"], *, own_time: bool
    ) -> Float32[np.ndarray, "*shape"]:
        """The mean error at confidences, as a share of mean distance; NaN where they are 0."""
        curve = self.own_time if own_time else self.other_times
        return np.where(confidence > 0, curve(confidence), np.float32(np.nan))

    def probability(self, visible: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        """How likely points are seen of which a depth test says this; 0 where it says 0."""
        return np.where(visible > 0, self.visible(visible), np.float32(0))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The curves of a network's own answer, and of answers with depths refined by pictures."""

    network: AnswerCurves
    refined: AnswerCurves

    @classmethod
    def from_plain(cls, plain: object) -> "Calibration":
        """What `dataclasses.asdict` gave, in lists or tuples; ValueError for anything else."""
        answers = _entries(plain, cls.__dataclass_fields__.keys())
        return cls(network=_answer(answers["network"]), refined=_answer(answers["refined"]))


def calibration_beside(weights: Path, sha256: str) -> Calibration | None:
    """The calibration in the record beside a weights file (the same name, `.json`).

    None where there is no record, where it has no calibration, or where it is that of other weights
    (by its `sha256`).

    Raises:
        ModelError: The record is of these weights, and its calibration is damaged.
    """
    path = weights.with_suffix(".json")
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    # Any other file may have that name.
    except (OSError, ValueError, RecursionError):
        return None
    told = isinstance(record, dict) and record.get("sha256") == sha256
    if not told or record.get("calibration") is None:
        return None
    try:
        return Calibration.from_plain(record["calibration"])
    except ValueError as error:
        raise ModelError(
            f"{path} garbles the calibration of confidence ({error}); remove that entry, and "
            "make it anew with scripts/calibrate.py"
        ) from error


def _answer(plain: object) -> AnswerCurves:
    curves = _entries(plain, AnswerCurves.__dataclass_fields__.keys())
    return AnswerCurves(**{name: _curve(curve) for name, curve in curves.items()})


def _curve(plain: object) -> Curve:
    entries = _entries(plain, Curve.__dataclass_fields__.keys())
    return Curve(**{name: _numbers(name, entry) for name, entry in entries.items()})


def _entries(plain: object, names: Any) -> Mapping[str, Any]:
    if not isinstance(plain, dict) or plain.keys() != set(names):
        raise ValueError(f"a calibration has {ascii(plain)[:60]} in place of {', '.join(names)}")
    return plain


def _numbers(name: str, plain: object) -> tuple[float, ...]:
    if not isinstance(plain, list | tuple):
        raise ValueError(f"{name} of a curve is {ascii(plain)[:60]}, not a list")
    for each in plain:
        # Whole numbers may be larger than any with a point.
        if type(each) not in (int, float) or not abs(each) < _LARGEST:
            raise ValueError(f"{name} of a curve holds {ascii(each)[:60]}, which is no number")
    return tuple(float(each) for each in plain)
