"""Checkpoints of pair networks: those of DUSt3R and MonST3R, and our own of DPM."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dynapoint.errors import ModelError
from dynapoint.models.dust3r.config import Dust3rConfig, dpm
from dynapoint.models.dust3r.network import HEADS, DpmNetwork
from dynapoint.models.source import ModelSource
from dynapoint.models.tensor_files import check_fit, read_container, write_container
from dynapoint.models.vggt.key_maps import dust3r_from_ours, ours_from_dust3r


def load(source: ModelSource) -> DpmNetwork:
    """The loader of DPM's card."""
    return load_dpm(dpm(), source.weights).read_from(source)


def load_dpm(config: Dust3rConfig, path: Path, *, dtype: torch.dtype = torch.float32) -> DpmNetwork:
    """Build a pair network, in evaluation mode, from a checkpoint in DUSt3R's format or our own.

    Of a file with one head for each image, DPM's two heads of that image are copies. The file is
    mapped, not read, so that it must not be written over in place while the network lives.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors and a command line, or
            does not fit `config`.
    """
    with torch.device("meta"):
        network = DpmNetwork(config)
    tensors = read_dpm(config, path)
    for name in list(tensors):
        tensors[name] = tensors[name].to(dtype).contiguous()
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval()


def read_dpm(config: Dust3rConfig, path: Path) -> dict[str, Tensor]:
    """The tensors of a file for the network of `config`, under our names.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors and a command line, or
            does not fit.
    """
    with torch.device("meta"):
        state = DpmNetwork(config).state_dict()
    found = _under_our_names(path)
    copies = _own_heads(state)
    if not any(name in found for name in copies):
        state = {name: value for name, value in state.items() if name not in copies}
    else:
        copies = {}
    check_fit(
        path,
        config.name,
        wanted={dust3r_from_ours(name): value.shape for name, value in state.items()},
        found={dust3r_from_ours(name): value for name, value in found.items()},
    )
    # Training must be able to tell them apart.
    return found | {name: found[own].clone() for name, own in copies.items()}


def save_dpm(network: DpmNetwork, path: Path, *, record: Mapping[str, str] | None = None) -> None:
    """Write a network's weights under DUSt3R's names, atomically and bit for bit.

    DPM's further heads are `downstream_head1_t2` and `downstream_head2_t1`, with the same inner
    names. What the public files hold twice is written once, and what they do not use is left out.
    The suffix of `path` chooses the container: .pt (a bare state dict) or .safetensors, in whose
    metadata `record` may say how the weights came about.

    Raises:
        OutputError: The suffix is another one, or the file cannot be written.
    """
    tensors = {dust3r_from_ours(name): value for name, value in network.state_dict().items()}
    write_container(tensors, path, record=record)


def _under_our_names(path: Path) -> dict[str, Tensor]:
    """What is used of a file; raises ModelError where a tensor held twice is not the same."""
    tensors: dict[str, Tensor] = {}
    for theirs, value in read_container(path).items():
        name = ours_from_dust3r(theirs)
        if name is None:
            continue
        first = tensors.get(name, value)
        if first.dtype != value.dtype or not torch.equal(first, value):
            raise ModelError(
                f"{path} holds {dust3r_from_ours(name)} twice, with different values; use another"
            )
        tensors[name] = value
    return tensors


def _own_heads(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The tensors of DPM's further heads and those of DUSt3R's that they start as copies of."""
    copies = {}
    for image in range(2):
        own, further = HEADS[image][image] + ".", HEADS[1 - image][image] + "."
        for name in state:
            if name.startswith(further):
                copies[name] = own + name.removeprefix(further)
    return copies
