"""What a network keeps of a clip, on disk: any tree of tensors and plain values, without pickle.

One safetensors file holds the tensors; its metadata say, as JSON, of which dataclasses, tuples,
lists and dicts they are the leaves. Only dataclasses that `kept_kinds` names are ever built from a
file.
"""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynapoint.errors import SceneError
from dynapoint.models.kept.kept_kinds import kind_of_name, name_of_kind
from dynapoint.models.protocol import KeepsLess
from dynapoint.models.tensor_files import order_metadata
from dynapoint.whole_file import give_usual_rights

FORMAT = "dynapoint-encoded-2"
# The format before named classes by the modules that they lay in.
READABLE = ("dynapoint-encoded-1", FORMAT)

_DAMAGED = "it is damaged, or of another version; reconstruct the scene again"


def write_encoded(encoded: Any, path: Path) -> None:
    """Write what `encode` gave, bit for bit.

    What `KeepsLess` is asked what of it is worth keeping.

    Raises:
        OSError: The file cannot be written.
        TypeError: It holds something else than tensors, plain values, and containers of them.
    """
    tensors: dict[str, Tensor] = {}
    kept = encoded.to_keep() if isinstance(encoded, KeepsLess) else encoded
    skeleton = _described(kept, tensors)
    metadata = {"format": FORMAT, "skeleton": json.dumps(skeleton)}
    try:
        save_file(tensors, path, metadata=metadata)
        order_metadata(path)
    except SafetensorError as error:
        # The operating system's error is hidden in one of the library's own.
        raise OSError(f"{error}".splitlines()[0]) from error
    # safetensors makes files that only their owner may read.
    give_usual_rights(path)


def read_encoded(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `write_encoded` wrote, with its tensors on a device.

    Raises:
        SceneError: The file is missing, damaged, or holds another kind of thing.
    """
    if not path.is_file():
        raise SceneError(f"{path} is missing; reconstruct the scene again")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if metadata.get("format") not in READABLE:
            raise SceneError(
                f"{path} has format {metadata.get('format')!r} instead of {FORMAT!r}: {_DAMAGED}"
            )
        rebuilt = _rebuilt(json.loads(metadata["skeleton"]), tensors)
    # The names and kinds of what a foreign file holds fail in ways of their own.
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SceneError(f"{path} cannot be read ({reason}): {_DAMAGED}") from error
    if tensors:
        raise SceneError(f"{path} holds tensors that belong nowhere ({min(tensors)}): {_DAMAGED}")
    return rebuilt


def _described(value: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A value as JSON, its tensors put into `tensors` under names that are numbers."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):04d}"
        # Which products of matrices are taken depends on strides, and their last bits on that.
        order = sorted(range(value.ndim), key=value.stride().__getitem__, reverse=True)
        kept = value.detach().permute(order).contiguous().cpu()
        # safetensors refuses tensors that share memory.
        shared = {other.untyped_storage().data_ptr() for other in tensors.values()}
        tensors[name] = kept.clone() if kept.untyped_storage().data_ptr() in shared else kept
        return {"tensor": name, "shape": list(value.shape), "order": order}
    if is_dataclass(value) and not isinstance(value, type):
        kind = name_of_kind(type(value))
        parts = {f.name: _described(getattr(value, f.name), tensors) for f in fields(value)}
        return {"dataclass": kind, "fields": parts}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_described(item, tensors) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _described(item, tensors) for key, item in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"a {type(value).__name__} cannot be kept in a scene")


def _rebuilt(node: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    """The value that a node describes; takes its tensors out of `tensors`."""
    if "tensor" in node:
        order, shape = node["order"], node["shape"]
        if sorted(order) != list(range(len(shape))):
            raise ValueError(f"tensor {node['tensor']} has axes {order}")
        tensor = tensors.pop(node["tensor"])
        tensor = tensor.permute([order.index(axis) for axis in range(len(order))])
        if list(tensor.shape) != shape:
            raise ValueError(f"tensor {node['tensor']} has shape {list(tensor.shape)}, not {shape}")
        return tensor
    if "dataclass" in node:
        kind = kind_of_name(node["dataclass"])
        return kind(**{name: _rebuilt(part, tensors) for name, part in node["fields"].items()})
    if "tuple" in node:
        return tuple(_rebuilt(item, tensors) for item in node["tuple"])
    if "list" in node:
        return [_rebuilt(item, tensors) for item in node["list"]]
    if "dict" in node:
        return {key: _rebuilt(item, tensors) for key, item in node["dict"].items()}
    return node["value"]
