"""A binary glTF 2.0 file in the making: arrays become accessors of one buffer."""

import json
import struct
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

_COMPONENT_TYPES = {"int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
_TARGETS = {"vertex": 34962, "index": 34963, "animation": None}
_MAGIC, _VERSION, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942


@dataclass
class GltfBuffer:
    """Buffer views and accessors of a glTF document, with the bytes that they lie in."""

    _views: list[dict[str, Any]] = field(default_factory=list)
    _accessors: list[dict[str, Any]] = field(default_factory=list)
    _bytes: bytearray = field(default_factory=bytearray)

    def add(
        self,
        values: np.ndarray,
        use: Literal["vertex", "index", "animation"],
        *,
        bounds: bool = False,
    ) -> int:
        """Append an array and return the number of its accessor.

        Args:
            values: (entry) or (entry, 2 to 4), of a type that glTF has. Entries of vertices are
                filled up to whole words of four bytes, as glTF demands.
            use: What the array is for.
            bounds: Whether to state the least and largest values, as positions and times need.
        """
        kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        accessor = {
            "bufferView": len(self._views),
            "componentType": _COMPONENT_TYPES[values.dtype.name],
            "count": len(values),
            "type": kind,
        }
        if bounds:
            table = values.reshape(len(values), -1)
            accessor["min"] = table.min(axis=0).tolist()
            accessor["max"] = table.max(axis=0).tolist()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._bytes)}
        if use == "vertex":
            spare = -values.dtype.itemsize * values.shape[1] % 4 // values.dtype.itemsize
            values = np.pad(values, ((0, 0), (0, spare)))
            view["byteStride"] = values.dtype.itemsize * values.shape[1]
        content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
        view["byteLength"] = len(content)
        if _TARGETS[use] is not None:
            view["target"] = _TARGETS[use]
        self._bytes += content + bytes(-len(content) % 4)
        self._views.append(view)
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def to_glb(self, document: dict[str, Any]) -> bytes:
        """The file: `document` with the buffer added."""
        whole = dict(document)
        if self._bytes:
            whole |= {
                "accessors": self._accessors,
                "bufferViews": self._views,
                "buffers": [{"byteLength": len(self._bytes)}],
            }
        text = json.dumps(whole, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), _JSON_CHUNK) + text
        if self._bytes:
            chunks += struct.pack("<II", len(self._bytes), _BINARY_CHUNK) + bytes(self._bytes)
        return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks
