"""The models that users ask for by name."""

from dataclasses import dataclass
from pathlib import Path

from dynapoint.errors import ModelError
from dynapoint.models.network import VideoPointMapNetwork
from dynapoint.models.weights import load_network, sha256_of

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
    """All names that `load_model` answers to."""
    return (*NEWEST, *CARDS)


def load_model(name: str = "nano", *, weights: Path | str | None = None) -> VideoPointMapNetwork:
    """Load a model by name, or from a weights file of one's own.

    Raises ModelError where the name is unknown or retired, or the weights cannot be used.
    """
    if name in RETIRED:
        raise ModelError(f"model {name!r} has been replaced; use its successor {RETIRED[name]!r}")
    version = NEWEST.get(name, name)
    if version not in CARDS:
        raise ModelError(f"unknown model {name!r}; known models are {', '.join(known_models())}")
    path = Path(weights) if weights is not None else ASSETS / CARDS[version].weights_file
    network = load_network(path)
    network.weights_sha256 = sha256_of(path)
    return network
