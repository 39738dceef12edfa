"""Checkpoints of the published networks: bare state dicts in .pt or .safetensors files."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynapoint.errors import ModelError, OutputError
from dynapoint.models.key_maps import (
    known_but_not_built,
    ours_from_published,
    published_from_ours,
)
from dynapoint.models.published import PublishedNetwork
from dynapoint.models.published_config import PublishedConfig
from dynapoint.whole_file import whole_file

_SAFETENSORS = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class PublishedState:
    """What a published file holds of one network.

    Attributes:
        tensors: State of the network under our names, mapped from the file.
        not_built: How many tensors were left out of each known part that is not built.
    """

    tensors: dict[str, Tensor]
    not_built: dict[str, int]


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
    _check_fit(path, config.name, wanted=wanted, found=tensors)
    return PublishedState(
        tensors={ours_from_published(name): value for name, value in tensors.items()},
        not_built=dict(Counter(name.split(".")[0] for name in left_out)),
    )


def save_published(
    network: PublishedNetwork, path: Path, *, record: Mapping[str, str] | None = None
) -> None:
    """Write a network's weights under the published names, atomically and bit for bit.

    The suffix of `path` chooses the container: .pt (a bare state dict) or .safetensors, in whose
    metadata `record` may say how the weights came about.

    Raises:
        OutputError: The suffix is another one, or the file cannot be written.
    """
    if path.suffix not in (".pt", _SAFETENSORS):
        raise OutputError(f"{path} is neither a .pt nor a .safetensors file; name it one of them")
    tensors = {
        published_from_ours(name): value.contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    with whole_file(path) as partial:
        try:
            if path.suffix == _SAFETENSORS:
                save_file(tensors, partial, metadata={"format": "pt", **(record or {})})
                # safetensors makes files that only their owner may read.
                partial.chmod(0o644)
            else:
                torch.save(tensors, partial)
        # Both writers hide the operating system's error in one of their own.
        except (RuntimeError, SafetensorError) as error:
            raise OSError(f"{error}".splitlines()[0]) from error


def read_container(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, under its own names; raises ModelError where there is none."""
    if not path.is_file():
        raise ModelError(f"no weights file at {path}; give the path of a .pt or .safetensors file")
    found = _read_safetensors(path) if path.suffix == _SAFETENSORS else _read_pickle(path)
    # Training checkpoints keep the state beside other things.
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]
    if not isinstance(found, dict) or not found:
        raise ModelError(f"{path} holds no state dict but a {type(found).__name__}; use another")
    odd = [name for name, value in found.items() if not _is_plain(name, value)]
    if odd:
        raise ModelError(
            f"{path} holds {len(odd)} entries that are no dense floating-point tensors, "
            f"{[str(name) for name in odd[:3]]}; use a state dict"
        )
    return found


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}); fetch or write it again"
        ) from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    # Damaged and hostile pickles can fail in any way. torch's own text goes on for lines and
    # advises to trust the file, which is no advice to give here.
    except Exception as error:
        raise ModelError(
            f"{path} is not a checkpoint that can be read safely ({type(error).__name__}: it is "
            "damaged, of torch's format before 1.6, or holds objects other than tensors); use a "
            "file of tensors only"
        ) from error


def _is_plain(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.is_floating_point()
        and value.device.type == "cpu"
    )


def _check_fit(
    path: Path, name: str, *, wanted: Mapping[str, torch.Size], found: Mapping[str, Tensor]
) -> None:
    """Raise ModelError where names (as in the file) or shapes differ."""
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    odd = [
        f"{key} {list(found[key].shape)} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in found and found[key].shape != shape
    ]
    if missing or extra or odd:
        parts = ((missing, "missing"), (extra, "too many"), (odd, "of another shape"))
        listed = "; ".join(
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for keys, what in parts
            if keys
        )
        raise ModelError(
            f"{path} does not fit the network {name!r}, of {len(wanted)} tensors: {listed}; use "
            "weights of this network"
        )
