"""The manifest of a stored scene: what it is, how it was made and which arrays it holds."""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from dynapoint.errors import SceneError
from dynapoint.geometry.distortion import COEFFICIENTS, Distortion
from dynapoint.models.calibration import Calibration
from dynapoint.refinement.findings import Findings
from dynapoint.results.on_disk.fewer_bits import Scale
from dynapoint.results.on_disk.json_values import (
    items,
    number,
    one_of,
    optional,
    sha256,
    sides,
    table,
    text,
    texts,
    truth,
    whole,
    wrong,
)
from dynapoint.windows.joining import Joining
from dynapoint.windows.spans import BeginsWith, Segment, SegmentKind

FORMAT_NAME = "dynapoint-scene"
FORMAT_VERSION = 3
MISREAD_VERSION = 4
"""That of scenes which earlier versions of this package would read wrongly: lean ones, and those of
lenses that distort."""
LONG_VERSION = 5
"""That of clips in windows or in segments."""
_READABLE = (FORMAT_VERSION, MISREAD_VERSION, LONG_VERSION)

MANIFEST_FILE = "manifest.json"
CACHE_FOLDER = "cache"
"""Where commands may keep what they have worked out; it can be deleted at any time."""

OWN_TIME_DEPTH, TRACK_MOTION = "own_time_depth", "track_motion"
"""Arrays of lean scenes: depth on the rays of pixels, and how far tracks are from their start."""

ENCODED_FILE = "encoded.safetensors"
WINDOWS_FOLDER = "windows"
"""Where a clip in windows keeps what each of them says."""
WEIGHTS_FILES = ("weights.safetensors", "weights.pt")

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
        encoded_sha256: The hash of `encoded.safetensors`, what the network keeps of the clip; None
            for a clip in windows, each of which has one of its own.
        encoded_bytes: Its size.
    """

    name: str
    weights_sha256: str
    weights_bytes: int
    weights_file: str | None
    decoder_weights: str
    precision: str | None
    encoded_sha256: str | None
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
        segments: The parts that are worlds of their own; `()` where all frames share one.
        windows: How many windows the clip was predicted in, each in a folder of its own; 0 for one
            pass.
        joining: How the windows became one scene.
        calibration: What the network's confidence has meant; None where that was not known.
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
    segments: tuple[Segment, ...] = ()
    windows: int = 0
    joining: Joining | None = None
    calibration: Calibration | None = None

    @property
    def lean(self) -> bool:
        """Whether arrays follow from others, or are stored as numbers on a scale."""
        return TRACK_MOTION in self.arrays

    def to_json(self) -> str:
        """The manifest as text, format and conventions first."""
        version = FORMAT_VERSION
        if self.lean or self.distortion is not None:
            version = MISREAD_VERSION
        if self.windows or self.segments:
            version = LONG_VERSION
        head = {"format": FORMAT_NAME, "version": version, "conventions": CONVENTIONS}
        content = asdict(self)
        content["joining"] = None if self.joining is None else self.joining.to_plain()
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
    if version not in _READABLE or not isinstance(version, int):
        raise SceneError(
            f"{path} has version {ascii(version)[:60]} but this dynapoint reads versions "
            f"{FORMAT_VERSION} to {LONG_VERSION}; reconstruct the scene again or change the "
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
    arrays = table(content, "arrays")
    frame_count = whole(content, "frame_count", least=1)
    return Manifest(
        name=text(content, "name"),
        model=text(content, "model"),
        weights_sha256=optional(sha256, content, "weights_sha256"),
        package_version=text(content, "package_version"),
        frame_count=frame_count,
        image_hw=sides(content, "image_hw"),
        map_hw=sides(content, "map_hw"),
        note=optional(text, content, "note"),
        source=_source(table(content, "source"), frame_count),
        settings=_settings(table(content, "settings")),
        refinement=_refinement(content),
        network=optional(_network_entry, content, "network"),
        arrays={name: _array_entry(table(arrays, name)) for name in arrays},
        files=texts(content, "files"),
        # Scenes of earlier versions are of pinholes.
        distortion=_distortion(content, frame_count) if content.get("distortion") else None,
        segments=_segments(content, frame_count),
        windows=whole({"windows": 0, **content}, "windows"),
        joining=_joining(content),
        calibration=_calibration(content),
    )


def _source(content: dict[str, Any], frame_count: int) -> dict[str, Any]:
    """What `results.on_disk.stored_frames.source_facts` wrote."""
    names = optional(texts, content, "file_names")
    if names is not None and len(names) != frame_count:
        raise ValueError(f"file_names are {len(names)} for {frame_count} frames")
    return {
        "source_count": optional(whole, content, "source_count"),
        "file_names": names,
        "from_video": truth(content, "from_video"),
        "masked": truth(content, "masked"),
        # Scenes of earlier versions do not say it.
        "identity": optional(sha256, {"identity": None, **content}, "identity"),
    }


def _settings(content: dict[str, Any]) -> dict[str, str | int]:
    """Plain values by their names."""
    return {
        name: text(content, name) if isinstance(content[name], str) else whole(content, name)
        for name in content
    }


def _refinement(content: dict[str, Any]) -> dict[str, Any] | None:
    """What `Findings.to_plain` gave; scenes made before there was refinement have none."""
    if content.get("refinement") is None:
        return None
    entry = table(content, "refinement")
    try:
        return Findings.from_plain(entry).to_plain()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise wrong("refinement", entry, "what refinement says of a scene") from error


def _distortion(content: dict[str, Any], frame_count: int) -> tuple[Distortion, ...]:
    """How lenses distort: one for all frames, or one for each."""
    entries, found = items(content, "distortion"), []
    for entry in entries:
        if not isinstance(entry, dict):
            raise wrong("distortion", entry, "an object")
        model = one_of(entry, "model", *COEFFICIENTS)
        numbers = items(entry, "coefficients")
        real = [type(number) in (int, float) and math.isfinite(number) for number in numbers]
        if not all(real) or len(numbers) != len(COEFFICIENTS[model]):
            wanted = f"{len(COEFFICIENTS[model])} finite numbers"
            raise wrong("coefficients", numbers, wanted)
        found.append(Distortion.of(model, numbers))
    if len(found) not in (1, frame_count):
        raise ValueError(f"distortion is that of {len(found)} lenses for {frame_count} frames")
    return tuple(found)


def _segments(content: dict[str, Any], frame_count: int) -> tuple[Segment, ...]:
    """The segments of a clip, which follow each other; earlier scenes have none."""
    found: list[Segment] = []
    for entry in items({"segments": [], **content}, "segments"):
        if not isinstance(entry, dict):
            raise wrong("segments", entry, "an object")
        segment = Segment(
            start=whole(entry, "start"),
            stop=whole(entry, "stop", least=1),
            kind=one_of(entry, "kind", *get_args(SegmentKind)),
            begins_with=one_of(entry, "begins_with", *get_args(BeginsWith)),
        )
        if segment.start != (found[-1].stop if found else 0) or segment.count < 1:
            raise wrong("segments", entry, "the frames behind those of the one before")
        found.append(segment)
    if found and found[-1].stop != frame_count:
        raise ValueError(f"segments end at {found[-1].stop} of {frame_count} frames")
    return tuple(found)


def _joining(content: dict[str, Any]) -> Joining | None:
    """What `Joining.to_plain` gave; scenes of one pass have none."""
    if content.get("joining") is None:
        return None
    entry = table(content, "joining")
    try:
        return Joining.from_plain(entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise wrong("joining", entry, "how windows became a scene") from error


def _calibration(content: dict[str, Any]) -> Calibration | None:
    """What a network's confidence has meant; scenes of earlier versions have none."""
    entry = content.get("calibration")
    return None if entry is None else Calibration.from_plain(entry)


def _network_entry(content: dict[str, Any], name: str) -> NetworkEntry:
    """The entry of a network, which has these names and no others."""
    entry = table(content, name)
    for other in entry.keys() - NetworkEntry.__dataclass_fields__.keys():
        raise ValueError(f"{name} holds {ascii(other)[:60]}, which is none of its entries")
    return NetworkEntry(
        name=text(entry, "name"),
        weights_sha256=sha256(entry, "weights_sha256"),
        weights_bytes=whole(entry, "weights_bytes"),
        weights_file=one_of(entry, "weights_file", None, *WEIGHTS_FILES),
        decoder_weights=one_of(entry, "decoder_weights", *_DECODER_WEIGHTS),
        precision=one_of(entry, "precision", None, *_PRECISIONS),
        encoded_sha256=optional(sha256, entry, "encoded_sha256"),
        encoded_bytes=whole(entry, "encoded_bytes"),
    )


def _array_entry(content: dict[str, Any]) -> ArrayEntry:
    sides = items(content, "shape")
    return ArrayEntry(
        shape=tuple(whole(sides, index) for index in range(len(sides))),
        axes=texts(content, "axes"),
        dtype=text(content, "dtype"),
        # Most arrays, and all of earlier scenes, have none.
        scale=optional(_scale, {"scale": None, **content}, "scale"),
    )


def _scale(content: dict[str, Any], name: str) -> Scale:
    entry = table(content, name)
    low, high = number(entry, "low"), number(entry, "high")
    return Scale(low=low, high=high, ratios=truth(entry, "ratios"))
