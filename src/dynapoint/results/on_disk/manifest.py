"""The manifest of a stored scene: what it is, how it was made and which arrays it holds."""

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from dynapoint.errors import SceneError
from dynapoint.geometry.distortion import COEFFICIENTS, Distortion
from dynapoint.refinement.findings import Findings
from dynapoint.results.on_disk.fewer_bits import Scale

Entry = TypeVar("Entry")

FORMAT_NAME = "dynapoint-scene"
FORMAT_VERSION = 3
NEWEST_VERSION = 4
"""That of scenes which earlier versions of this package would read wrongly: lean ones, and those of
lenses that distort."""

MANIFEST_FILE = "manifest.json"
CACHE_FOLDER = "cache"
"""Where commands may keep what they have worked out; it can be deleted at any time."""

OWN_TIME_DEPTH, TRACK_MOTION = "own_time_depth", "track_motion"
"""Arrays of lean scenes: depth on the rays of pixels, and how far tracks are from their start."""

ENCODED_FILE = "encoded.safetensors"
WEIGHTS_FILES = ("weights.safetensors", "weights.pt")

# Longer than any path; longer ones would drown the line that speaks of them.
_LONGEST_TEXT = 4096

# What `load_model` may have been asked for.
_DECODER_WEIGHTS = ("float32", "bfloat16", "int8")
_PRECISIONS = ("float32", "bfloat16")

CONVENTIONS = {
    "axes": "OpenCV: x right, y down, z forward",
    "world": "the camera of frame 0; world_from_camera[0] is the identity",
    "pixels": "xy is (column, row), centres at half-integers; intrinsics in original pixels",
    "maps": "map_from_image leads from (x, y, 1) in a frame's image (undistorted, where there is a "
    "distortion, by OpenCV's model of that name) to its map; what a map shows beyond the image has "
    "confidence 0",
    "frames": "frames/NUMBER.jpg are the frames used, upright, in original resolution, from 000000",
    "units": "scene units, the same for points and translations; metres only where settings say so",
}


@dataclass(frozen=True, kw_only=True)
class ArrayEntry:
    """One array of a scene: its shape, with a word for every axis, and its element type.

    `scale` is what whole numbers stand for, where these are stored instead of what is answered.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: str
    scale: Scale | None = None


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
        refinement: What refinement found and changed; None where none was asked for.
        network: What answers questions beyond the arrays; None where nothing does.
        distortion: How lenses distort, one for all frames or one for each; None for pinholes.
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
    refinement: dict[str, Any] | None
    network: NetworkEntry | None
    arrays: dict[str, ArrayEntry]
    files: tuple[str, ...]
    distortion: tuple[Distortion, ...] | None = None

    @property
    def lean(self) -> bool:
        """Whether arrays follow from others, or are stored as numbers on a scale."""
        return TRACK_MOTION in self.arrays

    def to_json(self) -> str:
        """The manifest as text, format and conventions first."""
        misread = self.lean or self.distortion is not None
        version = NEWEST_VERSION if misread else FORMAT_VERSION
        head = {"format": FORMAT_NAME, "version": version, "conventions": CONVENTIONS}
        content = asdict(self)
        for entry in content["arrays"].values():
            if entry["scale"] is None:
                del entry["scale"]
        return json.dumps(head | content, indent=2) + "\n"


def read_manifest(scene: Path) -> Manifest:
    """Read the manifest of a stored scene.

    Raises:
        SceneError: The folder is no scene, its manifest is damaged or of another version.
    """
    path, content = scene / MANIFEST_FILE, _content(scene)
    version = content.get("version")
    if version not in (FORMAT_VERSION, NEWEST_VERSION) or not isinstance(version, int):
        raise SceneError(
            f"{path} has version {ascii(version)[:60]} but this dynapoint reads versions "
            f"{FORMAT_VERSION} and {NEWEST_VERSION}; reconstruct the scene again or change the "
            "dynapoint version"
        )
    try:
        return _manifest(content)
    except ValueError as error:
        raise SceneError(
            f"{path} lacks or garbles an entry ({error}); reconstruct the scene again"
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
        found = f"holds no {MANIFEST_FILE}" if os.path.isdir(scene) else "is a file"
        if not os.path.lexists(scene):
            found = "does not exist"
        raise SceneError(f"{scene} {found}; give a folder written by `dynapoint reconstruct`")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SceneError(f"{path} cannot be read as JSON; reconstruct the scene again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT_NAME:
        raise SceneError(f"{path} is not of a {FORMAT_NAME}; give a scene written by dynapoint")
    return content


def _manifest(content: dict[str, Any]) -> Manifest:
    """The manifest in a JSON object; raises ValueError where an entry is missing or wrong."""
    arrays = _table(content, "arrays")
    frame_count = _whole(content, "frame_count", least=1)
    return Manifest(
        name=_text(content, "name"),
        model=_text(content, "model"),
        weights_sha256=_optional(_hash, content, "weights_sha256"),
        package_version=_text(content, "package_version"),
        frame_count=frame_count,
        image_hw=_sides(content, "image_hw"),
        map_hw=_sides(content, "map_hw"),
        note=_optional(_text, content, "note"),
        source=_source(_table(content, "source"), frame_count),
        settings=_settings(_table(content, "settings")),
        refinement=_refinement(content),
        network=_optional(_network_entry, content, "network"),
        arrays={name: _array_entry(_table(arrays, name)) for name in arrays},
        files=_texts(content, "files"),
        # Scenes of earlier versions are of pinholes.
        distortion=_distortion(content, frame_count) if content.get("distortion") else None,
    )


def _source(content: dict[str, Any], frame_count: int) -> dict[str, Any]:
    """What `results.on_disk.stored_frames.source_facts` wrote."""
    names = _optional(_texts, content, "file_names")
    if names is not None and len(names) != frame_count:
        raise ValueError(f"file_names are {len(names)} for {frame_count} frames")
    return {
        "source_count": _optional(_whole, content, "source_count"),
        "file_names": names,
        "from_video": _truth(content, "from_video"),
        "masked": _truth(content, "masked"),
        # Scenes of earlier versions do not say it.
        "identity": _optional(_hash, {"identity": None, **content}, "identity"),
    }


def _settings(content: dict[str, Any]) -> dict[str, str | int]:
    """Plain values by their names."""
    return {
        name: _text(content, name) if isinstance(content[name], str) else _whole(content, name)
        for name in content
    }


def _refinement(content: dict[str, Any]) -> dict[str, Any] | None:
    """What `Findings.to_plain` gave; scenes made before there was refinement have none."""
    if content.get("refinement") is None:
        return None
    entry = _table(content, "refinement")
    try:
        return Findings.from_plain(entry).to_plain()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _wrong("refinement", entry, "what refinement says of a scene") from error


def _distortion(content: dict[str, Any], frame_count: int) -> tuple[Distortion, ...]:
    """How lenses distort: one for all frames, or one for each."""
    entries, found = _list(content, "distortion"), []
    for entry in entries:
        if not isinstance(entry, dict):
            raise _wrong("distortion", entry, "an object")
        model = _one_of(entry, "model", *COEFFICIENTS)
        numbers = _list(entry, "coefficients")
        real = [type(number) in (int, float) and math.isfinite(number) for number in numbers]
        if not all(real) or len(numbers) != len(COEFFICIENTS[model]):
            wanted = f"{len(COEFFICIENTS[model])} finite numbers"
            raise _wrong("coefficients", numbers, wanted)
        found.append(Distortion.of(model, numbers))
    if len(found) not in (1, frame_count):
        raise ValueError(f"distortion is that of {len(found)} lenses for {frame_count} frames")
    return tuple(found)


def _network_entry(content: dict[str, Any], name: str) -> NetworkEntry:
    """The entry of a network, which has these names and no others."""
    entry = _table(content, name)
    for other in entry.keys() - NetworkEntry.__dataclass_fields__.keys():
        raise ValueError(f"{name} holds {ascii(other)[:60]}, which is none of its entries")
    return NetworkEntry(
        name=_text(entry, "name"),
        weights_sha256=_hash(entry, "weights_sha256"),
        weights_bytes=_whole(entry, "weights_bytes"),
        weights_file=_one_of(entry, "weights_file", None, *WEIGHTS_FILES),
        decoder_weights=_one_of(entry, "decoder_weights", *_DECODER_WEIGHTS),
        precision=_one_of(entry, "precision", None, *_PRECISIONS),
        encoded_sha256=_hash(entry, "encoded_sha256"),
        encoded_bytes=_whole(entry, "encoded_bytes"),
    )


def _array_entry(content: dict[str, Any]) -> ArrayEntry:
    sides = _list(content, "shape")
    return ArrayEntry(
        shape=tuple(_whole(sides, index) for index in range(len(sides))),
        axes=_texts(content, "axes"),
        dtype=_text(content, "dtype"),
        # Most arrays, and all of earlier scenes, have none.
        scale=_optional(_scale, {"scale": None, **content}, "scale"),
    )


def _scale(content: dict[str, Any], name: str) -> Scale:
    entry = _table(content, name)
    low, high = _number(entry, "low"), _number(entry, "high")
    return Scale(low=low, high=high, ratios=_truth(entry, "ratios"))


_Entries = dict[str, Any] | list[Any]


def _wrong(name: str | int, value: Any, wanted: str) -> ValueError:
    """What to say of an entry; the value as ASCII, in which nothing stops it from being printed."""
    return ValueError(f"{name} is {ascii(value)[:60]}, not {wanted}")


def _value(content: _Entries, name: str | int) -> Any:
    if isinstance(content, dict) and name not in content:
        raise ValueError(f"{name} is missing")
    return content[name]  # type: ignore[index]


def _optional(
    read: Callable[[dict[str, Any], str], Entry], content: dict[str, Any], name: str
) -> Entry | None:
    return None if _value(content, name) is None else read(content, name)


def _text(content: _Entries, name: str | int) -> str:
    value = _value(content, name)
    # Half a surrogate pair is a string in JSON, but cannot be written anywhere.
    printable = isinstance(value, str) and not re.search("[\ud800-\udfff]", value)
    if not printable or len(value) > _LONGEST_TEXT:
        raise _wrong(name, value, f"text of up to {_LONGEST_TEXT} characters")
    return value


def _whole(content: _Entries, name: str | int, *, least: int = 0) -> int:
    value = _value(content, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _wrong(name, value, f"a whole number from {least}")
    return value


def _number(content: dict[str, Any], name: str) -> float:
    value = _value(content, name)
    if not isinstance(value, float):
        raise _wrong(name, value, "a number with a point")
    return value


def _truth(content: dict[str, Any], name: str) -> bool:
    value = _value(content, name)
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _hash(content: dict[str, Any], name: str) -> str:
    value = _value(content, name)
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise _wrong(name, value, "a SHA-256")
    return value


def _one_of(content: dict[str, Any], name: str, *choices: Any) -> Any:
    value = _value(content, name)
    if not isinstance(value, str | None) or value not in choices:
        raise _wrong(name, value, f"one of {choices}")
    return value


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = _value(content, name)
    if not isinstance(value, dict):
        raise _wrong(name, value, "an object")
    return value


def _list(content: dict[str, Any], name: str) -> list[Any]:
    value = _value(content, name)
    if not isinstance(value, list):
        raise _wrong(name, value, "a list")
    return value


def _texts(content: dict[str, Any], name: str) -> tuple[str, ...]:
    values = _list(content, name)
    return tuple(_text(values, index) for index in range(len(values)))


def _sides(content: dict[str, Any], name: str) -> tuple[int, int]:
    sides = _list(content, name)
    if len(sides) != 2:
        raise _wrong(name, sides, "a height and a width")
    return _whole(sides, 0, least=1), _whole(sides, 1, least=1)
