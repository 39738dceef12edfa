"""Opening a stored scene: what it holds is there at once, its network comes when it is needed."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from dynapoint.data.frames import Frames
from dynapoint.errors import ModelError, SceneError
from dynapoint.geometry.distortion import DistortedLens
from dynapoint.inference.checked_files import check_file
from dynapoint.models.cards import knows_still_world
from dynapoint.refinement.findings import Findings
from dynapoint.results.on_disk.manifest import ENCODED_FILE, WINDOWS_FOLDER, NetworkEntry
from dynapoint.results.on_disk.store import LEFT_OUT, StoredArrays, read_arrays
from dynapoint.results.on_disk.stored_frames import open_frames
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import FrameTracks, Reconstruction
from dynapoint.results.scene_points import WindowedPoints
from dynapoint.whole_file import hand_on, sha256_of

if TYPE_CHECKING:
    from dynapoint.inference.long.long_decoder import LongDecoder
    from dynapoint.inference.predict import NetworkDecoder
    from dynapoint.models.protocol import PointMapDecoder, PointMapModel


def open_scene(
    scene: Path | str,
    *,
    weights: Path | str | None = None,
    device: str | None = None,
    progress: bool = False,
) -> Reconstruction:
    """Open a saved scene as the reconstruction that was saved.

    Arrays are memory-mapped and read-only; images are read on first use. The first question that
    the arrays do not answer loads the network, which then answers as the fresh reconstruction did.
    For scenes of a network of a still world nothing is loaded: what it kept answers.

    Args:
        scene: A folder that `dynapoint reconstruct` or `rec.save` wrote.
        weights: The network's file, if the scene does not hold it and its name does not find it.
        device: Where later questions are computed, e.g. "cuda"; None takes a GPU if there is one.
        progress: Show a progress bar on standard error while a frame is tracked.

    Raises:
        SceneError: It is no scene, damaged, of an unknown version, or made with other weights.
    """
    folder = Path(scene)
    stored = read_arrays(folder)
    if weights is not None:
        _check_weights(Path(weights), folder, stored)
    arrays, manifest = stored.arrays, stored.manifest
    frames = open_frames(
        folder,
        timestamps_s=arrays["timestamps_s"],
        source_frame_index=arrays["source_frame_index"],
        picture_hw=np.array(arrays["picture_hw"]),
        canvas_hw=manifest.image_hw,
        name=manifest.name,
        note=manifest.note,
        source=manifest.source,
    )
    file = None if weights is None else Path(weights)
    return Reconstruction(
        frames=frames,
        world_from_camera=arrays["world_from_camera"],
        intrinsics=arrays["intrinsics"],
        own_time_points=arrays["own_time_points"],
        own_time_confidence=arrays["own_time_confidence"],
        pixel_map=_pixel_map(stored),
        decoder=StoredDecoder(
            folder, stored, target_of_frame=frames.target_of_frame, weights=file, device=device
        ),
        model_name=manifest.model,
        weights_sha256=manifest.weights_sha256,
        progress=progress,
        settings=manifest.settings,
        refinement=_findings(manifest.refinement),
        pictures=_pictures(stored, frames),
        kept_tracks=_kept_tracks(stored),
        folder=folder,
        segments=manifest.segments,
        joining=manifest.joining,
        calibration=manifest.calibration,
    )


def _pixel_map(stored: StoredArrays) -> PixelMap:
    """Where the pixels of the frames lie in the maps, from its matrices."""
    map_from_image = np.array(stored.arrays["map_from_image"])
    return PixelMap(
        scale=map_from_image[:, [0, 1], [0, 1]],
        offset=map_from_image[:, :2, 2],
        picture_hw=np.array(stored.arrays["picture_hw"]),
        map_hw=stored.manifest.map_hw,
        lenses=_lenses(stored),
    )


def _lenses(stored: StoredArrays) -> tuple[DistortedLens, ...] | None:
    """How each frame's lens distorts; None for pinholes."""
    distortion, intrinsics = stored.manifest.distortion, stored.arrays["intrinsics"]
    if distortion is None:
        return None
    each = distortion * len(intrinsics) if len(distortion) == 1 else distortion
    return tuple(DistortedLens.of(*pair) for pair in zip(intrinsics, each, strict=True))


def _findings(entry: dict[str, Any] | None) -> Findings | None:
    """What refinement found of a scene, if it was asked for."""
    return None if entry is None else Findings.from_plain(entry)


def _kept_tracks(stored: StoredArrays) -> FrameTracks:
    """The tracks of frame 0."""
    return FrameTracks(
        points=stored.arrays["track_points"],
        visible=stored.arrays["track_visible"],
        confidence=stored.arrays["track_confidence"],
    )


class PicturesOfFrames:
    """What a lean scene does not store: its frames as their maps show them, made on first use."""

    def __init__(self, frames: Frames, pixel_map: PixelMap) -> None:
        self._frames, self._pixel_map = frames, pixel_map

    def __getitem__(self, frame: int, /) -> UInt8[np.ndarray, "tall wide"]:
        """That of one frame, grey.

        Raises:
            SceneError: A frame's file is missing or damaged.
        """
        return self._all[frame]

    @cached_property
    def _all(self) -> UInt8[np.ndarray, "frame tall wide"]:
        # What loads torch waits until something is asked.
        from dynapoint.inference.refining import pictures_to_measure  # noqa: PLC0415

        return pictures_to_measure(self._frames, self._pixel_map)


def _pictures(
    stored: StoredArrays, frames: Frames
) -> UInt8[np.ndarray, "frame tall wide"] | PicturesOfFrames | None:
    """Those in which it is measured where points are seen, if the answer was refined."""
    manifest = stored.manifest
    if manifest.lean and manifest.refinement is not None and manifest.frame_count > 1:
        return PicturesOfFrames(frames, _pixel_map(stored))
    return stored.pictures


class StoredDecoder:
    """Answers from the scene what it holds, and loads the network for the rest.

    A network of a still world is not loaded: its maps, and what moves in them, are in the scene.
    """

    def __init__(
        self,
        folder: Path,
        stored: StoredArrays,
        *,
        target_of_frame: Int64[np.ndarray, " frame"],
        weights: Path | None,
        device: str | None,
    ) -> None:
        self._folder = folder
        self._target_of_frame = target_of_frame
        self._stored = stored
        self._weights = weights
        self._device = device
        self._network: NetworkDecoder | LongDecoder | None = None

    def decode(
        self, frames: Sequence[int], time: int, *, keep: bool = True
    ) -> list[
        tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]
    ]:
        """As `NetworkDecoder.decode`; frame 0 alone, and frames at their own time, are stored.

        Raises:
            ModelError: Memory does not suffice, or there is no such device.
            SceneError: The scene holds no network, or its network cannot be loaded.
        """
        # What is asked for together is decoded together, so that answers are those of the network
        # to the last bit.
        if all(frame == 0 or self._at_home(frame, time) for frame in frames):
            return [self._held(frame, time) for frame in frames]
        return self._asked().decode(frames, time, keep=keep)

    def span(self, frame: int) -> range:
        """As `WindowedPoints.span`; all times of a clip that a network saw at once.

        Raises:
            SceneError: A window's files are damaged.
        """
        if not self._stored.manifest.windows or self._stored.manifest.network is None:
            return range(len(self._target_of_frame))
        decoder = self._asked()
        return (
            decoder.span(frame) if isinstance(decoder, WindowedPoints) else range(frame, frame + 1)
        )

    def store(self, folder: Path) -> NetworkEntry | None:
        """Copy the network's files into another scene; None where there are none.

        Raises:
            OSError: They cannot be copied.
        """
        entry = self._stored.manifest.network
        if entry is None:
            return None
        names = [name for name in self._stored.manifest.files if _is_of_network(name, entry)]
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            hand_on(self._folder / name, folder / name)
        return entry

    def further_questions(self) -> tuple[bool, str]:
        """Whether more than the scene holds can be answered on this machine, and why."""
        entry = self._stored.manifest.network
        if entry is None:
            return False, f"no: {_why_without(self._stored)}"
        if knows_still_world(entry.name):
            return True, "yes: its network knows a still world, and what it said is in the scene"
        if self._weights is not None or entry.weights_file is not None:
            return True, f"yes: {self._weights or 'the network is in the scene'}"
        from dynapoint.models.weight_files import require_weights  # noqa: PLC0415 - rarely needed.

        try:
            return True, f"yes: with the weights at {require_weights(entry.name)}"
        except ModelError as error:
            return False, f"no: {error}"

    def _at_home(self, frame: int, time: int) -> bool:
        """Whether a frame is asked for at its own time, which others may share."""
        return int(self._target_of_frame[frame]) == int(self._target_of_frame[time])

    def _held(
        self, frame: int, time: int
    ) -> tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]:
        arrays = self._stored.arrays
        if self._at_home(frame, time):
            return arrays["own_time_points"][frame], arrays["own_time_confidence"][frame]
        return arrays["track_points"][time], arrays["track_confidence"][time]

    def _asked(self) -> "NetworkDecoder | LongDecoder":
        """What answers further questions, loaded on first use."""
        if self._network is None:
            self._network = self._load()
        return self._network

    def _load(self) -> "NetworkDecoder | LongDecoder":
        """The network and what it kept of the clip, both checked."""
        entry = self._stored.manifest.network
        if entry is None:
            raise SceneError(_without_network(self._folder, self._stored))
        if entry.encoded_sha256 is None:
            from dynapoint.inference.long.long_decoder import long_decoder_of  # noqa: PLC0415

            return long_decoder_of(
                self._stored,
                self._folder,
                self._target_of_frame,
                lambda: self._model(entry.name),
            )
        check_file(self._folder / ENCODED_FILE, entry.encoded_sha256)
        model = self._model(entry.name)
        # Loading torch takes longer than all that the scene answers itself.
        from dynapoint.inference.predict import NetworkDecoder, device_of  # noqa: PLC0415
        from dynapoint.models.kept.encoded_files import read_encoded  # noqa: PLC0415

        return NetworkDecoder(
            model,
            read_encoded(self._folder / ENCODED_FILE, device_of(model)),
            self._stored.arrays["own_time_points"],
            self._stored.arrays["own_time_confidence"],
        )

    def _model(self, name: str) -> "PointMapDecoder":
        """The network, or what answers in its place."""
        if knows_still_world(name):
            from dynapoint.models.kept.own_time import OwnTimeDecoder  # noqa: PLC0415

            return OwnTimeDecoder()
        return load_stored_network(
            self._folder, self._stored, weights=self._weights, device=self._device
        )


def load_stored_network(
    folder: Path, stored: StoredArrays, *, weights: Path | None, device: str | None
) -> "PointMapModel":
    """The network that made a scene.

    Raises:
        SceneError: Its weights are damaged, others, or nowhere.
        ModelError: There is no such device.
    """
    entry = stored.manifest.network
    if entry is None:
        raise SceneError(_without_network(folder, stored))
    if weights is None and entry.weights_file is not None:
        weights = folder / entry.weights_file
        check_file(weights, entry.weights_sha256)
    from dynapoint.models.catalog import load_model  # noqa: PLC0415
    from dynapoint.models.protocol import info_of  # noqa: PLC0415
    from dynapoint.models.weight_files import require_weights  # noqa: PLC0415

    try:
        weights = require_weights(entry.name, weights)
    except ModelError as error:
        raise SceneError(
            f"{folder} was made by {stored.manifest.model} and does not hold its weights, which "
            f"further questions need: {error} (weights=FILE)"
        ) from error
    model = load_model(
        entry.name,
        weights=weights,
        device=device,
        decoder_weights=entry.decoder_weights,  # type: ignore[arg-type]
        precision=entry.precision,  # type: ignore[arg-type]
    )
    found = info_of(model).weights_sha256
    if found != entry.weights_sha256:
        raise SceneError(_other_weights(weights, folder, entry, found))
    return model


def _check_weights(weights: Path, folder: Path, stored: StoredArrays) -> None:
    """Refuse weights that are not there or not those which made a scene."""
    entry = stored.manifest.network
    if entry is None:
        raise SceneError(f"weights are of no use: {_without_network(folder, stored)}")
    if not weights.is_file():
        raise SceneError(f"no weights file at {weights}; give the one that made {folder}")
    found = sha256_of(weights)
    if found != entry.weights_sha256:
        raise SceneError(_other_weights(weights, folder, entry, found))


def _is_of_network(name: str, entry: NetworkEntry) -> bool:
    """Whether a file of a scene belongs to its network and what that keeps of the clip."""
    return name in (ENCODED_FILE, entry.weights_file) or name.startswith(f"{WINDOWS_FOLDER}/")


def _without_network(folder: Path, stored: StoredArrays) -> str:
    return (
        f"{folder} holds no network, as {_why_without(stored)}, so that only frames at their own "
        "time and frame 0 at all times can be asked for; reconstruct it without --lean, with a "
        "model that `dynapoint models` lists"
    )


def _why_without(stored: StoredArrays) -> str:
    """Why a scene holds no network."""
    if stored.manifest.settings.get("network") == LEFT_OUT:
        return "it was left out (--lean)"
    return f"its model {stored.manifest.model!r} was not loaded from a file by name"


def _other_weights(weights: Path, folder: Path, entry: NetworkEntry, found: str | None) -> str:
    return (
        f"{weights} has SHA-256 {str(found)[:12]}... but {folder} was made with weights of "
        f"{entry.weights_sha256[:12]}...; give those with --weights (weights=FILE), or reconstruct "
        "the scene again"
    )
