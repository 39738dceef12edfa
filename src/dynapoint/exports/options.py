"""What a user may choose about an export."""

from dataclasses import dataclass, replace
from typing import Literal

from dynapoint.errors import ConfigError, InputError
from dynapoint.exports.shown_pixels import fusion_shows_ghosts
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.time_order import order_of_times


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Choices that all writers share; each uses those that its format has a place for.

    Attributes:
        time: Index of the one time to write; None for all times.
        max_points: At most this many points in a cloud; None leaves it to the format.
        confidence_percentile: This share of a cloud's points, in percent, is left out: those of
            least confidence. Points with confidence 0 are always left out.
        hide_pixels: Leave out points whose pixel is nearly black, or nearly white.
        fps: Times per second in animations; None plays them as the source did.
        show: What html, mp4, sheet and blender show: all frames fused, or each frame's own pixels
            at its own time. "auto" fuses unless that would show ghosts (html always begins with
            own pixels, and has both).
        overwrite: Replace an earlier export.
        segment: Which world of a long clip, by the index of its segment; None for the longest that
            shows something, or that of `time`.
        max_frames: At most so many evenly spaced frames of it; None leaves it to the format
            (`results.thinning`).
    """

    time: int | None = None
    max_points: int | None = None
    confidence_percentile: float = 0.0
    hide_pixels: Literal["none", "black", "white"] = "none"
    fps: float | None = None
    show: Literal["auto", "fused", "own"] = "auto"
    overwrite: bool = False
    segment: int | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.max_points is not None and self.max_points < 1:
            raise ConfigError(f"max_points is {self.max_points}; give 1 or more")
        if self.max_frames is not None and self.max_frames < 1:
            raise ConfigError(f"max_frames is {self.max_frames}; give 1 or more")
        if not 0 <= self.confidence_percentile < 100:
            raise ConfigError(
                f"confidence_percentile is {self.confidence_percentile:g}; give a share in percent "
                "from 0 (hide nothing) to below 100"
            )
        if self.hide_pixels not in ("none", "black", "white"):
            raise ConfigError(f"hide_pixels is {self.hide_pixels!r}; give none, black or white")
        if self.show not in ("auto", "fused", "own"):
            raise ConfigError(f"show is {self.show!r}; give auto, fused or own")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ConfigError(f"fps is {self.fps:g}; give a positive number of times per second")

    def times(self, rec: Reconstruction) -> list[int]:
        """The times to write, as indices of frames, in the order of time.

        Raises:
            InputError: `time` is no index of a frame used.
        """
        if self.time is None:
            return order_of_times(rec.timestamps_s)
        if not 0 <= self.time < rec.frame_count:
            raise InputError(
                f"time is {self.time} but the {rec.frame_count} frames used are 0 to "
                f"{rec.frame_count - 1}; source_frame_index names them in the source"
            )
        return [self.time]

    def shows_own(self, rec: Reconstruction) -> bool:
        """Whether each frame's own pixels are shown and not all frames fused."""
        return self.show == "own" or (self.show == "auto" and fusion_shows_ghosts(rec))

    def with_points(self, most: int) -> "ExportOptions":
        """These options with a number of points for those that leave it to the format."""
        return self if self.max_points is not None else replace(self, max_points=most)
