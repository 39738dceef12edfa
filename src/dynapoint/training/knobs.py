"""The numbers of a run that are worth changing: what recipes set, and what options change.

Each is told once, here: `dynapoint train` and `scripts/gpu/train.py` make their options of it. It
loads nothing, so that help is quick and wrong values are found before torch is there.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from dynapoint.errors import ConfigError

# What a value has to be, in words and as a test.
_Wanted = tuple[str, Callable[[Any], bool]]
_POSITIVE: _Wanted = ("a positive number", lambda value: 0 < value < math.inf)
_NOT_NEGATIVE: _Wanted = ("0 or more", lambda value: 0 <= value < math.inf)
_COUNT: _Wanted = ("1 or more", lambda value: value >= 1)
_SHARE: _Wanted = ("more than 0, and 1 at most", lambda value: 0 < value <= 1)
_DECAY: _Wanted = ("0 or more, and less than 1", lambda value: 0 <= value < 1)

BATCH_WORDS = "Samples a step in every phase, of each stream."


def _knob(default: Any, words: str, wanted: _Wanted | None = None) -> Any:
    """A field with its help, and what its values have to be where the type does not say it."""
    return field(default=default, metadata={"words": words, "wanted": wanted})


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What of a run can be changed by an option of its name.

    Raises:
        ConfigError: A value is none that a run could have.
    """

    steps: int = _knob(100_000, "Train for so many steps in all.", _COUNT)
    optimiser: Literal["adamw", "muon"] = _knob(
        "adamw", "What takes the steps; muon makes updates of the blocks' matrices orthogonal."
    )
    learning_rate: float = _knob(1e-3, "Rate after the warm-up.", _POSITIVE)
    weight_decay: float = _knob(
        0.05, "Share of the weights, times the rate, that a step takes off.", _NOT_NEGATIVE
    )
    warmup_steps: int = _knob(500, "Steps over which the rate rises at first.", _NOT_NEGATIVE)
    decay_steps: int = _knob(
        0,
        "Steps over which the rate falls to zero at the end; 0 keeps it constant.",
        _NOT_NEGATIVE,
    )
    clip_norm: float = _knob(1.0, "Largest norm of a step's gradients.", _POSITIVE)
    ema_decay: float | None = _knob(
        0.999,
        "Of the running average of weights, which is what is validated and saved.",
        _DECAY,
    )
    draws_per_clip: int = _knob(4, "Steps that each rendered group of clips gives.", _COUNT)
    groups_held: int = _knob(6, "Groups of clips among which neighbouring steps alternate.", _COUNT)
    clip_frames: int = _knob(10, "Frames of each rendered clip.", _COUNT)
    photometric: float = _knob(
        1.0, "Strength of changes of brightness, colour and noise; 0 is none.", _NOT_NEGATIVE
    )
    centre_crop: float = _knob(
        1.0, "Least share of either side of the images that is kept about the centre.", _SHARE
    )
    precision: Literal["auto", "float32", "bfloat16"] = _knob(
        "auto", "Of the network's products; auto is bfloat16 where the hardware is quick at it."
    )
    checkpoint_seconds: float = _knob(300.0, "How often the run is saved.", _POSITIVE)
    validate_seconds: float = _knob(
        900.0, "How often the average is scored and its weights are written.", _POSITIVE
    )
    validation_clips: int = _knob(
        24, "Held-out clips of either end of the difficulty to score; 0 is none.", _NOT_NEGATIVE
    )
    streams: int = _knob(
        0,
        "Streams of samples that each step takes a batch of, shared among the processes; 0 is one "
        "for each process that begins the run.",
        _NOT_NEGATIVE,
    )
    seed: int = _knob(0, "Of the first weights and of all clips.", _NOT_NEGATIVE)

    def __post_init__(self) -> None:
        check_values({each.name: getattr(self, each.name) for each in fields(Knobs)})


def check_values(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value that no run could have; `batch` is one of a phase's."""
    wanted = {each.name: each.metadata["wanted"] for each in fields(Knobs)} | {"batch": _COUNT}
    for name, value in values.items():
        words, holds = wanted[name] or ("", lambda _: True)
        if value is not None and not holds(value):
            raise ConfigError(f"--{name.replace('_', '-')} is {value:g}; give {words}")
