"""The manifest of a stored scene: what it is, how it was made and which arrays it holds."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dynapoint.errors import SceneError

FORMAT_NAME = "dynapoint-scene"
FORMAT_VERSION = 2
MANIFEST_FILE = "manifest.json"

CONVENTIONS = {
    "axes": "OpenCV: x right, y down, z forward",
    "world": "the camera of frame 0; world_from_camera[0] is the identity",
    "pixels": "xy is (column, row), centres at half-integers; intrinsics in original pixels",
    "maps": "map_from_image leads from (x, y, 1) in a frame's image to its map; what a map shows "
    "beyond the image has confidence 0",
    "units": "scene units, the same for points and translations; not metric",
}


@dataclass(frozen=True, kw_only=True)
class ArrayEntry:
    """One array of a scene: its shape, with a word for every axis, and its element type."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says.

    `image_hw` is the size of the original images, `map_hw` that of the point maps, `arrays` maps
    each array's name (file `NAME.npy`) to its entry, `files` lists all files of the scene.
    """

    name: str
    model: str
    weights_sha256: str | None
    package_version: str
    frame_count: int
    image_hw: tuple[int, int]
    map_hw: tuple[int, int]
    note: str | None
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
    if content.get("version") != FORMAT_VERSION:
        raise SceneError(
            f"{path} has version {content.get('version')} but this dynapoint reads version "
            f"{FORMAT_VERSION}; reconstruct the scene again or change the dynapoint version"
        )
    try:
        return Manifest(
            name=str(content["name"]),
            model=str(content["model"]),
            weights_sha256=content["weights_sha256"],
            package_version=str(content["package_version"]),
            frame_count=int(content["frame_count"]),
            image_hw=(int(content["image_hw"][0]), int(content["image_hw"][1])),
            map_hw=(int(content["map_hw"][0]), int(content["map_hw"][1])),
            note=content["note"],
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
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SceneError(
            f"{path} lacks or garbles an entry ({error!r}); reconstruct the scene again"
        ) from error
