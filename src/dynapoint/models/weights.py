"""Weight files: safetensors with the configuration and the training record inside."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dynapoint.errors import ConfigError, ModelError
from dynapoint.models.config import NetworkConfig
from dynapoint.models.network import VideoPointMapNetwork
from dynapoint.models.small_networks import build_network
from dynapoint.whole_file import give_usual_rights, whole_file

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
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata=metadata)
        # safetensors makes files that only their owner may read.
        give_usual_rights(partial)


def load_network(path: Path, *, dtype: torch.dtype = torch.float32) -> VideoPointMapNetwork:
    """Build the network that a weight file describes and load it strictly.

    Raises ModelError where the file is missing, damaged, of another format or does not fit.
    """
    if not path.is_file():
        raise ModelError(f"no weights file at {path}; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}); fetch or write it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ModelError(
            f"{path} holds weights of format {metadata.get('format')!r}, wanted {FORMAT!r}; use "
            "weights written by this package"
        )
    try:
        config = NetworkConfig.from_json(metadata.get("network", ""))
        with torch.device("meta"):
            network = build_network(config)
    # Sizes that no layer can have fail in the layers, each in its own way.
    except (ConfigError, ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"{path} describes no network that can be built: {error}") from error
    expected = {name: value.shape for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in tensors.items()}
    if expected != found:
        missing, extra = (
            sorted(expected.keys() - found.keys()),
            sorted(found.keys() - expected.keys()),
        )
        odd = [k for k in expected.keys() & found.keys() if expected[k] != found[k]]
        raise ModelError(
            f"{path} does not fit its own network: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(extra)} extra {extra[:3]}, {len(odd)} of another shape {odd[:3]}; use weights "
            "of this version"
        )
    network = build_network(config)
    network.load_state_dict({name: value.to(dtype) for name, value in tensors.items()})
    return network.eval()
