"""Checkpoints of Depth Anything 3: `model.safetensors` under its own names, and ours."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dynapoint.models.da3.config import Da3Config, da3_base, da3_metric, da3_small
from dynapoint.models.da3.network import Da3Metric, Da3Network, Da3Parts
from dynapoint.models.source import ModelSource
from dynapoint.models.tensor_files import check_fit, read_container, write_container

_SCRATCH = "model.head.scratch."
_RULES = (
    (r"backbone\.", "model.backbone.pretrained."),
    (r"camera_encoder\.", "model.cam_enc."),
    (r"camera_decoder\.", "model.cam_dec."),
    (r"heads\.depth\.(chain\.)?", _SCRATCH),
    (r"heads\.rays\.chain\.(refinenet\d)", rf"{_SCRATCH}\1_aux"),
    # The published ray head has four outputs, of which only the last is used.
    (r"heads\.rays\.output_conv1\.", f"{_SCRATCH}output_conv1_aux.3."),
    (r"heads\.rays\.output_conv\.", f"{_SCRATCH}output_conv2_aux.3.0."),
    # One LayerNorm serves all four, and safetensors files have it once.
    (r"heads\.rays\.output_norm\.", f"{_SCRATCH}output_conv2_aux.0.2."),
    (r"heads\.rays\.output_last\.", f"{_SCRATCH}output_conv2_aux.3.5."),
    (r"heads\.pyramid\.(?=layer_rn)", _SCRATCH),
    (r"heads\.pyramid\.", "model.head."),
)
"""Beginnings of our names, and what they are in published files."""

_UNUSED = re.compile(
    rf"{re.escape(_SCRATCH)}(output_conv1_aux\.[012]\."
    r"|output_conv2_aux\.0\.[05]\.|output_conv2_aux\.[12]\.|output_conv2_aux\.3\.2\.)"
)

_ALIAS = re.compile(rf"({re.escape(_SCRATCH)}output_conv2_aux\.)[123](\.2\.\w+)")
"""Further names of the one LayerNorm; of a file that has it once it is not sure under which."""


def load_small(source: ModelSource) -> Da3Network:
    """The loader of DA3-SMALL's card."""
    return load_da3(da3_small(), source.weights).read_from(source)


def load_base(source: ModelSource) -> Da3Network:
    """The loader of DA3-BASE's card."""
    return load_da3(da3_base(), source.weights).read_from(source)


def load_metric(source: ModelSource) -> Da3Metric:
    """The loader of DA3METRIC-LARGE's card."""
    return load_da3_metric(da3_metric(), source.weights).read_from(source)


def load_da3(config: Da3Config, path: Path, *, dtype: torch.dtype = torch.float32) -> Da3Network:
    """Build a network of joined views, in evaluation mode, from a published file.

    The file is mapped, not read: it must not be written over in place while the network lives.

    Raises:
        ModelError: The file is missing, damaged, holds more than tensors, or does not fit.
    """
    with torch.device("meta"):
        network = Da3Network(config)
    _fill(network, path, dtype)
    return network.eval()


def load_da3_metric(
    config: Da3Config, path: Path, *, dtype: torch.dtype = torch.float32
) -> Da3Metric:
    """The same of a network of single pictures."""
    with torch.device("meta"):
        network = Da3Metric(config)
    _fill(network, path, dtype)
    return network.eval()


def _fill(network: Da3Parts, path: Path, dtype: torch.dtype) -> None:
    found = read_container(path)
    for name in list(found):
        norm = _ALIAS.fullmatch(name)
        if norm:
            found.setdefault(f"{norm[1]}0{norm[2]}", found[name])
    found = {name: value for name, value in found.items() if not is_unused(name)}
    names = {da3_from_ours(name): name for name in network.state_dict()}
    wanted = {theirs: network.state_dict()[ours].shape for theirs, ours in names.items()}
    check_fit(path, network.config.name, wanted=wanted, found=found)
    tensors = {names[name]: value.to(dtype).contiguous() for name, value in found.items()}
    network.load_state_dict(tensors, strict=True, assign=True)


def save_da3(network: Da3Parts, path: Path, *, record: Mapping[str, str] | None = None) -> None:
    """Write a network's weights under the published names, atomically and bit for bit.

    What is published and has no effect is not written; the public code, whose loader is not strict,
    leaves it at random.

    Raises:
        OutputError: The suffix of `path` is neither .pt nor .safetensors, or it cannot be written.
    """
    tensors: dict[str, Tensor] = {
        da3_from_ours(name): value for name, value in network.state_dict().items()
    }
    write_container(tensors, path, record=record)


def da3_from_ours(name: str) -> str:
    """The published name of one of our tensors.

    Raises:
        KeyError: These networks have no such tensor.
    """
    for ours, theirs in _RULES:
        renamed, count = re.subn(f"^{ours}", theirs, name)
        if count:
            return re.sub(
                r"layer_rn\.(\d)\.", lambda found: f"layer{int(found[1]) + 1}_rn.", renamed
            )
    raise KeyError(name)


def is_unused(name: str) -> bool:
    """Whether a published tensor has no effect on any output, or is there under another name."""
    return _UNUSED.match(name) is not None
