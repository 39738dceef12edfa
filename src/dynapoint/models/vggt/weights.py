"""Checkpoints of V-DPM and VGGT: their own names in .pt or .safetensors files."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dynapoint.models.source import ModelSource
from dynapoint.models.tensor_files import check_fit, read_container, write_container
from dynapoint.models.vggt.config import PublishedConfig, vdpm, vggt
from dynapoint.models.vggt.key_maps import (
    known_but_not_built,
    ours_from_published,
    published_from_ours,
)
from dynapoint.models.vggt.parts import VggtParts
from dynapoint.models.vggt.published import PublishedNetwork


@dataclass(frozen=True, kw_only=True)
class PublishedState:
    """What a published file holds of one network.

    Attributes:
        tensors: State of the network under our names, mapped from the file.
        not_built: How many tensors were left out of each known part that is not built.
    """

    tensors: dict[str, Tensor]
    not_built: dict[str, int]


def load_vdpm(source: ModelSource) -> PublishedNetwork:
    """The loader of V-DPM's card."""
    return load_published(vdpm(), source.weights).read_from(source)


def load_vggt(source: ModelSource) -> PublishedNetwork:
    """The loader of VGGT's card."""
    return load_published(vggt(), source.weights).read_from(source)


def load_published(
    config: PublishedConfig, path: Path, *, dtype: torch.dtype = torch.float32
) -> PublishedNetwork:
    """Build a published network, in evaluation mode, from a checkpoint in the published format.

    The file is mapped, not read: tensors that are already of `dtype` stay in it until they are
    used, so that the file must not be written over in place while the network lives. Training
    changes copies of them, never the file. `dtype` is one that all parts compute in, float32 or
    float64; half precision is a matter of `ComputeOptions`.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or does not fit `config`.
    """
    with torch.device("meta"):
        network = PublishedNetwork(config)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    tensors = read_published(config, path, shapes=shapes).tensors
    for name in list(tensors):
        tensors[name] = tensors[name].to(dtype).contiguous()
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval()


def read_published(
    config: PublishedConfig, path: Path, *, shapes: Mapping[str, torch.Size]
) -> PublishedState:
    """The tensors of a published file, checked against `shapes`, which has our names.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or does not fit.
    """
    found = read_container(path)
    unwanted = known_but_not_built(config)
    left_out = [name for name in found if name.startswith(unwanted)]
    tensors = {name: value for name, value in found.items() if not name.startswith(unwanted)}
    wanted = {published_from_ours(name): shape for name, shape in shapes.items()}
    check_fit(path, config.name, wanted=wanted, found=tensors)
    return PublishedState(
        tensors={ours_from_published(name): value for name, value in tensors.items()},
        not_built=dict(Counter(name.split(".")[0] for name in left_out)),
    )


def save_published(
    network: VggtParts, path: Path, *, record: Mapping[str, str] | None = None
) -> None:
    """Write a network's weights under the published names, atomically and bit for bit.

    The suffix of `path` chooses the container: .pt (a bare state dict) or .safetensors, in whose
    metadata `record` may say how the weights came about.

    Raises:
        OutputError: The suffix is another one, or the file cannot be written.
    """
    tensors = {published_from_ours(name): value for name, value in network.state_dict().items()}
    write_container(tensors, path, record=record)
