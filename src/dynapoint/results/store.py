"""Scenes on disk: a manifest, plain arrays and a contact sheet, written whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from PIL import Image

import dynapoint
from dynapoint.errors import SceneError
from dynapoint.results.manifest import MANIFEST_FILE, ArrayEntry, Manifest, read_manifest
from dynapoint.results.output_folder import whole_folder
from dynapoint.results.reconstruction import Reconstruction

CONTACT_SHEET_FILE = "contact_sheet.png"

# A word for every axis of every array of a scene, and its element type.
_LAYOUT: dict[str, tuple[tuple[str, ...], str]] = {
    "world_from_camera": (("frame", "row", "column"), "float32"),
    "intrinsics": (("frame", "row", "column"), "float32"),
    "timestamps_s": (("frame",), "float64"),
    "source_frame_index": (("frame",), "int64"),
    "images": (("frame", "height", "width", "rgb"), "uint8"),
    "own_time_points": (("frame", "height", "width", "xyz"), "float32"),
    "own_time_confidence": (("frame", "height", "width"), "float32"),
    "track_points": (("time", "height", "width", "xyz"), "float32"),
    "track_visible": (("time", "height", "width"), "float32"),
    "track_confidence": (("time", "height", "width"), "float32"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredScene:
    """A scene read from disk; arrays are memory-mapped and read-only.

    Points are in the world (the camera of frame 0); `images` are the frames at the maps'
    resolution; `track_*` say where the pixels of frame 0 are at all times.
    """

    manifest: Manifest
    world_from_camera: Float32[np.ndarray, "frame 4 4"]
    intrinsics: Float32[np.ndarray, "frame 3 3"]
    timestamps_s: Float64[np.ndarray, " frame"]
    source_frame_index: Int64[np.ndarray, " frame"]
    images: UInt8[np.ndarray, "frame height width rgb=3"]
    own_time_points: Float32[np.ndarray, "frame height width xyz=3"]
    own_time_confidence: Float32[np.ndarray, "frame height width"]
    track_points: Float32[np.ndarray, "frame height width xyz=3"]
    track_visible: Float32[np.ndarray, "frame height width"]
    track_confidence: Float32[np.ndarray, "frame height width"]


def save(
    reconstruction: Reconstruction,
    output: Path | str,
    *,
    overwrite: bool = False,
    contact_sheet: Image.Image | None = None,
) -> None:
    """Write a scene as the folder `output`, whatever its name ends in.

    Args:
        reconstruction: What to write: cameras, own-time maps and the tracks of frame 0.
        output: The folder; missing folders above it are made.
        overwrite: Replace a scene that is there already. Anything else is never replaced.
        contact_sheet: A picture to put beside the arrays.

    Raises:
        OutputError: `output` exists or cannot be written; nothing is left behind.
    """
    arrays = _arrays(reconstruction)
    files = [MANIFEST_FILE, *(f"{name}.npy" for name in arrays)]
    if contact_sheet is not None:
        files.append(CONTACT_SHEET_FILE)
    manifest = Manifest(
        name=reconstruction.frames.name,
        model=reconstruction.model_name,
        weights_sha256=reconstruction.weights_sha256,
        package_version=dynapoint.__version__,
        frame_count=reconstruction.frame_count,
        image_hw=reconstruction.frames.image_hw,
        map_hw=reconstruction.map_hw,
        note=reconstruction.frames.note,
        arrays={
            name: ArrayEntry(shape=array.shape, axes=_LAYOUT[name][0], dtype=_LAYOUT[name][1])
            for name, array in arrays.items()
        },
        files=tuple(files),
    )
    with whole_folder(Path(output), overwrite=overwrite) as folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array.astype(_LAYOUT[name][1]), allow_pickle=False)
        if contact_sheet is not None:
            contact_sheet.save(folder / CONTACT_SHEET_FILE)
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def load(scene: Path | str) -> StoredScene:
    """Open a stored scene without reading its arrays into memory.

    Raises:
        SceneError: It is no scene, of another version, or a file is missing or does not fit the
            manifest; the message names it.
    """
    folder = Path(scene)
    manifest = read_manifest(folder)
    arrays = {name: _open_array(folder, name, manifest) for name in _LAYOUT}
    return StoredScene(manifest=manifest, **arrays)


def _arrays(reconstruction: Reconstruction) -> dict[str, np.ndarray]:
    """All arrays of a scene by name."""
    tracks = reconstruction.tracks()
    return {
        "world_from_camera": reconstruction.world_from_camera,
        "intrinsics": reconstruction.intrinsics,
        "timestamps_s": reconstruction.timestamps_s,
        "source_frame_index": reconstruction.source_frame_index,
        "images": _images_at_map_size(reconstruction),
        "own_time_points": reconstruction.own_time_points,
        "own_time_confidence": reconstruction.own_time_confidence,
        "track_points": tracks.points,
        "track_visible": tracks.visible,
        "track_confidence": tracks.confidence,
    }


def _images_at_map_size(
    reconstruction: Reconstruction,
) -> UInt8[np.ndarray, "frame map_height map_width rgb=3"]:
    """The frames' colours for the maps' points."""
    size = reconstruction.map_hw[::-1]
    resized = [
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        for image in reconstruction.images
    ]
    return np.stack(resized)


def _open_array(folder: Path, name: str, manifest: Manifest) -> np.ndarray:
    """Memory-map one array and check it against the manifest and the layout."""
    path = folder / f"{name}.npy"
    entry = manifest.arrays.get(name)
    if entry is None or not path.is_file():
        raise SceneError(f"{path} is missing; reconstruct the scene again")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SceneError(f"{path} is damaged ({error}); reconstruct the scene again") from error
    wanted = _expected_shape(name, manifest)
    if array.shape != wanted or entry.shape != wanted or array.dtype != _LAYOUT[name][1]:
        raise SceneError(
            f"{path} holds {array.dtype} {array.shape} but the scene needs {_LAYOUT[name][1]} "
            f"{wanted}; reconstruct the scene again"
        )
    return array


def _expected_shape(name: str, manifest: Manifest) -> tuple[int, ...]:
    """The shape that follows from the manifest's numbers."""
    side = {"world_from_camera": 4, "intrinsics": 3}.get(name, 0)
    lengths = {
        "frame": manifest.frame_count,
        "time": manifest.frame_count,
        "height": manifest.map_hw[0],
        "width": manifest.map_hw[1],
        "row": side,
        "column": side,
        "rgb": 3,
        "xyz": 3,
    }
    return tuple(lengths[axis] for axis in _LAYOUT[name][0])
