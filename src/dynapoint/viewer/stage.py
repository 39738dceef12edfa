"""What is on stage for a choice of time and options: arrays, of which only changes are sent."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from dynapoint.data.selection import evenly_spaced
from dynapoint.exports.clouds import play_times_s
from dynapoint.exports.options import ExportOptions
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.viewer.cache import Report, cached
from dynapoint.viewer.cameras import frustum_lines, small_picture
from dynapoint.viewer.clouds import (
    COARSE_POINTS,
    SPACING_PERCENTILE,
    FrozenClouds,
    OwnTimeClouds,
    frozen_clouds,
)
from dynapoint.viewer.motion import moving_shares, tinted
from dynapoint.viewer.space import ViewSpace, packed
from dynapoint.viewer.tracks import WHOLE, FrameTrails, Region, frame_trails

Parts = dict[str, np.ndarray]
"""Arrays by the names of what they belong to: `cloud.points`, `cloud.colors`, ..."""

# So many trails segments at most: 24 bytes each.
_SEGMENTS = 12_000
# More would hide the scene, and lines are what browsers draw most slowly.
_CAMERAS = 30
_REGION_COLOR = (255, 200, 0)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a person has chosen to see.

    Attributes:
        time: Index of the frame.
        frozen: All frames' points at that time, instead of the frame's own pixels.
        confidence_percentile: This share of points, in percent, is hidden: the least confident.
        background: Hide what is nearly black, or nearly white.
        tint: Colour what moves.
        tracks: Show tracks of `source` from `region`.
        source: The frame whose pixels are followed.
        region: Where in its picture, in shares: left, right, top, bottom.
        only_moving: Leave out the tracks of what stands still.
        trail: How many steps a trail is long.
        detail: Show all points of clouds; not while time moves.
    """

    time: int = 0
    frozen: bool = False
    confidence_percentile: float = 0.0
    background: Literal["none", "black", "white"] = "none"
    tint: bool = False
    tracks: bool = False
    source: int = 0
    region: Region = WHOLE
    only_moving: bool = True
    trail: int = 10
    detail: bool = True

    @property
    def options(self) -> ExportOptions:
        """What is hidden."""
        return ExportOptions(
            confidence_percentile=self.confidence_percentile, background=self.background
        )


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something that takes a while and is done once: its name in the `Stage`, and in words."""

    key: tuple[str, int]
    words: str


@dataclass(eq=False)
class Stage:
    """A scene as the viewer shows it.

    Steps ask only for what is at hand, so that they are quick; `missing` says what a choice lacks
    and `do` works it out.
    """

    rec: Reconstruction
    space: ViewSpace = field(init=False)
    own: OwnTimeClouds = field(init=False)
    frozen: FrozenClouds | None = None
    moving: np.ndarray | None = None
    trails: dict[int, FrameTrails] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space = ViewSpace.of(self.rec)
        self.own = OwnTimeClouds(self.rec, self.space)
        self.picture = lru_cache(maxsize=256)(lambda frame: small_picture(self.rec, frame))
        self._chosen = lru_cache(maxsize=8)(self._choose)

    def step(self, choices: Choices) -> Parts:
        """All that is on stage; the same arrays for the same choices."""
        parts = self._cloud(choices)
        parts["frustum.points"] = frustum_lines(self.rec, self.space, choices.time)
        parts["picture.image"] = self.picture(choices.time)
        if choices.tracks and choices.source in self.trails:
            parts |= self._tracks(choices)
            parts["source.image"] = framed(self.picture(choices.source), choices.region)
        return parts

    def missing(self, choices: Choices) -> list[Work]:
        """What has to be worked out before all of a choice can be shown."""
        wanted = []
        if choices.frozen and self.frozen is None:
            wanted.append(Work(key=("frozen", 0), words="Fusing all frames"))
        if choices.tint and not choices.frozen and self.moving is None:
            wanted.append(Work(key=("moving", 0), words="Looking for motion"))
        if choices.tracks and choices.source not in self.trails:
            words = f"Following frame {choices.source}"
            wanted.append(Work(key=("trails", choices.source), words=words))
        return wanted

    def do(self, work: Work, report: Report) -> None:
        """Work something out.

        Raises:
            DynapointError: The network is needed and cannot be had.
        """
        kind, frame = work.key
        if kind == "frozen":
            self.frozen = frozen_clouds(self.rec, self.space, report)
        elif kind == "moving":
            made = cached(self.rec, "moving", lambda: {"shares": moving_shares(self.rec, report)})
            self.moving = made["shares"]
        else:
            self.trails[frame] = frame_trails(self.rec, self.space, frame, report)

    def seconds(self) -> np.ndarray:
        """When each frame begins to be shown, from 0, and when the last one ends."""
        return play_times_s(self.rec, ExportOptions())

    def spacing(self, choices: Choices) -> float:
        """How far apart neighbouring points are where they are rather far apart (view)."""
        if choices.frozen and self.frozen is not None and len(self.frozen.spacing):
            spacing = float(np.percentile(self.frozen.spacing, SPACING_PERCENTILE))
            count = len(self.frozen.spacing)
        else:
            spacing, count = self.own.spacing, len(self.own.pixel)
        # Fewer points are drawn somewhat larger; to close all gaps would cost what they save.
        return spacing if choices.detail else spacing * max(1.0, count / COARSE_POINTS) ** 0.25

    def all_frusta(self) -> np.ndarray:
        """The edges of at most 30 cameras' fields of view, one after another."""
        frames = evenly_spaced(self.rec.frame_count, _CAMERAS).tolist()
        return np.concatenate([frustum_lines(self.rec, self.space, frame) for frame in frames])

    def _cloud(self, choices: Choices) -> Parts:
        time = choices.time
        if choices.frozen and self.frozen is not None:
            colors, share = self.frozen.colors, self.frozen.moving
            points = self.frozen.points(time, choices.options)
            moving = share if choices.tint else None
        else:
            points, colors = self.own.points(time, choices.options), self.own.colors(time)
            moving = None
            if choices.tint and self.moving is not None:
                moving = self.moving[time].reshape(-1)[self.own.pixel] / np.float32(255)
        shown = colors if moving is None else tinted(colors, moving)
        parts = {"cloud.points": points[:COARSE_POINTS], "cloud.colors": shown[:COARSE_POINTS]}
        if choices.detail and len(points) > COARSE_POINTS:
            parts["detail.points"] = points[COARSE_POINTS:]
            parts["detail.colors"] = shown[COARSE_POINTS:]
        return parts

    def _tracks(self, choices: Choices) -> Parts:
        trails = self.trails[choices.source]
        chosen = self._chosen(choices.source, choices.region, choices.only_moving)
        length = max(1, min(choices.trail, _SEGMENTS // max(1, len(chosen))))
        heads, usable = trails.heads(chosen, choices.time)
        return {
            "heads.points": packed(heads, usable),
            "heads.colors": trails.colors(chosen),
            "trails.points": trails.segments(chosen, choices.time, length),
            "trails.colors": trails.segment_colors(chosen, length),
        }

    def _choose(self, source: int, region: Region, only_moving: bool) -> np.ndarray:
        """The tracks shown; all of the region's where nothing in it moves."""
        trails = self.trails[source]
        chosen = trails.choose(region, only_moving=only_moving)
        return chosen if len(chosen) else trails.choose(region, only_moving=False)


def changes(before: Parts, after: Parts) -> Parts:
    """What of `after` has to be sent to one who has been sent `before`."""
    return {
        name: array
        for name, array in after.items()
        if name not in before
        or (before[name] is not array and not np.array_equal(before[name], array))
    }


def framed(picture: np.ndarray, region: Region) -> np.ndarray:
    """A picture with a region's border drawn, if that is not all of it."""
    if region == WHOLE:
        return picture
    height, width = picture.shape[:2]
    left, right = (min(width - 2, round(share * (width - 1))) for share in region[:2])
    top, bottom = (min(height - 2, round(share * (height - 1))) for share in region[2:])
    drawn = picture.copy()
    for row in (top, bottom):
        drawn[max(0, row) : row + 2, left : right + 2] = _REGION_COLOR
    for column in (left, right):
        drawn[top : bottom + 2, max(0, column) : column + 2] = _REGION_COLOR
    return drawn
