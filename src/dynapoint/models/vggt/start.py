"""What a V-DPM network starts its fine-tuning from: a checkpoint of VGGT, or of V-DPM itself."""

from pathlib import Path

import torch
from torch import Tensor

from dynapoint.models.tensor_files import read_container
from dynapoint.models.vggt.config import PublishedConfig
from dynapoint.models.vggt.key_maps import ours_from_published
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import read_published

FRESH_PARTS = ("aggregator.time_conditioning_token", "decoder.", "time_head.")
"""Beginnings of the names of what V-DPM adds to VGGT."""

_POINT_HEAD, _TIME_HEAD = "point_head.", "time_head."


def read_start(config: PublishedConfig, path: Path) -> dict[str, Tensor]:
    """Tensors to start the network of `config` from, under our names.

    Of VGGT all that V-DPM shares is there, so that time token and decoder stay as they were made;
    the conditioned copy of the point head, where that ablation has one, is copied too. Depth and
    track head are left out. A checkpoint of V-DPM is taken whole.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or fits neither.
    """
    with torch.device("meta"):
        network = PublishedNetwork(config)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    in_file = {ours_from_published(name) for name in read_container(path)}
    if not any(name.startswith(FRESH_PARTS) for name in in_file):
        shared = {k: v for k, v in shapes.items() if not k.startswith(FRESH_PARTS)}
        tensors = read_published(config, path, shapes=shared).tensors
        copies = {
            _TIME_HEAD + name.removeprefix(_POINT_HEAD): value
            for name, value in tensors.items()
            if name.startswith(_POINT_HEAD)
        }
        return tensors | {name: value for name, value in copies.items() if name in shapes}
    return read_published(config, path, shapes=shapes).tensors
