"""Scenes on disk: a manifest, plain arrays and a contact sheet, written whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

import dynapoint
from dynapoint.errors import SceneError
from dynapoint.results.checks import CHECK_FILE, check_text
from dynapoint.results.manifest import (
    ENCODED_FILE,
    MANIFEST_FILE,
    ArrayEntry,
    Manifest,
    NetworkEntry,
    read_manifest,
)
from dynapoint.results.motion_answers import motion
from dynapoint.results.pictures import map_pictures
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.scene_points import FrameTracks
from dynapoint.results.stored_frames import source_facts, write_frames

if TYPE_CHECKING:
    from dynapoint.reductions.self_check import SelfCheck

CONTACT_SHEET_FILE = "contact_sheet.png"

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
    """What a scene's manifest says, and its arrays by name: memory-mapped and read-only.

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
        points, visible, confidence = (
            files.enter_context(_growing_array(path, array_shape))
            for path, array_shape in zip(paths, ((*shape, 3), shape, shape), strict=True)
        )
        for now in scene.track_times():
            points(now[0])
            visible(now[1])
            confidence(now[2])
    mapped = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    return FrameTracks(points=mapped[0], visible=mapped[1], confidence=mapped[2])


def write_scene(
    scene: SceneMaps,
    folder: Path,
    *,
    contact_sheet: Image.Image | None = None,
    self_check: "SelfCheck[np.ndarray] | None" = None,
) -> None:
    """Write all of a scene but its tracks, which `write_tracks` has written into the same folder.

    Args:
        scene: The scene, with these tracks at hand.
        folder: Where they are.
        contact_sheet: A picture to put beside the arrays.
        self_check: What `results.checks.check` found, to put beside them too.

    Raises:
        OSError: `folder` cannot be written to.
    """
    for name, array in _small_arrays(scene).items():
        np.save(folder / f"{name}.npy", array.astype(_LAYOUT[name][1]), allow_pickle=False)
    np.save(folder / "motion_probability.npy", motion(scene, frame=0).probability)
    # Large and of their type on disk already, so that nothing is copied.
    np.save(folder / "own_time_points.npy", scene.own_time_points)
    np.save(folder / "own_time_confidence.npy", scene.own_time_confidence)
    files = [MANIFEST_FILE, *(f"{name}.npy" for name in _LAYOUT)]
    if scene.pictures is not None:
        np.save(folder / f"{_PICTURES}.npy", scene.pictures)
        files.append(f"{_PICTURES}.npy")
    files += write_frames(scene.frames, folder)
    decoder = scene.decoder
    network = decoder.store(folder) if isinstance(decoder, StorableDecoder) else None
    if network is not None:
        files += [ENCODED_FILE, *([network.weights_file] if network.weights_file else [])]
    if contact_sheet is not None:
        contact_sheet.save(folder / CONTACT_SHEET_FILE)
        files.append(CONTACT_SHEET_FILE)
    if self_check is not None:
        text = check_text(self_check, scene.refinement)
        (folder / CHECK_FILE).write_text(text, encoding="utf-8")
        files.append(CHECK_FILE)
    found = scene.refinement
    manifest = Manifest(
        name=scene.frames.name,
        model=scene.model_name,
        weights_sha256=scene.weights_sha256,
        package_version=dynapoint.__version__,
        frame_count=scene.frame_count,
        image_hw=scene.frames.image_hw,
        map_hw=scene.map_hw,
        note=scene.frames.note,
        source=source_facts(scene.frames),
        settings=dict(scene.settings),
        refinement=None if found is None else found.to_plain(),
        network=network,
        arrays=_entries(scene),
        files=tuple(files),
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


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
        if name != CONTACT_SHEET_FILE and not os.path.isfile(folder / name):
            raise SceneError(f"{folder / name} is missing; reconstruct the scene again")
    arrays = {name: _open_array(folder, name, manifest) for name in _LAYOUT}
    _check_values(folder, manifest, arrays)
    pictures = _open_pictures(folder, manifest) if _PICTURES in manifest.arrays else None
    return StoredArrays(manifest=manifest, arrays=arrays, pictures=pictures)


def _small_arrays(scene: SceneMaps) -> dict[str, np.ndarray]:
    """All arrays of a scene by name, but for its own-time maps and tracks."""
    return {
        "world_from_camera": scene.world_from_camera,
        "intrinsics": scene.intrinsics,
        "map_from_image": scene.pixel_map.map_from_image,
        "picture_hw": scene.pixel_map.picture_hw,
        "timestamps_s": scene.timestamps_s,
        "source_frame_index": scene.source_frame_index,
        "images": map_pictures(scene),
    }


def _entries(scene: SceneMaps) -> dict[str, ArrayEntry]:
    """What the manifest says of each array of a scene."""
    count, map_hw = scene.frame_count, scene.map_hw
    entries = {
        name: ArrayEntry(shape=_shape(name, count, map_hw), axes=axes, dtype=dtype)
        for name, (axes, dtype) in _LAYOUT.items()
    }
    if scene.pictures is not None:
        entries[_PICTURES] = _pictures_entry(scene.pictures.shape)
    return entries


@contextmanager
def _growing_array(
    path: Path, shape: tuple[int, ...]
) -> Iterator[Callable[[Float32[np.ndarray, "..."]], None]]:
    """Give a function that appends to a .npy file of float32; never holds more than it is given."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

        def append(rows: Float32[np.ndarray, "..."]) -> None:
            file.write(np.ascontiguousarray(rows, dtype="<f4").data)

        yield append


def _open_array(folder: Path, name: str, manifest: Manifest) -> np.ndarray:
    """Memory-map one array and check it against the manifest and the layout."""
    axes, dtype = _LAYOUT[name]
    wanted = ArrayEntry(
        shape=_shape(name, manifest.frame_count, manifest.map_hw), axes=axes, dtype=dtype
    )
    return _opened(folder, name, manifest, wanted)


def _open_pictures(folder: Path, manifest: Manifest) -> UInt8[np.ndarray, "frame tall wide"]:
    """The same of the pictures, of which the manifest alone says how large they are."""
    shape = manifest.arrays[_PICTURES].shape
    if len(shape) != 3 or shape[0] != manifest.frame_count or min(shape) < 1:
        raise SceneError(
            f"{folder / MANIFEST_FILE} says {shape} of {_PICTURES}, which are no pictures of "
            f"{manifest.frame_count} frames; reconstruct the scene again"
        )
    return _opened(folder, _PICTURES, manifest, _pictures_entry(shape))


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
    if entry.dtype == "float16" and array.dtype == np.float16 and wanted == _single(entry):
        # A lean scene's; half as large on disk, and no longer mapped.
        array, entry = array.astype(np.float32), wanted
        array.flags.writeable = False
    found = ArrayEntry(shape=array.shape, axes=wanted.axes, dtype=str(array.dtype))
    if found != wanted:
        raise SceneError(
            f"{path} holds {found.dtype} {found.shape} but the scene needs {wanted.dtype} "
            f"{wanted.shape}; reconstruct the scene again"
        )
    if entry != wanted:
        raise SceneError(
            f"{folder / MANIFEST_FILE} says {entry.dtype} {entry.shape} {entry.axes} of {name} but "
            f"its file is {wanted.dtype} {wanted.shape} {wanted.axes}; reconstruct the scene again"
        )
    return array


def _single(entry: ArrayEntry) -> ArrayEntry:
    """An entry as of single precision."""
    return replace(entry, dtype="float32")


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


def _shape(name: str, frame_count: int, map_hw: tuple[int, int]) -> tuple[int, ...]:
    """The shape of an array of a scene."""
    side = 4 if name == "world_from_camera" else 3
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
    return tuple(lengths[axis] for axis in _LAYOUT[name][0])
