"""Checkpoints of DePT3R: VGGT's published names and those of what DePT3R adds to it."""

from pathlib import Path

import torch
from torch import Tensor

from dynapoint.models.source import ModelSource
from dynapoint.models.tensor_files import read_container
from dynapoint.models.vggt.dept3r import Dept3rNetwork, as_motion_head
from dynapoint.models.vggt.dept3r_config import Dept3rConfig, dept3r
from dynapoint.models.vggt.key_maps import ours_from_published
from dynapoint.models.vggt.weights import read_published

FRESH_PARTS = ("query_embedding.",)
"""Beginnings of the names of what VGGT has nothing to start from."""

_POINT_HEAD, _MOTION_HEAD = "point_head.", "motion_head."


def load(source: ModelSource) -> Dept3rNetwork:
    """The loader of DePT3R's card."""
    return load_dept3r(dept3r(), source.weights).read_from(source)


def load_dept3r(
    config: Dept3rConfig, path: Path, *, dtype: torch.dtype = torch.float32
) -> Dept3rNetwork:
    """Build a DePT3R network, in evaluation mode, from a file that `save_published` wrote.

    As with `load_published` the file is mapped, not read.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or does not fit `config`.
    """
    with torch.device("meta"):
        network = Dept3rNetwork(config)
    tensors = read_published(config.vggt, path, shapes=_shapes(network)).tensors
    state = {name: value.to(dtype).contiguous() for name, value in tensors.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def read_dept3r_start(config: Dept3rConfig, path: Path) -> dict[str, Tensor]:
    """Tensors to start the network of `config` from, under our names.

    Of a checkpoint of VGGT all but the track head is there and the motion head is a copy of the
    point head (DePT3R §3); the embeddings stay as they were made. One of DePT3R is taken whole.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or fits neither.
    """
    with torch.device("meta"):
        network = Dept3rNetwork(config)
    shapes = _shapes(network)
    added = (*FRESH_PARTS, _MOTION_HEAD)
    if any(ours_from_published(name).startswith(added) for name in read_container(path)):
        return read_published(config.vggt, path, shapes=shapes).tensors
    shared = {name: shape for name, shape in shapes.items() if not name.startswith(added)}
    tensors = read_published(config.vggt, path, shapes=shared).tensors
    point_head = {
        name.removeprefix(_POINT_HEAD): value
        for name, value in tensors.items()
        if name.startswith(_POINT_HEAD)
    }
    motion_head = as_motion_head(point_head)
    return tensors | {_MOTION_HEAD + name: value for name, value in motion_head.items()}


def _shapes(network: Dept3rNetwork) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}
