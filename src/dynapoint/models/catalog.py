"""Loading the models that users ask for by name."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynapoint.errors import ModelError
from dynapoint.models.calibration import calibration_beside
from dynapoint.models.cards import CANNOT, ModelCard, check_asked, find_card
from dynapoint.models.layers.compact import WeightStorage, store_compactly
from dynapoint.models.layers.compute import Precision, default_options
from dynapoint.models.network import ComputesByOptions, Network
from dynapoint.models.pairwise import PairwiseVideo
from dynapoint.models.protocol import PairModel
from dynapoint.models.source import ModelSource
from dynapoint.models.weight_files import require_weights
from dynapoint.whole_file import sha256_of


def load_model(
    name: str = "nano",
    *,
    weights: Path | str | None = None,
    device: str | None = None,
    decoder_weights: WeightStorage = "float32",
    precision: Precision | None = None,
    compile_blocks: bool = False,
) -> Any:
    """Load a model by name, from its own weights or from a file of the same format.

    The card's `loader` makes the network. A network for pairs of frames comes inside the aligner
    that makes a clip of its pairs.

    Args:
        name: A name that `dynapoint models` lists.
        weights: A file to use instead of the model's own.
        device: Where to compute, e.g. "cuda"; None takes a GPU if there is one.
        decoder_weights: How V-DPM's time decoder stores its weights. "bfloat16" takes half of the
            memory, "int8" a quarter; docs/notes/published.md tells the loss of accuracy.
        precision: Of the large networks' transformer blocks. None is "bfloat16" on a GPU, as in
            the public code, and on a CPU with instructions for it, else "float32".
        compile_blocks: Compile the large networks' blocks when they first run. That takes a minute
            or two for each image size and pays off for long clips or many clips.

    Returns:
        A `protocol.PointMapModel` for `reconstruct(source, network)`. Load it once for many clips.

    Raises:
        ModelError: The name is unknown, weights are missing or unusable, this machine has no such
            device, or the network has only one precision or no time decoder.
    """
    path = require_weights(name, weights)
    check_asked(name, weights, decoder_weights=decoder_weights, precision=precision)
    card, place, sha256 = find_card(name), _device(device), _hash_of(path)
    source = ModelSource(
        name=name,
        weights=path,
        weights_sha256=sha256,
        decoder_weights=decoder_weights,
        precision=precision,
        calibration=calibration_beside(path, sha256),
    )
    network = _loader_of(card)(source)
    if isinstance(network, ComputesByOptions):
        options = replace(default_options(place), compile_blocks=compile_blocks)
        network.use(replace(options, precision=precision or options.precision))
    elif compile_blocks or precision not in (None, "float32"):
        raise ModelError(f"model {name} {CANNOT['precision']}")
    _keep_compactly(network, name, decoder_weights)
    if isinstance(network, nn.Module):
        network.to(place)
    elif device is not None and place.type != "cpu":
        raise ModelError(f"{name} computes on the CPU only; leave device out")
    return PairwiseVideo(network) if isinstance(network, PairModel) else network


def _keep_compactly(network: Any, name: str, decoder_weights: WeightStorage) -> None:
    """Keep the weights of a network's time decoder as asked; ModelError where it has none."""
    decoder = network.time_decoder if isinstance(network, Network) else None
    if decoder is not None:
        store_compactly(decoder, decoder_weights)
    elif decoder_weights != "float32":
        raise ModelError(f"model {name} {CANNOT['decoder_weights']}")


def _hash_of(path: Path) -> str:
    if not path.is_file():
        raise ModelError(f"no weights file at {path}; give the path of a .pt or .safetensors file")
    return sha256_of(path)


def _loader_of(card: ModelCard) -> Any:
    """What makes a network of a `ModelSource`, imported where the card only names it."""
    if not isinstance(card.loader, str):
        return card.loader
    module, _, function = card.loader.partition(":")
    return vars(import_module(module))[function]


def _device(name: str | None) -> torch.device:
    """A device by name; raises ModelError where this machine has none such."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Some devices can be named and take tensors but cannot compute (meta).
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        # PyTorch lists a score of kinds of devices, few of which are anywhere.
        reason = str(error).splitlines()[0].partition("Expected one of")[0] or "no such kind"
        others = ", or cuda" if torch.cuda.is_available() else ""
        raise ModelError(f"device {name!r} cannot be used ({reason}); use cpu{others}") from error
    return device
