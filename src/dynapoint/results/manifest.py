"""The manifest of a stored scene: what it is, how it was made and which arrays it holds."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dynapoint.errors import SceneError

FORMAT_NAME = "dynapoint-scene"
FORMAT_VERSION = 3
MANIFEST_FILE = "manifest.json"
CACHE_FOLDER = "cache"
"""Where commands may keep what they have worked out; it can be deleted at any time."""

ENCODED_FILE = "encoded.safetensors"
WEIGHTS_FILES = ("weights.safetensors", "weights.pt")

CONVENTIONS = {
    "axes": "OpenCV: x right, y down, z forward",
    "world": "the camera of frame 0; world_from_camera[0] is the identity",
    "pixels": "xy is (column, row), centres at half-integers; intrinsics in original pixels",
    "maps": "map_from_image leads from (x, y, 1) in a frame's image to its map; what a map shows "
    "beyond the image has confidence 0",
    "frames": "frames/NUMBER.jpg are the frames used, upright, in original resolution, from 000000",
    "units": "scene units, the same for points and translations; metres only where settings say so",
}


@dataclass(frozen=True, kw_only=True)
class ArrayEntry:
    """One array of a scene: its shape, with a word for every axis, and its element type."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """What answers further questions: the network, and what it keeps of the clip.

    Attributes:
        name: What `load_model` was asked for.
        weights_sha256: The hash of the network's weights file.
        weights_bytes: Its size.
        weights_file: Its copy in the scene; None for those that are too large.
        decoder_weights: How the time decoder keeps its weights.
        precision: What `load_model` was asked for; None for what suits the device.
        encoded_sha256: The hash of `encoded.safetensors`, what the network keeps of the clip.
        encoded_bytes: Its size.
    """

    name: str
    weights_sha256: str
    weights_bytes: int
    weights_file: str | None
    decoder_weights: str
    precision: str | None
    encoded_sha256: str
    encoded_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        image_hw: Size of the original images, or of the canvas that holds them all.
        map_hw: Size of the point maps.
        note: What was left out of the source, if anything.
        source: What else `Frames` says of the source: plain values by the names of its fields.
        settings: How the scene was made.
        network: What answers questions beyond the arrays; None where nothing does.
        arrays: Each array's name (file `NAME.npy`) and its entry.
        files: All files of the scene, relative to it.
    """

    name: str
    model: str
    weights_sha256: str | None
    package_version: str
    frame_count: int
    image_hw: tuple[int, int]
    map_hw: tuple[int, int]
    note: str | None
    source: dict[str, Any]
    settings: dict[str, str | int]
    network: NetworkEntry | None
    arrays: dict[str, ArrayEntry]
    files: tuple[str, ...]

    def to_json(self) -> str:
        """The manifest as text, format and conventions first."""
        head = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "conventions": CONVENTIONS}
        return json.dumps(head | asdict(self), indent=2) + "\n"


def read_manifest(scene: Path) -> Manifest:
    """Read the manifest of a stored scene.

    Raises:
        SceneError: The folder is no scene, its manifest is damaged or of another version.
    """
    path, content = scene / MANIFEST_FILE, _content(scene)
    if content.get("version") != FORMAT_VERSION:
        raise SceneError(
            f"{path} has version {content.get('version')} but this dynapoint reads version "
            f"{FORMAT_VERSION}; reconstruct the scene again or change the dynapoint version"
        )
    try:
        return _manifest(content)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SceneError(
            f"{path} lacks or garbles an entry ({error!r}); reconstruct the scene again"
        ) from error


def files_of_scene(scene: Path) -> frozenset[str]:
    """The files of a stored scene of any version.

    Raises:
        SceneError: The folder is no scene.
    """
    files = _content(scene).get("files")
    if not isinstance(files, list):
        raise SceneError(f"{scene / MANIFEST_FILE} lists no files; reconstruct the scene again")
    return frozenset(str(file) for file in files)


def _content(scene: Path) -> dict[str, Any]:
    """The JSON object of a scene's manifest, of any version."""
    path = scene / MANIFEST_FILE
    if not os.path.isfile(path):
        found = "does not exist" if not os.path.exists(scene) else f"holds no {MANIFEST_FILE}"
        raise SceneError(f"{scene} {found}; give a folder written by `dynapoint reconstruct`")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SceneError(f"{path} cannot be read as JSON; reconstruct the scene again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT_NAME:
        raise SceneError(f"{path} is not of a {FORMAT_NAME}; give a scene written by dynapoint")
    return content


def _manifest(content: dict[str, Any]) -> Manifest:
    """The manifest in a JSON object; fails as dicts and conversions do where it is none."""
    return Manifest(
        name=str(content["name"]),
        model=str(content["model"]),
        weights_sha256=content["weights_sha256"],
        package_version=str(content["package_version"]),
        frame_count=int(content["frame_count"]),
        image_hw=(int(content["image_hw"][0]), int(content["image_hw"][1])),
        map_hw=(int(content["map_hw"][0]), int(content["map_hw"][1])),
        note=content["note"],
        source=dict(content["source"]),
        settings=dict(content["settings"]),
        network=None if content["network"] is None else _network_entry(content["network"]),
        arrays={
            str(name): ArrayEntry(
                shape=tuple(int(side) for side in entry["shape"]),
                axes=tuple(str(axis) for axis in entry["axes"]),
                dtype=str(entry["dtype"]),
            )
            for name, entry in content["arrays"].items()
        },
        files=tuple(str(file) for file in content["files"]),
    )


def _network_entry(content: dict[str, Any]) -> NetworkEntry:
    """The entry in a JSON object, which has these names and no others."""
    entry = NetworkEntry(**content)
    if entry.weights_file not in (None, *WEIGHTS_FILES):
        raise ValueError(f"weights_file is {entry.weights_file!r}")
    for name in ("weights_bytes", "encoded_bytes"):
        int(getattr(entry, name))
    return entry
