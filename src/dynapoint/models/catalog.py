"""Loading the models that users ask for by name."""

from collections.abc import Callable
from pathlib import Path

from dynapoint.models.cards import find_card
from dynapoint.models.network import VideoPointMapNetwork
from dynapoint.models.published import PublishedNetwork
from dynapoint.models.published_config import PublishedConfig, vdpm, vggt
from dynapoint.models.published_weights import load_published
from dynapoint.models.weight_files import require_weights
from dynapoint.models.weights import load_network, sha256_of

PUBLISHED: dict[str, Callable[[], PublishedConfig]] = {"vdpm": vdpm, "vggt": vggt}
"""Models whose files are in the published format; those of all others tell their configuration."""


def load_model(
    name: str = "nano", *, weights: Path | str | None = None
) -> VideoPointMapNetwork | PublishedNetwork:
    """Load a model by name, from its own weights or from a file of the same format.

    Raises ModelError where the name is unknown or retired, the weights of a published network are
    not on this machine, or the file cannot be used.
    """
    path = require_weights(name, weights)
    network: VideoPointMapNetwork | PublishedNetwork
    if find_card(name).name in PUBLISHED:
        network = load_published(PUBLISHED[name](), path)
    else:
        network = load_network(path)
    network.weights_sha256 = sha256_of(path)
    return network
