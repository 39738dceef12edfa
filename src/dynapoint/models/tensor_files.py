"""Files of tensors that others may have written: bare or wrapped state dicts, read safely."""

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynapoint.errors import ModelError, OutputError
from dynapoint.whole_file import give_usual_rights, whole_file

_SAFETENSORS = ".safetensors"


def read_container(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, under its own names; raises ModelError where there is none."""
    if not path.is_file():
        raise ModelError(f"no weights file at {path}; give the path of a .pt or .safetensors file")
    found = read_safetensors(path)[0] if path.suffix == _SAFETENSORS else _read_pickle(path)
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


def check_fit(
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


def write_container(
    tensors: Mapping[str, Tensor], path: Path, *, record: Mapping[str, str] | None = None
) -> None:
    """Write a state dict under the names that it has, atomically and bit for bit.

    The suffix of `path` chooses the container: .pt (a bare state dict) or .safetensors, in whose
    metadata `record` may say how the weights came about.

    Raises:
        OutputError: The suffix is another one, or the file cannot be written.
    """
    if path.suffix not in (".pt", _SAFETENSORS):
        raise OutputError(f"{path} is neither a .pt nor a .safetensors file; name it one of them")
    placed = {name: value.contiguous().cpu() for name, value in tensors.items()}
    if path.suffix == _SAFETENSORS:
        write_safetensors(placed, path, metadata={"format": "pt", **(record or {})})
        return
    with whole_file(path) as partial, _system_errors():
        torch.save(placed, partial)


def write_safetensors(
    tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file of any name atomically; raises OutputError where that fails."""
    with whole_file(path) as partial, _system_errors():
        save_file(dict(tensors), partial, metadata=dict(metadata))
        order_metadata(partial)
        # safetensors makes files that only their owner may read.
        give_usual_rights(partial)


def order_metadata(path: Path) -> None:
    """Bring the metadata of a new safetensors file into order, which the library leaves to chance.

    The same tensors and metadata are then the same bytes.

    Raises:
        OSError: The file cannot be read or written.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        told = header.get("__metadata__")
        if told is None:
            return
        header["__metadata__"] = dict(sorted(told.items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        # The same words in another order; tensors behind it must not move.
        assert len(text) <= size, "the header has grown"
        file.seek(8)
        file.write(text.ljust(size))


@contextmanager
def _system_errors() -> Iterator[None]:
    """Both writers hide the operating system's error in one of their own."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError(f"{error}".splitlines()[0]) from error


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file; raises ModelError where it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is not a readable safetensors file ({error}); fetch or write it again"
        ) from error


def _read_pickle(path: Path) -> object:
    # DUSt3R and MonST3R keep their command line beside the state dict. A Namespace holds values and
    # runs nothing when it is read.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
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
