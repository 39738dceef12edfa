"""What scoring gives: sums per clip, pooled exactly, and the list of metrics read from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dynapoint.evaluation.metrics import MatchCounts, PairScores, Totals

PAIR_STARTS = {2: (0, 4), 8: (0, 1)}
"""For each margin (how many frames lie between the two of a pair), where pairs start."""

TRACK_FRAMES = 10
"""Tracks and cameras are scored on the first frames of a clip, at most this many."""


@dataclass(frozen=True, kw_only=True)
class MarginScores(Totals):
    """What the pairs of one margin gave."""

    pairs: PairScores = field(default_factory=PairScores)
    matches: MatchCounts = field(default_factory=MatchCounts)


@dataclass(frozen=True, kw_only=True)
class LongScores(Totals):
    """Sums over clips of what one reconstruction from up to ten frames gave, and took."""

    clips: int = 0
    # Two runs that find the same are the same, however long they took.
    seconds: float = field(default=0.0, compare=False)
    tracked_clips: int = 0
    track_error: float = 0.0
    rotation_deg_sum: float = 0.0
    focal_percent_sum: float = 0.0

    @property
    def track_epe(self) -> float:
        """Mean over clips of the error of frame 0's tracks under one scale."""
        return self.track_error / self.tracked_clips if self.tracked_clips else float("nan")

    @property
    def rotation_deg(self) -> float:
        """Mean over clips of the median error of camera orientation, in degrees."""
        return self.rotation_deg_sum / self.clips if self.clips else float("nan")

    @property
    def focal_percent(self) -> float:
        """Mean over clips of the error of the focal length, in per cent."""
        return self.focal_percent_sum / self.clips if self.clips else float("nan")

    @property
    def seconds_each(self) -> float:
        """Mean time of a clip's reconstruction and of the tracks of frame 0."""
        return self.seconds / self.clips if self.clips else float("nan")


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """All that was measured on one clip, or pooled over several."""

    name: str
    margins: Mapping[int, MarginScores] = field(
        default_factory=lambda: {margin: MarginScores() for margin in PAIR_STARTS}
    )
    long: LongScores = field(default_factory=LongScores)

    def pooled_with(self, other: "ClipScores") -> "ClipScores":
        """The exact pool of both, under this one's name."""
        return ClipScores(
            name=self.name,
            margins={
                margin: scores + other.margins[margin] for margin, scores in self.margins.items()
            },
            long=self.long + other.long,
        )


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of one predictor: of each clip, and pooled over all."""

    pooled: ClipScores
    clips: tuple[ClipScores, ...]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number with its name, `value` NaN where there was nothing to measure.

    `unit` is in words, `direction` is "lower" or "higher" (which is better).
    """

    key: str
    title: str
    value: float
    unit: str
    direction: str
    decimals: int = 3


def list_metrics(scores: ClipScores) -> list[Metric]:
    """All metrics of one clip or pool, the single list behind the JSON file and the tables."""
    listed = [metric for margin in scores.margins for metric in _pair_metrics(scores, margin)]
    share, degrees, percent = "mean distance", "degrees", "per cent"
    return [
        *listed,
        Metric(
            key="epe_tracks",
            title="EPE 10f",
            value=scores.long.track_epe,
            unit=share,
            direction="lower",
        ),
        Metric(
            key="camera_rotation_deg",
            title="rotation deg",
            value=scores.long.rotation_deg,
            unit=degrees,
            direction="lower",
            decimals=2,
        ),
        Metric(
            key="focal_error_percent",
            title="focal %",
            value=scores.long.focal_percent,
            unit=percent,
            direction="lower",
            decimals=1,
        ),
        Metric(
            key="seconds_tracks",
            title="s 10f",
            value=scores.long.seconds_each,
            unit="seconds",
            direction="lower",
            decimals=2,
        ),
    ]


def _pair_metrics(scores: ClipScores, margin: int) -> list[Metric]:
    pairs, matches = scores.margins[margin].pairs, scores.margins[margin].matches
    rows = (
        ("own_time_epe", "own EPE", pairs.own_time_epe, "mean distance", "lower"),
        ("motion_ratio", "ratio", pairs.motion_ratio, "of the motion", "lower"),
        ("leak", "leak", pairs.leak, "mean distance", "lower"),
        ("match_recall", "recall all", matches.recall, "share", "higher"),
        ("match_recall_moving", "recall moving", matches.recall_moving, "share", "higher"),
        ("epe", f"EPE m{margin}", pairs.four_map_epe, "mean distance", "lower"),
        (
            "confidence_spearman_own_time",
            "conf own",
            pairs.own_time_spearman,
            "rank correlation",
            "higher",
        ),
        (
            "confidence_spearman_decoded",
            "conf decoded",
            pairs.decoded_spearman,
            "rank correlation",
            "higher",
        ),
    )
    return [
        Metric(key=f"{key}_m{margin}", title=title, value=value, unit=unit, direction=direction)
        for key, title, value, unit, direction in rows
    ]
