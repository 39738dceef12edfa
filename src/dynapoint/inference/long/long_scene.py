"""From a stream of any length to one reconstruction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynapoint.data.frame_stream import FrameStream
from dynapoint.inference.long.assembling import assemble
from dynapoint.inference.long.deciding import LongSource
from dynapoint.inference.long.joining import Joiner, place
from dynapoint.inference.long.long_decoder import LongDecoder
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.run import LongRun
from dynapoint.inference.long.shared_lens import find_focal
from dynapoint.inference.long.window_files import FinishedWindow, read_window
from dynapoint.inference.long.work_folder import WorkFolder
from dynapoint.inference.scale import ScaleSource, metres_per_unit, settings_of_scale
from dynapoint.inference.windowed_decoder import ClipMaps
from dynapoint.progress import begin
from dynapoint.results.on_disk.stored_frames import StoredFrames, open_frames
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.windows.closures import Closure, find_closures
from dynapoint.windows.contradictions import overruled_windows
from dynapoint.windows.joining import Joining
from dynapoint.windows.places import owner_of
from dynapoint.windows.placing import Placements
from dynapoint.windows.spans import Segment, WindowSizes
from dynapoint.windows.wide import wide_windows


def reconstruct_long(
    source: LongSource,
    predictor: WindowPredictor,
    sizes: WindowSizes,
    work: WorkFolder,
    *,
    lean: bool = False,
    scale_from: tuple[ScaleSource, str | Path] | None = None,
) -> Reconstruction:
    """Reconstruct a clip of any length in windows.

    Args:
        source: Its frames.
        predictor: The network and how it is asked.
        sizes: How many frames a window has, and how many the next one sees again.
        work: Where everything is kept meanwhile; the result's arrays lie there.
        lean: Leave out what answers further questions.
        scale_from: Makes lengths metres, of the first segment at least.

    Raises:
        ConfigError, InputError, ModelError: As `pipeline.reconstruct_frames`.
        OSError: Nothing can be written.
    """
    focal_px = _focal(source, predictor, sizes)
    joiner = Joiner()
    with source.open() as stream:
        run = LongRun(predictor, work, sizes, focal_px=focal_px, lean=lean)
        for window in run.windows(stream):
            joiner.add(window)
        frames = _frames(run, stream, work)
    joiner = _with_wide(run, joiner, frames, sizes)
    begin("loops")
    joiner.closures = _closures(run, joiner, frames)
    placements, joining = place(joiner, run.segments, frames.count, sizes)
    clip = _Clip(
        frames=frames,
        windows=joiner.windows,
        segments=run.segments,
        joining=joining,
        predictor=predictor,
        work=work,
    )
    rec = _assembled(clip, placements)
    if scale_from is None:
        return rec
    factor = metres_per_unit(rec, *scale_from)
    in_metres = _assembled(clip, placements.scaled(factor))
    settings = {**rec.settings, **settings_of_scale(scale_from[0], factor)}
    return replace(in_metres, settings=settings)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Clip:
    """A clip whose windows are finished and placed."""

    frames: StoredFrames
    windows: Sequence[FinishedWindow]
    segments: tuple[Segment, ...]
    joining: Joining
    predictor: WindowPredictor
    work: WorkFolder


def _assembled(clip: _Clip, placements: Placements) -> Reconstruction:
    """The scene of placed windows, its arrays written beside them."""
    begin("assemble")
    frames, predictor, work = clip.frames, clip.predictor, clip.work
    arrays = assemble(clip.windows, placements, clip.segments, work.path)
    pixel_map = _pixel_map(clip.windows[0], frames)
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
        intrinsics=np.linalg.inv(pixel_map.map_from_image) @ placements.map_intrinsics,
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
    )


def _focal(source: LongSource, predictor: WindowPredictor, sizes: WindowSizes) -> float | None:
    """The focal length of the whole clip, where it is to be found and can be beforehand."""
    if not predictor.finds_lens:
        return None
    count = source.frame_count
    if count is None or count <= sizes.window:
        return None
    return find_focal(source.open, count, predictor, sizes.window)


def _with_wide(run: LongRun, joiner: Joiner, frames: StoredFrames, sizes: WindowSizes) -> Joiner:
    """All windows registered, wide ones too, by which some ordinary ones are predicted again."""
    begin("wide windows")
    plain = joiner.windows
    wanted = wide_windows(run.segments, [each.window for each in plain], sizes)
    wide = run.predict_stored(wanted, frames)
    sound = [each for each in wide if each.findings is not None and each.findings.poses]
    overruled = overruled_windows([each.maps for each in plain], [each.maps for each in sound])
    if overruled:
        begin("windows again")
        run.predict_again(overruled, frames)
        again = {each.window for each in overruled}
        plain = [read_window(each.folder) if k in again else each for k, each in enumerate(plain)]
        joiner = Joiner()
        for window in plain:
            joiner.add(window)
    for window in wide:
        joiner.add_extra(window)
    return joiner


def _closures(run: LongRun, joiner: Joiner, frames: StoredFrames) -> tuple[Closure, ...]:
    """Loops of the clip, in the pictures that the windows keep, or else in the frames."""
    plain = [each for each in joiner.windows if not each.window.extra]
    windows = [each.window for each in plain]

    def picture_of(frame: int) -> UInt8[np.ndarray, "height width"]:
        window = plain[owner_of(frame, windows)]
        pictures = window.pictures()
        if pictures is None:
            return np.asarray(Image.fromarray(frames.picture(frame)).convert("L"))
        return np.array(pictures[window.window.frames.index(frame)])

    return find_closures(
        run.places.candidates(windows),
        windows,
        picture_of=picture_of,
        maps_of=lambda index: plain[index].maps,
    )


def _frames(run: LongRun, stream: FrameStream, work: WorkFolder) -> StoredFrames:
    """All frames that came, from their pictures on disk."""
    seen, image_hw = run.seen, stream.image_hw
    assert image_hw is not None  # A window is finished, so that a frame has come.
    return open_frames(
        work.path,
        timestamps_s=np.array(seen.timestamps_s, dtype=np.float64),
        source_frame_index=np.array(seen.source_index, dtype=np.int64),
        picture_hw=np.tile(np.array(image_hw, dtype=np.int64), (seen.count, 1)),
        canvas_hw=image_hw,
        name=stream.name,
        note=stream.note,
        source={
            "source_count": stream.source_count,
            "file_names": seen.file_names or None,
            "from_video": stream.from_video,
            "masked": seen.masked,
            "identity": stream.identity,
        },
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
