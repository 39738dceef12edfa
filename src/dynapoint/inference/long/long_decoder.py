"""What answers for a long clip at other times: its windows, opened when they are asked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from dynapoint.errors import SceneError
from dynapoint.inference.checked_files import check_file
from dynapoint.inference.long.window_files import read_window, window_folder
from dynapoint.inference.long.work_folder import WorkFolder
from dynapoint.inference.predict import NetworkDecoder, device_of
from dynapoint.inference.storing import copy_weights
from dynapoint.inference.windowed_decoder import ClipMaps, WindowCameras, WindowedDecoder
from dynapoint.models.kept.encoded_files import read_encoded
from dynapoint.models.protocol import PointMapDecoder, info_of
from dynapoint.results.on_disk.manifest import ENCODED_FILE, WINDOWS_FOLDER, NetworkEntry
from dynapoint.results.on_disk.store import StoredArrays
from dynapoint.results.scene_points import FrameMaps, PointDecoder
from dynapoint.whole_file import hand_on
from dynapoint.windows.spans import Segment

# Of a window's files those that a finished scene keeps.
KEPT = (
    "window.json",
    "world_from_camera.npy",
    "map_intrinsics.npy",
    "points.npy",
    "confidence.npy",
    ENCODED_FILE,
)


class LongDecoder:
    """A `PointDecoder` of a clip in windows, which can be stored."""

    def __init__(
        self,
        clip: ClipMaps,
        segments: Sequence[Segment],
        folder: WorkFolder | Path,
        window_count: int,
        load: Callable[[], PointMapDecoder],
    ) -> None:
        """Read what is small of every window.

        Args:
            clip: Cameras and own-time maps of all frames.
            segments: Of the clip.
            folder: What holds the windows' folder; a passing one stays as long as this does.
            window_count: How many there are.
            load: Gives the network when it is first needed.
        """
        self._keeps = folder
        self._folder = folder.path if isinstance(folder, WorkFolder) else folder
        self._count = window_count
        self._load = load
        self._model: PointMapDecoder | None = None
        cameras = []
        for index in range(window_count):
            known = read_window(self._folder / window_folder(index))
            cameras.append(
                WindowCameras(
                    window=known.window,
                    world_from_camera=known.world_from_camera,
                    map_intrinsics=known.map_intrinsics,
                )
            )
        self._decoder = WindowedDecoder(clip, cameras, segments, self._decoder_of)

    def decode(self, frames: Sequence[int], time: int, *, keep: bool = True) -> list[FrameMaps]:
        """As `WindowedDecoder.decode`."""
        return self._decoder.decode(frames, time, keep=keep)

    def span(self, frame: int) -> range:
        """As `WindowedDecoder.span`."""
        return self._decoder.span(frame)

    def store(self, folder: Path) -> NetworkEntry | None:
        """Hand on the windows' files and a small network's weights; None where there is none.

        Raises:
            OSError: `folder` cannot be written to.
        """
        source = info_of(self._network()).source
        if source is None:
            return None
        hand_on_windows(self._folder, folder, self._count)
        there = source.weights.is_file()
        return NetworkEntry(
            name=source.name,
            weights_sha256=source.weights_sha256,
            weights_bytes=source.weights.stat().st_size if there else 0,
            weights_file=copy_weights(source, folder) if there else None,
            decoder_weights=source.decoder_weights,
            precision=source.precision,
            encoded_sha256=None,
            encoded_bytes=0,
        )

    def _network(self) -> PointMapDecoder:
        if self._model is None:
            self._model = self._load()
        return self._model

    def _decoder_of(self, index: int) -> PointDecoder:
        """That of a window: frames and times count from 0, in the window's world."""
        model = self._network()
        folder = self._folder / window_folder(index)
        finished = read_window(folder)
        path = folder / ENCODED_FILE
        if finished.encoded_sha256 is None:
            raise SceneError(f"{folder} holds nothing of the network; reconstruct the scene again")
        check_file(path, finished.encoded_sha256)
        maps = finished.maps
        return NetworkDecoder(
            model,
            read_encoded(path, device_of(model)),
            maps.points,
            maps.confidence,
        )


def hand_on_windows(source: Path, target: Path, count: int) -> None:
    """Give a scene the windows' files of another folder: second names of them, or copies.

    Raises:
        OSError: They cannot be written.
    """
    (target / WINDOWS_FOLDER).mkdir(exist_ok=True)
    for index in range(count):
        name = window_folder(index)
        (target / name).mkdir()
        for file in KEPT:
            if (source / name / file).is_file():
                hand_on(source / name / file, target / name / file)


def long_decoder_of(
    stored: StoredArrays,
    folder: Path,
    target_of_frame: Int64[np.ndarray, " frame"],
    load: Callable[[], PointMapDecoder],
) -> LongDecoder:
    """The decoder of a stored clip.

    Args:
        stored: Its arrays.
        folder: Where they are.
        target_of_frame: `Frames.target_of_frame`.
        load: Gives its network, or what answers in its place.
    """
    arrays = stored.arrays
    return LongDecoder(
        ClipMaps(
            world_from_camera=arrays["world_from_camera"],
            map_intrinsics=arrays["map_from_image"] @ arrays["intrinsics"],
            points=arrays["own_time_points"],
            confidence=arrays["own_time_confidence"],
            target_of_frame=target_of_frame,
        ),
        stored.manifest.segments,
        folder,
        stored.manifest.windows,
        load,
    )
