"""From a stream of any length to one reconstruction, and what comes of it on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynapoint.data.frame_stream import FrameStream
from dynapoint.errors import InputError
from dynapoint.inference.long.deciding import LongSource
from dynapoint.inference.long.joining import Joiner, place
from dynapoint.inference.long.parts import Part, parts_of
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.run import LongRun
from dynapoint.inference.long.scene_of_windows import FinishedClip, scene_of
from dynapoint.inference.long.shared_lens import find_focal
from dynapoint.inference.long.window_files import FinishedWindow
from dynapoint.inference.long.work_folder import WorkFolder
from dynapoint.inference.scale import ScaleSource, ScaleValue, find_scale
from dynapoint.progress import begin
from dynapoint.refinement.solution import STILL_CAMERA, TURNING_CAMERA
from dynapoint.results.on_disk.stored_frames import StoredFrames, open_frames
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.subscene import worlds
from dynapoint.windows.closures import Closure, find_closures
from dynapoint.windows.contradictions import log_unit_of, overruled_windows
from dynapoint.windows.places import owner_of
from dynapoint.windows.spans import Window, WindowSizes
from dynapoint.windows.wide import wide_windows


class LongClip:
    """A clip of any length that is reconstructed while its frames come.

    First `parts`, to the end, then `finished`.
    """

    def __init__(
        self,
        source: LongSource,
        predictor: WindowPredictor,
        sizes: WindowSizes,
        work: WorkFolder,
    ) -> None:
        """Hold what it is made with; nothing is read yet.

        Args:
            source: Its frames.
            predictor: The network and how it is asked.
            sizes: How many frames a window has, and how many the next one sees again.
            work: Where everything is kept meanwhile; the result's arrays lie there.
        """
        self._source = source
        self._predictor = predictor
        self._sizes = sizes
        self._work = work
        self._joiner = Joiner()
        self._run: LongRun | None = None
        self._frames: StoredFrames | None = None

    def parts(self) -> Iterator[Part]:
        """What each window says, as soon as it is there.

        Raises:
            ConfigError, InputError, ModelError: As `pipeline.reconstruct_frames`.
            OSError: Nothing can be written.
        """
        focal_px = _focal(self._source, self._predictor, self._sizes, self._work)
        with self._source.open() as stream:
            run = self._run = LongRun(self._predictor, self._work, self._sizes, focal_px=focal_px)
            yield from parts_of(run.windows(stream), self._joiner)
            if not self._joiner.windows:
                raise InputError(
                    f"all {run.seen.count} frames of {stream.name} are black; give a source that "
                    "shows something"
                )
            self._frames = _frames(run, stream, self._work)

    def finished(
        self, *, scale_from: tuple[ScaleSource, ScaleValue] | None = None
    ) -> Reconstruction:
        """The whole clip, once all of its parts have come.

        Args:
            scale_from: Makes lengths metres; "metric" of all segments, others of the first one.

        Raises:
            ConfigError, InputError, ModelError: As `pipeline.reconstruct_frames`.
            OSError: Nothing can be written.
        """
        run, frames = self._run, self._frames
        assert run is not None and frames is not None  # `parts` has ended.
        joiner = _with_wide(run, self._joiner, frames, self._sizes)
        begin("loops")
        joiner.closures = _closures(run, joiner, frames)
        placements, joining = place(joiner, run.segments, frames.count, self._sizes)
        clip = FinishedClip(
            frames=frames,
            windows=joiner.windows,
            segments=run.segments,
            joining=joining,
            predictor=self._predictor,
            work=self._work,
        )
        rec = scene_of(clip, placements)
        if scale_from is None:
            return rec
        found = find_scale(rec, *scale_from)
        scales = np.array(found.of_worlds)
        in_metres = placements.scaled(
            scales[[each.window.segment for each in joiner.windows]],
            np.repeat(scales, [part.count for part in worlds(rec)]),
        )
        return replace(scene_of(clip, in_metres), settings={**rec.settings, **found.settings})


def _focal(
    source: LongSource, predictor: WindowPredictor, sizes: WindowSizes, work: WorkFolder
) -> float | None:
    """The focal length of the whole clip, where it is to be found and can be beforehand."""
    if not predictor.finds_lens:
        return None
    count = source.frame_count
    if count is None or count <= sizes.window:
        return None
    known = work.focal_px()
    if known is None:
        known = find_focal(source.open, count, predictor, sizes.window)
        work.keep_focal(known)
    return known


def _with_wide(run: LongRun, joiner: Joiner, frames: StoredFrames, sizes: WindowSizes) -> Joiner:
    """All windows registered, wide ones too, by which some ordinary ones are predicted again."""
    begin("wide windows")
    plain = joiner.windows
    spans = wide_windows(run.segments, [each.window for each in plain], sizes)
    wanted = [window for window in spans if _goes_anywhere(window, plain)]
    wide = run.predict_stored(wanted, frames)
    sound = [each for each in wide if each.findings is not None and each.findings.poses]
    overruled = overruled_windows(
        plain, sound, lambda index, by: log_unit_of(plain[index].maps, sound[by].maps)
    )
    if overruled:
        begin("windows again")
        run.predict_again(overruled, frames)
        again = {each.window for each in overruled}
        plain = [run.window(k) if k in again else each for k, each in enumerate(plain)]
        joiner = Joiner()
        for window in plain:
            joiner.add(window)
    for window in wide:
        joiner.add_extra(window)
    return joiner


def _goes_anywhere(wide: Window, plain: Sequence[FinishedWindow]) -> bool:
    """Whether any ordinary window that a wide one spans found more than a camera that turns.

    Where all found none, a wide one can but find a small way that is not there.
    """
    spanned = [each for each in plain if set(each.frames) & set(wide.frames)]
    return any(
        each.findings is None or each.findings.start not in (TURNING_CAMERA, STILL_CAMERA)
        for each in spanned
    )


def _closures(run: LongRun, joiner: Joiner, frames: StoredFrames) -> tuple[Closure, ...]:
    """Loops of the clip, in the pictures that the windows keep, or else in the frames."""
    plain = [each for each in joiner.windows if not each.window.wide]
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
