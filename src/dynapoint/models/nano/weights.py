"""Weight files: safetensors with the configuration and the training record inside."""

from pathlib import Path

import torch

from dynapoint.errors import ConfigError, ModelError
from dynapoint.models.layers.unfilled import unfilled
from dynapoint.models.nano.config import NetworkConfig
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.source import ModelSource
from dynapoint.models.tensor_files import check_fit, read_safetensors, write_safetensors

FORMAT = "dynapoint-weights-1"


def save_network(
    network: VideoPointMapNetwork,
    path: Path,
    *,
    record: dict[str, str],
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write weights atomically, floating-point tensors in `dtype`."""
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    metadata = {"format": FORMAT, "network": network.config.to_json(), **record}
    write_safetensors(tensors, path, metadata=metadata)


def load(source: ModelSource) -> VideoPointMapNetwork:
    """The loader of the small networks' cards: their files tell which network they hold."""
    return load_network(source.weights).read_from(source)


def load_network(path: Path, *, dtype: torch.dtype = torch.float32) -> VideoPointMapNetwork:
    """Build the network that a weight file describes and load it strictly.

    Raises ModelError where the file is missing, damaged, of another format or does not fit.
    """
    if not path.is_file():
        raise ModelError(f"no weights file at {path}; give the path of a .safetensors file")
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise ModelError(
            f"{path} holds weights of format {metadata.get('format')!r}, wanted {FORMAT!r}; use "
            "weights written by this package"
        )
    try:
        config = NetworkConfig.from_json(metadata.get("network", ""))
        with unfilled():
            network = build_network(config)
    # Sizes that no layer can have fail in the layers, each in its own way.
    except (ConfigError, ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"{path} describes no network that can be built: {error}") from error
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    check_fit(path, config.name, wanted=wanted, found=tensors)
    network.load_state_dict({name: value.to(dtype) for name, value in tensors.items()})
    return network.eval()
