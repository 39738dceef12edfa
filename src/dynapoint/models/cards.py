"""What is known of models by their names, without loading any of them (or torch)."""

from dataclasses import dataclass
from pathlib import Path

from dynapoint.errors import ModelError

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known of a model by its name."""

    name: str
    parameters: int
    licence: str
    source: str
    weights_file: str


NANO_1 = ModelCard(
    name="nano-1",
    parameters=9_920_244,
    licence="Apache-2.0",
    source="trained by the dynapoint authors on the package's own data engine",
    weights_file="nano-1.safetensors",
)

CARDS = {"nano-1": NANO_1}
NEWEST = {"nano": "nano-1"}
"""Short names stand for the newest version of a model."""

RETIRED: dict[str, str] = {}
"""Names of versions that are no longer shipped, and their successors."""


def known_models() -> tuple[str, ...]:
    """All names that `find_card` answers to."""
    return (*NEWEST, *CARDS)


def find_card(name: str) -> ModelCard:
    """The card of a model; raises ModelError where the name is unknown or retired."""
    if name in RETIRED:
        raise ModelError(f"model {name!r} has been replaced; use its successor {RETIRED[name]!r}")
    version = NEWEST.get(name, name)
    if version not in CARDS:
        raise ModelError(f"unknown model {name!r}; known models are {', '.join(known_models())}")
    return CARDS[version]
