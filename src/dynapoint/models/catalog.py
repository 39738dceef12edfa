"""Loading the models that users ask for by name."""

from pathlib import Path

from dynapoint.models.cards import ASSETS, find_card
from dynapoint.models.network import VideoPointMapNetwork
from dynapoint.models.weights import load_network, sha256_of


def load_model(name: str = "nano", *, weights: Path | str | None = None) -> VideoPointMapNetwork:
    """Load a model by name, or from a weights file of one's own.

    Raises ModelError where the name is unknown or retired, or the weights cannot be used.
    """
    card = find_card(name)
    path = Path(weights) if weights is not None else ASSETS / card.weights_file
    network = load_network(path)
    network.weights_sha256 = sha256_of(path)
    return network
