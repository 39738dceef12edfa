"""Loading the models that users ask for by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from dynapoint.errors import ModelError
from dynapoint.models.cards import find_card
from dynapoint.models.dust3r.config import Dust3rConfig, dpm
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.dust3r.weights import load_dpm
from dynapoint.models.layers.compact import WeightStorage, store_compactly
from dynapoint.models.layers.compute import Precision, default_options
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.weights import load_network
from dynapoint.models.pairwise import PairwiseVideo
from dynapoint.models.protocol import PairModel
from dynapoint.models.source import ModelSource
from dynapoint.models.vggt.config import PublishedConfig, vdpm, vggt
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import Dept3rConfig, dept3r
from dynapoint.models.vggt.dept3r_weights import load_dept3r
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import load_published
from dynapoint.models.weight_files import require_weights
from dynapoint.whole_file import sha256_of

PUBLISHED: dict[str, Callable[[], PublishedConfig]] = {"vdpm": vdpm, "vggt": vggt}
"""Models whose files are in the published format; those of small ones tell their configuration."""

DEPT3R: dict[str, Callable[[], Dept3rConfig]] = {"dept3r": dept3r}
"""Models whose files hold VGGT's published names and those of what DePT3R adds."""

DPM: dict[str, Callable[[], Dust3rConfig]] = {"dpm": dpm}
"""Models whose files hold DUSt3R's published names and those of the heads that DPM adds."""

_Large = PublishedNetwork | Dept3rNetwork | DpmNetwork


def load_model(
    name: str = "nano",
    *,
    weights: Path | str | None = None,
    device: str | None = None,
    decoder_weights: WeightStorage = "float32",
    precision: Precision | None = None,
    compile_blocks: bool = False,
) -> VideoPointMapNetwork | PublishedNetwork | Dept3rNetwork | PairwiseVideo:
    """Load a model by name, from its own weights or from a file of the same format.

    Networks for pairs of frames come with what makes a video of them.

    Args:
        name: A name that `dynapoint models` lists.
        weights: A file to use in place of the model's own.
        device: Where to compute; None takes a GPU where there is one.
        decoder_weights: How V-DPM's time decoder keeps its weights. "bfloat16" and "int8" take a
            half and a quarter of the memory; docs/published.md says what they cost in accuracy.
        precision: Of the large networks' transformer blocks; None is "bfloat16" on a GPU, as in
            the public code, and on a CPU with instructions for it, else "float32".
        compile_blocks: Compile the large networks' blocks when they first run, which takes a
            minute or two for each image size and pays for long clips and many of them.

    Raises:
        ModelError: The name is unknown or retired, the weights of a large network are not on this
            machine, the file cannot be used, there is no such device, or the network has one
            precision only or no time decoder.
    """
    path = require_weights(name, weights)
    place = _device(device)
    large = _load_large(find_card(name).name, path)
    network: VideoPointMapNetwork | _Large
    if large is not None:
        options = default_options(place)
        options = replace(
            options, precision=precision or options.precision, compile_blocks=compile_blocks
        )
        network = large.use(options)
    elif compile_blocks or precision not in (None, "float32"):
        raise ModelError(
            f"{name} computes in float32, uncompiled; leave precision and compile_blocks out"
        )
    else:
        network = load_network(path)
    decoder = getattr(network, "decoder", None)
    if decoder is not None:
        store_compactly(decoder, decoder_weights)
    elif decoder_weights != "float32":
        raise ModelError(f"{name} has no time decoder; leave decoder_weights out")
    network.weights_sha256 = sha256_of(path)
    network.source = ModelSource(
        name=name,
        weights=path,
        weights_sha256=network.weights_sha256,
        decoder_weights=decoder_weights,
        precision=precision,
    )
    network.to(place)
    return PairwiseVideo(network) if isinstance(network, PairModel) else network


def _load_large(name: str, path: Path) -> _Large | None:
    """A network whose file does not tell its configuration; None where `name` is another."""
    if name in PUBLISHED:
        return load_published(PUBLISHED[name](), path)
    if name in DEPT3R:
        return load_dept3r(DEPT3R[name](), path)
    if name in DPM:
        return load_dpm(DPM[name](), path)
    return None


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
