"""Where a network came from, so that it can be loaded again."""

from dataclasses import dataclass
from pathlib import Path

from dynapoint.models.calibration import Calibration


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """The arguments of `catalog.load_model` that decide what a network answers.

    A card's loader is given it, and the network that it makes says it in its `info`.

    Attributes:
        name: As it was asked for.
        weights: The weights file.
        weights_sha256: Its hash when it was read.
        decoder_weights: How the time decoder keeps its weights.
        precision: As it was asked for; None for what suits the device.
        calibration: What its confidence has meant, by the record beside the file; None where there
            is no such.
    """

    name: str
    weights: Path
    weights_sha256: str
    decoder_weights: str
    precision: str | None
    calibration: Calibration | None = None
