"""Scenes on disk: a manifest, plain arrays and a contact sheet, written whole or not at all."""

import os
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import dynapoint
from dynapoint.errors import SceneError
from dynapoint.geometry.distortion import Distortion
from dynapoint.results.checks import CHECK_FILE, check_text
from dynapoint.results.motion_answers import motion
from dynapoint.results.on_disk.fewer_bits import in_single
from dynapoint.results.on_disk.large_arrays import GrowingArray, files_below, let_go, save_array
from dynapoint.results.on_disk.lean_arrays import lean_arrays, with_points
from dynapoint.results.on_disk.manifest import (
    ENCODED_FILE,
    MANIFEST_FILE,
    OWN_TIME_DEPTH,
    TRACK_MOTION,
    WINDOWS_FOLDER,
    ArrayEntry,
    Manifest,
    NetworkEntry,
    read_manifest,
)
from dynapoint.results.on_disk.stored_frames import source_facts, write_frames
from dynapoint.results.pictures import map_pictures
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.scene_points import FrameTracks, MeasuredPictures

if TYPE_CHECKING:
    from dynapoint.reductions.self_check import SelfCheck

CONTACT_SHEET_FILES = ("contact_sheet.png", "contact_sheet.jpg")
"""Those of whole scenes and of lean ones."""

LEFT_OUT = "left out"
"""What the settings of a lean scene say of the network."""

# A word for every axis of every array of a scene, and its element type.
_LAYOUT: dict[str, tuple[tuple[str, ...], str]] = {
    "world_from_camera": (("frame", "row", "column"), "float64"),
    "intrinsics": (("frame", "row", "column"), "float64"),
    "map_from_image": (("frame", "row", "column"), "float64"),
    "picture_hw": (("frame", "hw"), "int64"),
    "timestamps_s": (("frame",), "float64"),
    "source_frame_index": (("frame",), "int64"),
    "images": (("frame", "height", "width", "rgb"), "uint8"),
    "own_time_points": (("frame", "height", "width", "xyz"), "float32"),
    "own_time_confidence": (("frame", "height", "width"), "float32"),
    "track_points": (("time", "height", "width", "xyz"), "float32"),
    "track_visible": (("time", "height", "width"), "float32"),
    "track_confidence": (("time", "height", "width"), "float32"),
    "motion_probability": (("height", "width"), "float32"),
}
# Only in scenes that were made to agree with their pictures; these are of any size.
_PICTURES = "pictures"
_OPTIONAL: dict[str, tuple[tuple[str, ...], str]] = {
    _PICTURES: (("frame", "tall", "wide"), "uint8"),
}
# In lean scenes two of these take the place of the points, and no pictures of the maps are stored.
_LEAN: dict[str, tuple[tuple[str, ...], str]] = {
    OWN_TIME_DEPTH: (("frame", "height", "width"), "float32"),
    TRACK_MOTION: (("time", "height", "width", "xyz"), "float32"),
}
# What lean scenes hold in place of float32: half precision, or numbers on a scale.
_HALF, _CODES = ("float16",), ("uint8", "uint16")
# How many times of tracks are written before what was read for them is let go of.
_LET_GO_EVERY = 32
_TRACKS = ("track_points", "track_visible", "track_confidence")


@runtime_checkable
class StorableDecoder(Protocol):
    """A decoder that can be opened again from what it writes into a scene."""

    def store(self, folder: Path) -> NetworkEntry | None:
        """Write the network and what it keeps of the clip; None where that cannot be.

        Raises:
            OSError: `folder` cannot be written to.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredArrays:
    """What a scene's manifest says, and its arrays by name: read-only, memory-mapped where whole.

    `pictures` are those in which it is measured where points are seen; most scenes have them.
    """

    manifest: Manifest
    arrays: dict[str, np.ndarray]
    pictures: UInt8[np.ndarray, "frame tall wide"] | None = None


def write_tracks(scene: SceneMaps, folder: Path) -> FrameTracks:
    """Write the tracks of frame 0 one time after another, and open them memory-mapped.

    Raises:
        OSError: `folder` cannot be written to.
    """
    shape = (scene.frame_count, *scene.map_hw)
    paths = [folder / f"{name}.npy" for name in _TRACKS]
    with ExitStack() as files:
        growing = [
            files.enter_context(GrowingArray(path, array_shape))
            for path, array_shape in zip(paths, ((*shape, 3), shape, shape), strict=True)
        ]
        for time, now in enumerate(scene.track_times()):
            for array, rows in zip(growing, now, strict=True):
                array.append(rows)
            if time % _LET_GO_EVERY == 0:
                let_go(scene.own_time_points, scene.own_time_confidence)
    points, visible, confidence = (np.lib.format.open_memmap(path, mode="r") for path in paths)
    return FrameTracks(points=points, visible=visible, confidence=confidence)


def write_scene(
    scene: SceneMaps,
    folder: Path,
    *,
    contact_sheet: Image.Image | None = None,
    self_check: "SelfCheck[np.ndarray] | None" = None,
    lean: bool = False,
) -> None:
    """Write all of a scene but its tracks, which `write_tracks` has written into the same folder.

    Args:
        scene: The scene, with these tracks at hand.
        folder: Where they are.
        contact_sheet: A picture to put beside the arrays.
        self_check: What `results.checks.check` found, to put beside them too.
        lean: Leave out the network, what it keeps of the clip and the pictures to measure in; write
            all else, the tracks too, in fewer bits (`results.on_disk.lean_arrays`).

    Raises:
        OSError: `folder` cannot be written to.
    """
    entries = _write_lean(scene, folder) if lean else _write_whole(scene, folder)
    files = [MANIFEST_FILE, *(f"{name}.npy" for name in entries)]
    files += write_frames(scene.frames, folder, small=lean)
    settings, network = dict(scene.settings), None
    if lean:
        settings["network"] = LEFT_OUT
    elif isinstance(scene.decoder, StorableDecoder):
        network = scene.decoder.store(folder)
    if network is not None:
        files += [network.weights_file] if network.weights_file else []
        in_windows = network.encoded_sha256 is None
        files += files_below(folder, WINDOWS_FOLDER) if in_windows else [ENCODED_FILE]
    if contact_sheet is not None:
        files.append(CONTACT_SHEET_FILES[lean])
        # Of the two formats only JPEG has a quality.
        contact_sheet.save(folder / files[-1], quality=85)
    if self_check is not None:
        text = check_text(self_check, scene.refinement, scene.joining)
        (folder / CHECK_FILE).write_text(text, encoding="utf-8")
        files.append(CHECK_FILE)
    manifest = _manifest(scene, entries, settings, network, files)
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _manifest(
    scene: SceneMaps,
    entries: dict[str, ArrayEntry],
    settings: dict[str, str | int],
    network: NetworkEntry | None,
    files: list[str],
) -> Manifest:
    """What is said of a scene whose arrays and files are written."""
    return Manifest(
        name=scene.frames.name,
        model=scene.model_name,
        weights_sha256=scene.weights_sha256,
        package_version=dynapoint.__version__,
        frame_count=scene.frame_count,
        image_hw=scene.frames.image_hw,
        map_hw=scene.map_hw,
        note=scene.frames.note,
        source=source_facts(scene.frames),
        settings=settings,
        refinement=None if scene.refinement is None else scene.refinement.to_plain(),
        network=network,
        arrays=entries,
        files=tuple(files),
        distortion=_few(scene.distortion),
        segments=scene.segments,
        windows=0 if scene.joining is None else scene.joining.windows,
        joining=scene.joining,
        calibration=scene.calibration,
    )


def contact_sheet_of(scene: Path) -> Path:
    """Where the contact sheet of a stored scene lies."""
    places = [scene / name for name in CONTACT_SHEET_FILES]
    return next((place for place in places if place.is_file()), places[0])


def _few(distortion: tuple[Distortion, ...] | None) -> tuple[Distortion, ...] | None:
    """One lens where all frames have the same."""
    return distortion[:1] if distortion and len(set(distortion)) == 1 else distortion


def read_arrays(scene: Path | str) -> StoredArrays:
    """Open a stored scene without reading its arrays into memory.

    Raises:
        SceneError: It is no scene, of another version, or a file is missing or does not fit the
            manifest; the message names it.
    """
    folder = Path(scene)
    manifest = read_manifest(folder)
    for name in manifest.files:
        # A contact sheet is for people, who may have moved it.
        if name not in CONTACT_SHEET_FILES and not os.path.isfile(folder / name):
            raise SceneError(f"{folder / name} is missing; reconstruct the scene again")
    layout = _layout(lean=manifest.lean, names=manifest.arrays.keys())
    arrays = {name: _open_array(folder, name, manifest) for name in layout}
    _check_values(folder, manifest, arrays)
    if manifest.lean:
        arrays = with_points(arrays)
    pictures = _open_pictures(folder, manifest) if _PICTURES in manifest.arrays else None
    return StoredArrays(manifest=manifest, arrays=arrays, pictures=pictures)


def _small_arrays(scene: SceneMaps) -> dict[str, np.ndarray]:
    """The arrays of a scene that are one or a few numbers for each frame, by name."""
    return {
        "world_from_camera": scene.world_from_camera,
        "intrinsics": scene.intrinsics,
        "map_from_image": scene.pixel_map.map_from_image,
        "picture_hw": scene.pixel_map.picture_hw,
        "timestamps_s": scene.timestamps_s,
        "source_frame_index": scene.source_frame_index,
    }


def _write_small(scene: SceneMaps, folder: Path) -> dict[str, ArrayEntry]:
    """Write the small arrays; returns what the manifest says of them."""
    arrays = _small_arrays(scene)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array.astype(_LAYOUT[name][1]), allow_pickle=False)
    return {name: _entry(name, scene.frame_count, scene.map_hw) for name in arrays}


def _write_whole(scene: SceneMaps, folder: Path) -> dict[str, ArrayEntry]:
    """Write all arrays but the tracks; returns what the manifest says of all."""
    entries = _write_small(scene, folder)
    with GrowingArray(folder / "images.npy", (scene.frame_count, *scene.map_hw, 3), "u1") as array:
        for frame in range(scene.frame_count):
            array.append(map_pictures(scene, [frame]))
    np.save(folder / "motion_probability.npy", motion(scene, frame=0).probability)
    # Large and of their type on disk already, so that nothing is copied.
    save_array(folder / "own_time_points.npy", scene.own_time_points)
    save_array(folder / "own_time_confidence.npy", scene.own_time_confidence)
    count, map_hw = scene.frame_count, scene.map_hw
    entries |= {name: _entry(name, count, map_hw) for name in _LAYOUT if name not in entries}
    if scene.pictures is not None:
        entries[_PICTURES] = _write_pictures(scene.pictures, count, folder)
    return entries


def _write_pictures(
    pictures: UInt8[np.ndarray, "frame tall wide"] | MeasuredPictures, count: int, folder: Path
) -> ArrayEntry:
    """Write the pictures to measure in; returns what the manifest says of them."""
    path, shape = folder / f"{_PICTURES}.npy", (count, *pictures[0].shape)
    if isinstance(pictures, np.ndarray):
        save_array(path, pictures)
    else:
        with GrowingArray(path, shape, "u1") as array:
            for frame in range(count):
                array.append(pictures[frame])
    return _pictures_entry(shape)


def _write_lean(scene: SceneMaps, folder: Path) -> dict[str, ArrayEntry]:
    """Write all arrays of a lean scene, tracks too; returns what the manifest says of them."""
    entries = _write_small(scene, folder)
    for name, array, entry in lean_arrays(scene):
        np.save(folder / f"{name}.npy", array)
        entries[name] = entry
    return entries


def _layout(*, lean: bool, names: Collection[str]) -> tuple[str, ...]:
    """The arrays that a scene needs to have."""
    if not lean:
        return tuple(_LAYOUT)
    own_time = OWN_TIME_DEPTH if OWN_TIME_DEPTH in names else "own_time_points"
    absent = ("images", "own_time_points", "track_points")
    return (*(name for name in _LAYOUT if name not in absent), own_time, TRACK_MOTION)


def _open_array(folder: Path, name: str, manifest: Manifest) -> np.ndarray:
    """Memory-map one array and check it against the manifest and the layout."""
    return _opened(folder, name, manifest, _entry(name, manifest.frame_count, manifest.map_hw))


def _open_pictures(folder: Path, manifest: Manifest) -> UInt8[np.ndarray, "frame tall wide"]:
    """The same of the pictures, of which the manifest alone says how large they are."""
    shape = manifest.arrays[_PICTURES].shape
    if len(shape) != 3 or shape[0] != manifest.frame_count or min(shape) < 1:
        raise SceneError(
            f"{folder / MANIFEST_FILE} says {shape} of {_PICTURES}, which are no pictures of "
            f"{manifest.frame_count} frames; reconstruct the scene again"
        )
    return _opened(folder, _PICTURES, manifest, _pictures_entry(shape))


def _entry(name: str, frame_count: int, map_hw: tuple[int, int]) -> ArrayEntry:
    """What is wanted of an array of a scene."""
    axes, dtype = (_LAYOUT | _LEAN)[name]
    side = 4 if name == "world_from_camera" else 3
    shape = _shape(axes, frame_count, map_hw, side)
    return ArrayEntry(shape=shape, axes=axes, dtype=dtype)


def _pictures_entry(shape: tuple[int, ...]) -> ArrayEntry:
    axes, dtype = _OPTIONAL[_PICTURES]
    return ArrayEntry(shape=shape, axes=axes, dtype=dtype)


def _opened(folder: Path, name: str, manifest: Manifest, wanted: ArrayEntry) -> np.ndarray:
    """Memory-map an array and check it and its entry in the manifest."""
    path = folder / f"{name}.npy"
    entry = manifest.arrays.get(name)
    if entry is None or not path.is_file():
        raise SceneError(f"{path} is missing; reconstruct the scene again")
    try:
        # Unlike `np.load`, this takes nothing but an array: a ZIP archive is refused.
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    # Damaged headers are refused by errors of many kinds, of Python's parser too.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise SceneError(f"{path} is damaged ({reason}); reconstruct the scene again") from error
    stored = wanted
    if wanted.dtype == "float32" and entry.dtype in (_HALF if entry.scale is None else _CODES):
        stored = replace(wanted, dtype=entry.dtype, scale=entry.scale)
    found = replace(stored, shape=array.shape, dtype=str(array.dtype))
    if found != stored:
        raise SceneError(
            f"{path} holds {found.dtype} {found.shape} but the scene needs {stored.dtype} "
            f"{stored.shape}; reconstruct the scene again"
        )
    if entry != stored:
        raise SceneError(
            f"{folder / MANIFEST_FILE} says {entry.dtype} {entry.shape} {entry.axes} of {name} but "
            f"its file is {stored.dtype} {stored.shape} {stored.axes}; reconstruct the scene again"
        )
    # A lean scene's is no longer mapped.
    return array if stored == wanted else in_single(array, stored.scale)


def _check_values(folder: Path, manifest: Manifest, arrays: dict[str, np.ndarray]) -> None:
    """Refuse cameras, sizes and times that no scene has; maps and tracks are not read for it."""
    sizes = arrays["picture_hw"]
    lenses = [arrays[name][:, [0, 1], [0, 1]] for name in ("intrinsics", "map_from_image")]
    wrong = {
        "world_from_camera": not np.isfinite(arrays["world_from_camera"]).all(),
        "intrinsics": not np.isfinite(arrays["intrinsics"]).all() or (lenses[0] <= 0).any(),
        "map_from_image": not np.isfinite(arrays["map_from_image"]).all() or (lenses[1] <= 0).any(),
        "picture_hw": sizes.min() < 1 or tuple(sizes.max(axis=0).tolist()) != manifest.image_hw,
        "timestamps_s": np.isinf(arrays["timestamps_s"]).any(),
        "source_frame_index": arrays["source_frame_index"].min() < 0,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise SceneError(
                f"{folder / name}.npy is damaged (its values cannot be those of a scene of "
                f"{manifest.image_hw[1]}x{manifest.image_hw[0]}); reconstruct the scene again"
            )


def _shape(
    axes: tuple[str, ...], frame_count: int, map_hw: tuple[int, int], side: int
) -> tuple[int, ...]:
    """The shape of an array with these axes; `side` is that of its matrices."""
    lengths = {
        "frame": frame_count,
        "time": frame_count,
        "height": map_hw[0],
        "width": map_hw[1],
        "row": side,
        "column": side,
        "rgb": 3,
        "xyz": 3,
        "hw": 2,
    }
    return tuple(lengths[axis] for axis in axes)
