"""Predicting a clip window by window, as its frames come."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from dynapoint.data.between import Between, load_between
from dynapoint.data.frame_stream import FrameStream, StreamedFrame, between_of, frames_of
from dynapoint.data.frames import Frames
from dynapoint.errors import InputError
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.window_files import FinishedWindow, read_window, window_folder
from dynapoint.inference.long.work_folder import WorkFolder
from dynapoint.inference.long.workers import Job, Pool, pool_of
from dynapoint.progress import begin, part, steps
from dynapoint.refinement.setting import grey
from dynapoint.results.on_disk.stored_frames import frame_file, write_frame
from dynapoint.windows.contradictions import Overruled
from dynapoint.windows.places import Places
from dynapoint.windows.plan import StreamPlanner
from dynapoint.windows.spans import Segment, Window, WindowSizes

# Every so many frames one is remembered by how it looks.
_REMEMBERED = 4


@dataclass(kw_only=True, eq=False)
class SeenFrames:
    """What is kept of every frame of a clip beside its picture on disk.

    Attributes:
        timestamps_s: As `Frames.timestamps_s`.
        source_index: As `Frames.source_frame_index`.
        file_names: As `Frames.file_names`.
        masked: Whether pixels were masked out.
    """

    timestamps_s: list[float] = field(default_factory=list)
    source_index: list[int] = field(default_factory=list)
    file_names: list[str] = field(default_factory=list)
    masked: bool = False

    @property
    def count(self) -> int:
        """How many frames came so far."""
        return len(self.timestamps_s)

    def add(self, frame: StreamedFrame) -> None:
        """Note the next frame."""
        self.timestamps_s.append(frame.timestamp_s)
        self.source_index.append(frame.source_index)
        if frame.file_name is not None:
            self.file_names.append(frame.file_name)
        self.masked |= frame.ignore is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiting:
    """A window that is being predicted; one that was before has no future."""

    index: int
    window: Window
    future: Future[None] | None


class LongRun:
    """Predicts the windows of a clip and keeps what they say on disk.

    Memory holds the frames of one window and a few more. What an earlier process finished in the
    same folder is taken as it is.

    Attributes:
        seen: What is known of the frames that came so far.
        planner: Plans segments and windows.
        places: Remembers how frames look, to know places again.
    """

    def __init__(
        self,
        predictor: WindowPredictor,
        work: WorkFolder,
        sizes: WindowSizes,
        *,
        focal_px: float | None = None,
    ) -> None:
        """Hold what every window is predicted with.

        Args:
            predictor: The network.
            work: Where windows and frames are written.
            sizes: How many frames a window has.
            focal_px: The focal length of all frames, where it was found before; else that of the
                first window is kept for all.
        """
        self.seen = SeenFrames()
        self.planner = StreamPlanner(sizes)
        self.places = Places()
        self._predictor = predictor
        self._work = work
        self._sizes = sizes
        self._focal_px = focal_px
        self._held: deque[tuple[int, StreamedFrame]] = deque()
        self._windows = 0
        self._frame_count: int | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments, once the stream has ended."""
        return self.planner.finder.segments

    def windows(self, stream: FrameStream) -> Iterator[FinishedWindow]:
        """Predict each window as soon as its frames are there; they come in order.

        Where several are predicted beside each other, one comes a window later than its frames.

        Raises:
            ConfigError, InputError, ModelError: As `pipeline.reconstruct_frames`.
            OSError: Nothing can be written.
        """
        begin("windows")
        self._frame_count = stream.frame_count
        with pool_of(self._predictor) as pool:
            waiting: deque[_Waiting] = deque()
            for window in self._planned(stream):
                waiting.append(self._submitted(pool, window, stream))
                # Without a lens all others wait for the first one's.
                while len(waiting) >= pool.beside or self._lacks_lens:
                    yield self._finished(waiting.popleft())
            while waiting:
                yield self._finished(waiting.popleft())
        self._held.clear()
        if not self.seen.count:
            raise InputError(f"{stream.name} has no frame; give a source with frames")

    def predict_stored(self, windows: Sequence[Window], frames: Frames) -> list[FinishedWindow]:
        """Predict windows of frames that came before, from their pictures on disk.

        Args:
            windows: Windows of any frames.
            frames: All frames of the clip, read when they are wanted.
        """
        found: list[FinishedWindow] = []
        with pool_of(self._predictor) as pool:
            waiting: deque[_Waiting] = deque()
            for window in steps(windows, "window"):
                waiting.append(self._begun(pool, window, partial(_of_disk, frames, window)))
                if len(waiting) > pool.beside:
                    found.append(self._read(waiting.popleft()))
            found += [self._read(each) for each in waiting]
        return found

    def predict_again(self, overruled: Sequence[Overruled], frames: Frames) -> None:
        """Predict windows again whose cameras are others; they take the place of what was written.

        First answers are kept beside them: a process that goes on from here has to decide the same.

        Where the pictures do not bear these cameras out, all stays as it is.

        Args:
            overruled: Which windows, and their cameras.
            frames: All frames of the clip.
        """
        with pool_of(self._predictor) as pool:
            waiting: deque[Future[None]] = deque()
            for each in steps(overruled, "window"):
                self._work.keep_first(each.window)
                if self._work.predicted_again(each.window):
                    continue
                window = self.window(each.window).window
                chosen, _ = _of_disk(frames, window)
                job = Job(
                    frames=chosen,
                    between=load_between(None, chosen),
                    focal_px=self._focal_px,
                    window=window,
                    folder=self._work.path / window_folder(each.window),
                    poses=each.world_from_camera,
                )
                waiting.append(pool.submit(job))
                # What waits holds its frames.
                if len(waiting) > pool.beside:
                    waiting.popleft().result()
            for future in waiting:
                future.result()

    def window(self, index: int) -> FinishedWindow:
        """A window by what was written last.

        Raises:
            SceneError: A file is missing or damaged.
        """
        return read_window(self._work.path / window_folder(index))

    @property
    def _lacks_lens(self) -> bool:
        return self._focal_px is None and self._predictor.finds_lens

    def _planned(self, stream: FrameStream) -> Iterator[Window]:
        """Windows whose frames are all there."""
        for number, frame in enumerate(stream.frames()):
            self._keep(number, frame)
            self._held.append((number, frame))
            yield from self.planner.look(frame.image, frame.timestamp_s)
            # Only now: a look may tell of several windows.
            self._let_go()
        yield from self.planner.finish()

    def _submitted(self, pool: Pool, window: Window, stream: FrameStream) -> "_Waiting":
        """A window that is being predicted from the frames held."""
        wanted = set(window.frames)

        def given() -> tuple[Frames, Between | None]:
            held = [frame for number, frame in self._held if number in wanted]
            return frames_of(held, stream), between_of(held) if self._predictor.refine else None

        return self._begun(pool, window, given)

    def _begun(
        self, pool: Pool, window: Window, given: Callable[[], tuple[Frames, Between | None]]
    ) -> "_Waiting":
        """A window that is being predicted, unless it was before."""
        index = self._windows
        self._windows += 1
        if self._done(index, window):
            return _Waiting(index=index, window=window, future=None)
        frames, between = given()
        job = Job(
            frames=frames,
            between=between,
            focal_px=self._focal_px,
            window=window,
            folder=self._work.path / window_folder(index),
        )
        with self._shown(index):
            return _Waiting(index=index, window=window, future=pool.submit(job))

    def _finished(self, waiting: "_Waiting") -> FinishedWindow:
        """A window, once it is written."""
        with self._shown(waiting.index):
            found = self._read(waiting)
        if self._lacks_lens:
            self._focal_px = found.focal_px
        return found

    def _read(self, waiting: "_Waiting") -> FinishedWindow:
        """A window as it was written, so that a resumed run goes on from the same bytes."""
        if waiting.future is None:
            done = self._work.finished(waiting.index)
            if done is not None:
                return done
        else:
            waiting.future.result()
        return self.window(waiting.index)

    def _shown(self, index: int) -> Any:
        """A block in which a window is shown as what goes on."""
        total = ""
        if self._frame_count is not None:
            step = self._sizes.window - self._sizes.overlap
            count = max(1, -(-(self._frame_count - self._sizes.overlap) // step))
            if index >= count:
                # A wide window: these are counted elsewhere.
                return nullcontext()
            total = f" of {count}"
        return part(f"window {index + 1}{total}")

    def _done(self, index: int, window: Window) -> bool:
        """Whether an earlier process finished a window."""
        done = self._work.finished(index)
        return done is not None and done.window == window

    def _keep(self, number: int, frame: StreamedFrame) -> None:
        """Write a frame's picture, unless it lies in a window that was finished before."""
        self.seen.add(frame)
        if number % _REMEMBERED == 0:
            self.places.look(number, grey(frame.image[None])[0])
        there = number < self._work.frames_written
        if not (there and (self._work.path / frame_file(number)).is_file()):
            write_frame(frame.image, self._work.path, number, ignore=frame.ignore)

    def _let_go(self) -> None:
        """Drop frames that no window can need any more."""
        known = self.planner.finder.open
        settled = known.stop if known is not None else 0
        while self._held and self._held[0][0] < settled - 1 - self._sizes.window:
            self._held.popleft()


def _of_disk(frames: Frames, window: Window) -> tuple[Frames, None]:
    """Frames of a window, from the pictures on disk, with nothing between them."""
    index = np.array(window.frames)
    ignore = None if frames.ignore is None else frames.ignore[index]
    chosen = Frames(
        images=np.stack([frames.picture(each) for each in window.frames]),
        timestamps_s=frames.timestamps_s[index],
        source_frame_index=frames.source_frame_index[index],
        name=frames.name,
        source_count=frames.source_count,
        from_video=frames.from_video,
        ignore=ignore,
    )
    return chosen, None
