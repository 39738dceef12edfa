"""What a window leaves on disk when it is finished, whole or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from dynapoint.errors import ModelError, SceneError
from dynapoint.inference.predict import NetworkDecoder
from dynapoint.models.kept.encoded_files import write_encoded
from dynapoint.models.kept.finer_maps import nearest_places
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.refinement.findings import Findings
from dynapoint.results.on_disk.manifest import ENCODED_FILE, WINDOWS_FOLDER
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.whole_file import new_folder, sha256_of
from dynapoint.windows.spans import Window
from dynapoint.windows.window_maps import WindowMaps

WINDOW_FILE = "window.json"


def window_folder(index: int) -> str:
    """Where a window lies in its scene."""
    return f"{WINDOWS_FOLDER}/{index:05d}"


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedWindow:
    """A window as it was written.

    Attributes:
        window: Which frames it holds.
        world_from_camera: Their cameras, in the window's world.
        map_intrinsics: In pixels of the maps.
        findings: What refinement found; None where none was asked for.
        folder: Where it lies.
        encoded_sha256: The hash of what the network keeps of it; None for nothing.
    """

    window: Window
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    map_intrinsics: Float64[np.ndarray, "frame 3 3"]
    findings: Findings | None
    folder: Path
    encoded_sha256: str | None

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames it holds."""
        return self.window.frames

    @property
    def maps(self) -> WindowMaps:
        """What it says of its frames: files that are mapped as long as the answer is held.

        A process may map only so many files.

        Raises:
            SceneError: A file is missing or damaged.
        """
        there = (self.folder / "evidence.npy").is_file()
        return WindowMaps(
            frames=self.frames,
            world_from_camera=self.world_from_camera,
            map_intrinsics=self.map_intrinsics,
            points=_opened(self.folder, "points"),
            confidence=_opened(self.folder, "confidence"),
            evidence=_opened(self.folder, "evidence") if there else None,
        )

    @property
    def focal_px(self) -> float:
        """The focal length of its frames in pixels of the pictures: the median of logarithms."""
        lens = np.array(_opened(self.folder, "intrinsics"))
        return float(np.exp(np.median(np.log(lens[:, [0, 1], [0, 1]]))))

    def pictures(self) -> UInt8[np.ndarray, "frame tall wide"] | None:
        """Grey pictures to measure in, if there are any; only until the scene is assembled."""
        there = (self.folder / "pictures.npy").is_file()
        return _opened(self.folder, "pictures") if there else None

    def map_from_image(self) -> Float64[np.ndarray, "frame 3 3"]:
        """From pixels of its pictures to those of its maps; only until the scene is assembled."""
        return np.array(_opened(self.folder, "map_from_image"))


def write_window(rec: Reconstruction, window: Window, folder: Path) -> None:
    """Write what a window's reconstruction says of its frames.

    Args:
        rec: The window as a clip of its own, fresh from the network.
        window: Which frames of the clip these are.
        folder: What becomes the window's folder; the one above it has to be there.

    Raises:
        ModelError: What the network keeps of a clip is of a kind that has no name.
        OSError: It cannot be written.
    """
    with new_folder(folder) as part:
        arrays: dict[str, np.ndarray] = {
            "world_from_camera": rec.world_from_camera,
            "map_intrinsics": rec.map_intrinsics,
            "points": rec.own_time_points,
            "confidence": rec.own_time_confidence,
            "intrinsics": rec.intrinsics,
            "map_from_image": rec.pixel_map.map_from_image,
        }
        evidence = _evidence(rec)
        if evidence is not None:
            arrays["evidence"] = evidence
        if rec.pictures is not None:
            arrays["pictures"] = np.stack([rec.pictures[k] for k in range(rec.frame_count)])
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        encoded_sha256 = None
        if isinstance(rec.decoder, NetworkDecoder):
            _write_encoded(rec.decoder, rec.model_name, part / ENCODED_FILE)
            encoded_sha256 = sha256_of(part / ENCODED_FILE)
        found = rec.refinement
        facts = {
            "frames": list(window.frames),
            "segment": window.segment,
            "wide": window.wide,
            "findings": None if found is None else found.to_plain(),
            "encoded_sha256": encoded_sha256,
            "bytes": {file.name: file.stat().st_size for file in sorted(part.iterdir())},
        }
        (part / WINDOW_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _write_encoded(decoder: NetworkDecoder, model_name: str, path: Path) -> None:
    """Write what a network keeps of a window.

    Raises:
        ModelError: It is of a kind that has no name.
    """
    try:
        write_encoded(decoder.placed, path)
    except TypeError as error:
        raise ModelError(
            f"what {model_name} encodes cannot be kept, as windows of a long clip are: {error}; "
            "name its kinds (docs/extending.md), or use fewer frames"
        ) from error


def read_window(folder: Path) -> FinishedWindow:
    """A window that was written.

    Raises:
        SceneError: A file is missing or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / WINDOW_FILE).read_text(encoding="utf-8"))
        window = Window(
            frames=tuple(int(frame) for frame in facts["frames"]),
            segment=int(facts["segment"]),
            wide=bool(facts["wide"]),
        )
        found = facts["findings"]
        findings = None if found is None else Findings.from_plain(found)
        encoded_sha256 = None if facts["encoded_sha256"] is None else str(facts["encoded_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(
            f"{folder / WINDOW_FILE} is missing or damaged; reconstruct the scene again"
        ) from error
    found_maps = [_opened(folder, name) for name in ("points", "confidence")]
    count = len(window.frames)
    if any(len(each) != count for each in found_maps):
        raise SceneError(
            f"{folder} holds maps of {len(found_maps[0])} frames and not of {count}; reconstruct "
            "the scene again"
        )
    return FinishedWindow(
        window=window,
        world_from_camera=np.array(_opened(folder, "world_from_camera")),
        map_intrinsics=np.array(_opened(folder, "map_intrinsics")),
        findings=findings,
        folder=folder,
        encoded_sha256=encoded_sha256,
    )


def read_whole_window(folder: Path) -> FinishedWindow:
    """A window that is to be worked on further: all that was written is still there.

    Raises:
        SceneError: A file is missing or damaged.
    """
    window = read_window(folder)
    told: Any = json.loads((folder / WINDOW_FILE).read_text(encoding="utf-8")).get("bytes")
    if not isinstance(told, dict):
        raise SceneError(f"{folder} is of another version; reconstruct the scene again")
    for name, size in told.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise SceneError(f"{path} is missing or damaged; reconstruct the scene again")
    return window


def _evidence(rec: Reconstruction) -> UInt8[np.ndarray, "frame height width"] | None:
    """What refinement found of every pixel of the maps; None where nothing was asked."""
    if not isinstance(rec.decoder, NetworkDecoder):
        return None
    placed: PlacedEncoding = rec.decoder.placed
    if placed.correction is None:
        return None
    coarse = placed.correction.evidence.cpu().numpy()
    rows, columns = (
        nearest_places(count, side)
        for count, side in zip(rec.map_hw, coarse.shape[1:], strict=True)
    )
    found: UInt8[np.ndarray, "frame height width"] = coarse[:, rows[:, None], columns[None]]
    return found


def _opened(folder: Path, name: str) -> Any:
    """An array of a window, memory-mapped."""
    path = folder / f"{name}.npy"
    try:
        return np.lib.format.open_memmap(path, mode="r")
    # Damaged headers are refused by errors of many kinds, of Python's parser too.
    except Exception as error:
        raise SceneError(f"{path} is missing or damaged; reconstruct the scene again") from error
