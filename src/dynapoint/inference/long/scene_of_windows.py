"""The scene of a clip whose windows are finished and placed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dynapoint.inference.known_cameras import known_cameras
from dynapoint.inference.long.assembling import assemble
from dynapoint.inference.long.long_decoder import LongDecoder
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.window_files import FinishedWindow
from dynapoint.inference.long.work_folder import WorkFolder
from dynapoint.inference.windowed_decoder import ClipMaps
from dynapoint.progress import begin
from dynapoint.results.on_disk.stored_frames import StoredFrames
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.windows.joining import Joining
from dynapoint.windows.placing import Placements
from dynapoint.windows.spans import Segment


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedClip:
    """A clip whose windows are finished.

    Attributes:
        frames: All frames, read when they are wanted.
        windows: All windows.
        segments: Worlds of their own.
        joining: How windows became one scene.
        predictor: What predicted them.
        work: Where everything lies.
    """

    frames: StoredFrames
    windows: Sequence[FinishedWindow]
    segments: tuple[Segment, ...]
    joining: Joining
    predictor: WindowPredictor
    work: WorkFolder


def scene_of(clip: FinishedClip, placements: Placements) -> Reconstruction:
    """The scene of placed windows; its arrays are written beside them.

    Raises:
        OSError: They cannot be written.
    """
    begin("assemble")
    frames, predictor, work = clip.frames, clip.predictor, clip.work
    arrays = assemble(clip.windows, placements, clip.segments, work.path)
    known = None if predictor.intrinsics is None else known_cameras(predictor.intrinsics, frames)
    pixel_map = _pixel_map(clip.windows[0], frames)
    intrinsics = np.linalg.inv(pixel_map.map_from_image) @ placements.map_intrinsics
    if known is not None:
        pixel_map = replace(pixel_map, lenses=known.lenses)
        # To the last bit those with which pictures are undistorted.
        intrinsics = known.intrinsics if known.lenses is not None else intrinsics
    maps = ClipMaps(
        world_from_camera=placements.world_from_camera,
        map_intrinsics=placements.map_intrinsics,
        points=arrays.own_time_points,
        confidence=arrays.own_time_confidence,
        target_of_frame=frames.target_of_frame,
    )
    return Reconstruction(
        frames=frames,
        world_from_camera=placements.world_from_camera,
        intrinsics=intrinsics,
        own_time_points=arrays.own_time_points,
        own_time_confidence=arrays.own_time_confidence,
        pixel_map=pixel_map,
        decoder=LongDecoder(maps, clip.segments, work, len(clip.windows), lambda: predictor.model),
        model_name=predictor.info.name,
        weights_sha256=predictor.info.weights_sha256,
        settings=predictor.settings(),
        pictures=arrays.pictures,
        segments=clip.segments if len(clip.segments) > 1 else (),
        joining=clip.joining,
        calibration=predictor.info.calibration,
    )


def _pixel_map(window: FinishedWindow, frames: StoredFrames) -> PixelMap:
    """Where the pixels of all frames lie in the maps: as those of the first window do."""
    matrix = window.map_from_image()[0]
    count = frames.count
    return PixelMap(
        scale=np.tile(matrix[[0, 1], [0, 1]], (count, 1)),
        offset=np.tile(matrix[:2, 2], (count, 1)),
        picture_hw=frames.picture_hw,
        map_hw=(window.maps.confidence.shape[1], window.maps.confidence.shape[2]),
    )
