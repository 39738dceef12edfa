"""Choosing which frames of a source are used."""

import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from dynapoint.errors import ConfigError, InputError

DEFAULT_FRAMES = 24

# Two times closer than this are one: containers round to milliseconds at worst.
_ROUNDING_S = 1e-6

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class FrameSelection:
    """Which frames of a source are used.

        dynapoint.reconstruct("walk.mp4", frames=dynapoint.FrameSelection(fps=5, end_s=4))

    First, frames before `start_s` and after `end_s` are dropped. Then `fps` keeps the frame nearest
    to every 1 / fps seconds, by the frames' own times and each at most once; `stride` keeps every
    `stride`-th frame. Both begin with the first frame and stop after `max_frames`. Without the two,
    `max_frames` evenly spaced frames are kept, the first and the last included.

    Attributes:
        max_frames: Upper limit; None is 24 evenly spaced frames, or no limit with `fps` or
            `stride`.
        fps: Frames kept per second.
        stride: Keep every `stride`-th frame.
        start_s: First time kept, in seconds since the first frame of the source.
        end_s: Last time kept, in the same seconds.

    Raises:
        ConfigError: A value is out of range, or two of them contradict each other.
    """

    max_frames: int | None = None
    fps: float | None = None
    stride: int | None = None
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("frames", self.max_frames), ("stride", self.stride)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; give 1 or more")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ConfigError(f"fps is {self.fps:g}; give a positive number of frames per second")
        for name, seconds in (("start", self.start_s), ("end", self.end_s)):
            if seconds is not None and not 0 <= seconds < math.inf:
                raise ConfigError(f"{name} is {seconds:g} s; give 0 or more seconds")
        if self.fps is not None and self.stride is not None:
            raise ConfigError(
                f"fps ({self.fps:g}) and stride ({self.stride}) both say how far apart frames are; "
                "give one of them"
            )
        if self.start_s is not None and self.end_s is not None and self.start_s > self.end_s:
            raise ConfigError(
                f"start ({self.start_s:g} s) is after end ({self.end_s:g} s); give an earlier one"
            )

    @classmethod
    def every(cls, *, start_s: float | None = None, end_s: float | None = None) -> "FrameSelection":
        """All frames, or all from one time to another."""
        return cls(stride=1, start_s=start_s, end_s=end_s)

    @property
    def evenly(self) -> bool:
        """Whether frames are spaced evenly, which takes to know how many there are."""
        return self.fps is None and self.stride is None

    @property
    def needs_times(self) -> bool:
        """Whether the selection needs a source with times: a video."""
        return any(value is not None for value in (self.fps, self.start_s, self.end_s))

    def choose(self, times_s: Float64[np.ndarray, " available"]) -> Int64[np.ndarray, " chosen"]:
        """The indices of the frames used, strictly increasing.

        Args:
            times_s: Seconds since the first frame of the source, increasing.

        Raises:
            InputError: No frame lies between `start_s` and `end_s`.
        """
        inside = np.arange(len(times_s))
        if self.start_s is not None:
            inside = inside[times_s[inside] >= self.start_s - _ROUNDING_S]
        if self.end_s is not None:
            inside = inside[times_s[inside] <= self.end_s + _ROUNDING_S]
        if len(times_s) and not len(inside):
            raise self._nothing_inside(float(times_s[-1]))
        if self.fps is not None:
            inside = inside[_nearest_to_beats(times_s[inside], 1 / self.fps)]
        elif self.stride is not None:
            inside = inside[:: self.stride]
        else:
            return inside[evenly_spaced(len(inside), self.max_frames or DEFAULT_FRAMES)]
        return inside[: self.max_frames]

    def choose_as_they_come(
        self, frames: Iterable[tuple[float, _Item]]
    ) -> Iterator[tuple[float, _Item]]:
        """The same frames that `choose` gives, while it is not known yet which ones will come.

        One frame is held back at most, and no more are asked for than are needed.

        Args:
            frames: Each with its time in seconds since the first frame of the source, increasing.

        Raises:
            ConfigError: Frames are to be spaced evenly.
            InputError: No frame lies between `start_s` and `end_s`.
        """
        self.refuse_evenly()
        most = math.inf if self.max_frames is None else self.max_frames
        chosen = 0
        for frame in self._on_beat(self._inside(frames)):
            yield frame
            chosen += 1
            if chosen >= most:
                return

    def refuse_evenly(self) -> None:
        """Refuse evenly spaced frames, for a source whose length is not known.

        Raises:
            ConfigError: Such are asked for.
        """
        if self.evenly:
            raise ConfigError(
                "evenly spaced frames need a source whose length is known; give --frames all, "
                "--stride or --fps (frames='all' or a FrameSelection)"
            )

    def _inside(self, frames: Iterable[tuple[float, _Item]]) -> Iterator[tuple[float, _Item]]:
        """Frames between `start_s` and `end_s`; none is asked for behind the end."""
        start_s = -math.inf if self.start_s is None else self.start_s - _ROUNDING_S
        end_s = math.inf if self.end_s is None else self.end_s + _ROUNDING_S
        last_s, found = None, False
        for time_s, item in frames:
            last_s = time_s
            if time_s > end_s:
                break
            if time_s >= start_s:
                found = True
                yield time_s, item
        if last_s is not None and not found:
            behind = last_s > end_s
            raise self._nothing_inside(last_s, "the next one" if behind else "the last one")

    def _on_beat(self, frames: Iterable[tuple[float, _Item]]) -> Iterator[tuple[float, _Item]]:
        """Of frames all inside, those that `fps` or `stride` keeps."""
        if self.fps is None:
            stride = self.stride or 1
            yield from (frame for number, frame in enumerate(frames) if number % stride == 0)
            return
        period_s, first_s, beat = 1 / self.fps, None, -1.0
        held: tuple[float, _Item] | None = None
        for frame in frames:
            if held is None or first_s is None:
                first_s, held = frame[0], frame
                continue
            # As `_nearest_to_beats`: which frame is nearest changes midway between two.
            midway_s = ((frame[0] - first_s) + (held[0] - first_s)) / 2
            last_beat = float(np.floor(midway_s / period_s + 1e-9))
            if last_beat > beat:
                yield held
            beat, held = last_beat, frame
        if held is not None and first_s is not None:
            end_s = held[0] - first_s + _ROUNDING_S
            if float(np.floor(end_s / period_s + 1e-9)) > beat:
                yield held

    def _nothing_inside(self, last_s: float, which: str = "the last one") -> InputError:
        """What to say where no frame lies in the span."""
        return InputError(
            f"no frame lies from {self.start_s or 0:g} s to "
            f"{'the end' if self.end_s is None else f'{self.end_s:g} s'}: {which} is at "
            f"{last_s:.2f} s; give another --start or --end"
        )

    def choose_without_times(self, count: int) -> Int64[np.ndarray, " chosen"]:
        """The indices of the frames used of a source without times, such as images.

        Raises:
            ConfigError: The selection is in seconds.
        """
        self.refuse_seconds()
        return self.choose(np.arange(count, dtype=np.float64))

    def refuse_seconds(self) -> None:
        """Refuse a selection in seconds, for a source without times.

        Raises:
            ConfigError: It is one.
        """
        if self.needs_times:
            raise ConfigError(
                "--fps, --start and --end need a video: images and arrays carry no times; choose "
                "them by --frames and --stride"
            )

    def note(self, used: int, available: int | None) -> str | None:
        """A line for people that says which frames are used; None if all are.

        Args:
            used: How many.
            available: How many there are; None where nobody looked for more.
        """
        if used == available:
            return None
        of_all = "" if available is None else f" of {available}"
        words = [f"{used}{of_all} frames used"]
        if self.fps is not None:
            words.append(f"{self.fps:g} a second")
        elif self.stride is not None:
            words += [f"one in {self.stride}"] if self.stride > 1 else []
        elif used == (self.max_frames or DEFAULT_FRAMES):
            words.append("evenly spaced")
        if self.start_s is not None:
            words.append(f"from {self.start_s:g} s")
        if self.end_s is not None:
            words.append(f"up to {self.end_s:g} s")
        if (self.fps is not None or self.stride is not None) and used == self.max_frames:
            words.append("no more were asked for")
        return ", ".join(words)


def selection_of(frames: Any) -> FrameSelection:
    """What was asked for in one word: so many evenly spaced frames, "all", or a selection.

    Raises:
        ConfigError: It is nothing of that, or out of range.
    """
    if isinstance(frames, FrameSelection):
        return frames
    if isinstance(frames, str) and frames == "all":
        return FrameSelection.every()
    try:
        count = operator.index(frames)
    except TypeError as error:
        raise ConfigError(
            f"frames is {frames!r}; give a number, 'all', or a FrameSelection"
        ) from error
    return FrameSelection(max_frames=count)


def evenly_spaced(count: int, max_frames: int) -> Int64[np.ndarray, " chosen"]:
    """Indices of at most `max_frames` evenly spaced entries of `count`, first and last included.

    Returns:
        Strictly increasing indices; all of them if `count <= max_frames`, only the first entry if
        `max_frames` is 1, none if `count` is 0.
    """
    chosen = min(count, max_frames)
    return np.round(np.linspace(0.0, max(count - 1, 0), chosen)).astype(np.int64)


def first_of_equal(values: Float64[np.ndarray, " frame"]) -> Int64[np.ndarray, " frame"]:
    """For each value the index of the first equal one; NaN equals nothing, itself neither."""
    _, first, group = np.unique(values, return_index=True, return_inverse=True, equal_nan=False)
    return first[group].astype(np.int64)


def _nearest_to_beats(
    times_s: Float64[np.ndarray, " available"], period_s: float
) -> Int64[np.ndarray, " chosen"]:
    """Indices of the times nearest to every multiple of `period_s` after the first time.

    Of two that are equally near the earlier one counts. A frame that stands for longer than a
    period is taken once.
    """
    if not len(times_s):
        return np.zeros(0, dtype=np.int64)
    since = times_s - times_s[0]
    # Which frame is nearest changes midway between two, so that every frame is asked in turn
    # which beats are its own; a rate beyond the source's then costs no more than the source.
    midway = (since[1:] + since[:-1]) / 2
    end = since[-1] + _ROUNDING_S
    last_beat = np.floor(np.append(np.minimum(midway, end), end) / period_s + 1e-9)
    first_beat = np.append(-1.0, last_beat[:-1])
    return np.flatnonzero(last_beat > first_beat)
