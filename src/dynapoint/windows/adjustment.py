"""Bundle adjustment with window constraints: what the windows of a segment agree on best.

V-DPM (arXiv 2601.09499, section 4.2) aligns windows of a long video as DUSt3R and MonST3R align
pairs, and says no more. A window is a group (`alignment`): a similarity takes its own-time maps to
the world, where they must meet the frames' points, which are depth along the pixels' rays in each
frame's camera. Both show a frame at its own time, so that what moves does no harm.

Ours, as nothing is known of the paper's: frames keep their owner's depths but for a smooth factor;
of every map a coarse grid of pixels counts, weighted by the inverse of its depth and measured in
the window's own unit, so that far pixels and large windows count no more than others; errors along
rays count less than those across; distances below 2 % of the depth count about squared. Unsquared
to the end, the sum over two windows is the same wherever between them a frame lies, and nothing
would be averaged. Similarities are those of registration unless "free" is asked for.

All windows of a segment are solved for together, wide ones included, on so coarse a
grid that memory is bounded (`pixels`); or, as frames arrive, only the last ones (`free_from`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dynapoint.alignment.newton import NewtonPlan, newton
from dynapoint.alignment.objective import distances_in_groups
from dynapoint.alignment.observations import GroupObservations
from dynapoint.alignment.state import FocalFreedom, Freedom, GroupState, Terms
from dynapoint.errors import ConfigError
from dynapoint.geometry.similarity import weighted_median
from dynapoint.windows.grid_maps import GridMaps, gather
from dynapoint.windows.placing import Placements
from dynapoint.windows.spans import Window
from dynapoint.windows.window_maps import WindowMaps

# Where more than this share of depths would change by more than this, it is no adjustment.
_LARGEST_LOG_CHANGE, _MOST_TORN = 0.7, 0.05
# An objective that falls by less than this share of itself is the start's.
_LEAST_FALL = 1e-6
# Below this median distance, as a share of depth, windows agree as well as numbers are kept.
_EXACT = 1e-6
# Pixels are wrong that are so many times as far off as their frame's median, and so far.
_WRONG, _LEAST_WRONG = 5.0, 0.1
_PIXELS_AT_ONCE = 2**14


@dataclass(frozen=True, kw_only=True)
class AdjustmentConfig:
    """How windows are adjusted; every number is our own, as the paper gives none.

    Attributes:
        side: So many pixels of the longer side of each map count, and as many of the other as its
            shape asks for; fewer in long segments.
        pixels: At most so many count in all, frames that several windows hold as often.
        controls: Rows and columns of the field by which a frame's depth changes.
        similarities: Whether windows stay where registration put them. Points alone, as in the
            papers, tell their turns far worse than registration does, which knows that a frame's
            errors are common to all its pixels: "free" makes cameras worse.
        rounding: Distances below this share of the depth count about squared.
        along: What lies along a pixel's ray counts this much against what lies across it.
        focal: "fixed" if the lens is known, "shared" for one change of it, or one for each "frame".
        smoothness: Weight of MonST3R's smoothness, in the mean over frames.
        depth_cost: Weight of changes of depth.
        iterations: At most.
    """

    side: int = 20
    pixels: int = 1_000_000
    controls: tuple[int, int] = (3, 4)
    similarities: Literal["held", "free"] = "held"
    rounding: float = 0.02
    along: float = 0.3
    focal: FocalFreedom = "fixed"
    smoothness: float = 0.0
    depth_cost: float = 0.02
    iterations: int = 15

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense; raises ConfigError."""
        counts = (self.side, self.pixels, *self.controls)
        weights = (self.rounding, self.smoothness, self.depth_cost, self.iterations)
        if min(counts) < 1 or min(weights) < 0 or not 0 < self.along <= 1:
            raise ConfigError(
                f"adjustment has counts {counts}, weights {weights} and along={self.along}; they "
                "must be at least 1, at least 0, and above 0 up to 1"
            )


@dataclass(frozen=True, kw_only=True)
class SegmentReport:
    """What became of a segment.

    Attributes:
        segment: Its index.
        loss: The objective before each step, and after the last one.
        residual_before: How far windows put pixels from where their frames do, as a share of their
            depth, but for the frames' owners: the weighted median at the start.
        residual_after: The same of the answer.
        pixels: How many counted.
        kept_start: Why the start is the answer, for people; None where it is not.
    """

    segment: int
    loss: tuple[float, ...]
    residual_before: float
    residual_after: float
    pixels: int
    kept_start: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class AdjustedWindows:
    """The placements after adjustment, and for each segment of several windows a report."""

    placements: Placements
    reports: tuple[SegmentReport, ...]


def adjust_windows(
    windows: Sequence[Window],
    read: Callable[[int], WindowMaps],
    start: Placements,
    config: AdjustmentConfig | None = None,
    *,
    left_out: Collection[int] = (),
    free_from: int = 0,
    progress: bool = False,
) -> AdjustedWindows:
    """Adjust cameras, depths and windows from where registration put them.

    In each segment the camera of its first frame and the scale of that frame's owner stay, and
    segments of a single window stay as they are.

    Args:
        windows: All windows.
        read: What a window says; asked for once each, in order, and not kept.
        start: Where windows and frames are. A change of depth that it has must be of `controls`.
        config: How.
        left_out: Indices of windows that do not count, such as refused loop closures; they stay.
        free_from: Windows before this one, and frames that no later one holds, stay to the last
            bit; only those that share frames with later ones are read.
        progress: Show a bar on standard error.
    """
    config = config or AdjustmentConfig()
    used = [index for index in range(len(windows)) if index not in set(left_out)]
    placements, reports = start, list[SegmentReport]()
    for segment in sorted({windows[index].segment for index in used}):
        inside = [index for index in used if windows[index].segment == segment]
        free = [index for index in inside if index >= free_from]
        frames = sorted({frame for index in free for frame in windows[index].frames})
        frames = [frame for frame in frames if start.owner[frame] in inside]
        inside = [index for index in inside if set(windows[index].frames) & set(frames)]
        if len(inside) < 2 or not frames:
            continue
        first = min(window.start for window in windows if window.segment == segment)
        chosen = [(index, windows[index]) for index in inside]
        maps = gather(chosen, read, frames, start, side=config.side, pixels=config.pixels)
        problem = _Problem(maps, placements, config, first=first, free_from=free_from)
        placements, report = problem.solved(placements, segment, progress=progress)
        reports.append(report)
    return AdjustedWindows(placements=placements, reports=tuple(reports))


class _Problem:
    """One segment, as groups."""

    def __init__(
        self,
        maps: GridMaps,
        start: Placements,
        config: AdjustmentConfig,
        *,
        first: int,
        free_from: int,
    ) -> None:
        self._maps, self._config = maps, config
        self.given: GroupObservations = maps.observations(
            config.controls, config.rounding, config.along
        )
        self.state: GroupState = maps.state(start, changes_of(start, config.controls)[maps.frames])
        self.given = self._without_the_wrong()
        frames, groups = torch.tensor(maps.frames), torch.tensor(maps.windows)
        later = groups >= free_from
        free = later if config.similarities == "free" else torch.zeros_like(later)
        poses = frames != first
        scales = free.clone()
        if bool(later.all()):
            scales[maps.windows.index(int(start.owner[maps.frames[0]]))] = False
        self._freedom = Freedom(
            poses=poses,
            depths=torch.ones_like(poses),
            groups=free,
            scales=scales,
            focal=config.focal,
        )
        self._terms = Terms(
            smoothness=config.smoothness / max(len(frames) - 1, 1),
            depth_cost=config.depth_cost,
            pixels_at_once=_PIXELS_AT_ONCE,
        )

    def _without_the_wrong(self) -> GroupObservations:
        """Without pixels that a window puts much farther from their frame than the frame's others.

        Their unsquared distances would still pull at cameras.
        """
        share, weight = self._shares(self.state), self._maps.weight
        typical = weighted_median(share, weight)[:, None]
        wrong = share > (_WRONG * typical).clamp_min(_LEAST_WRONG)
        return replace(self.given, weight=torch.where(wrong, 0.0, self.given.weight))

    def _shares(self, state: GroupState) -> Float[Tensor, "member pixel"]:
        """How far windows put pixels from where their frames do, as shares of the depth."""
        return distances_in_groups(self.given, state) / self._maps.depth

    def solved(
        self, start: Placements, segment: int, *, progress: bool
    ) -> tuple[Placements, SegmentReport]:
        """The placements with those of this segment replaced, if these are better."""
        state, convergence = newton(
            self.given, self.state, self._freedom, self._terms,
            NewtonPlan(iterations=self._config.iterations), progress=progress,
        )  # fmt: skip
        before, after = self._residual(self.state), self._residual(state)
        reason = self._why_not(state, convergence.loss, before)
        report = SegmentReport(
            segment=segment,
            loss=convergence.loss,
            residual_before=before,
            residual_after=before if reason else after,
            pixels=int((self.given.weight > 0).sum()),
            kept_start=reason,
        )
        return (start if reason else self._placed(start, state)), report

    def _residual(self, state: GroupState) -> float:
        """The weighted median of all shares but those of the frames' owners.

        Owners agree with their frames at the start.
        """
        others = ~self._maps.is_owner
        if not bool(others.any()):
            return 0.0
        share = self._shares(state)[others]
        return float(weighted_median(share.flatten(), self._maps.weight[others].flatten()))

    def _why_not(self, state: GroupState, loss: tuple[float, ...], before: float) -> str | None:
        """Why a state is no answer; None if it is one."""
        assert state.log_change is not None and self.state.log_change is not None
        if not bool((self.given.weight > 0).any()):
            return "no pixel of any window is sure"
        if before <= _EXACT:
            return f"windows agree within {_EXACT:g} of the depth"
        if not loss[0] - loss[-1] > _LEAST_FALL * loss[0]:
            return f"the objective did not fall below {loss[0]:.3g}"
        assert self.given.coarse is not None
        change = (state.log_change - self.state.log_change) @ self.given.coarse.basis
        torn = float((~(change.abs() < _LARGEST_LOG_CHANGE)).double().mean())
        if torn > _MOST_TORN:
            return (
                f"{100 * torn:.0f} % of depths would change by a factor of "
                f"{np.exp(_LARGEST_LOG_CHANGE):.1f} or more: the windows contradict each other"
            )
        return None

    def _placed(self, start: Placements, state: GroupState) -> Placements:
        """Placements of which this segment's are the state's."""
        assert state.log_change is not None
        frames, windows = self._maps.frames, self._maps.windows
        cameras, placed = start.world_from_camera.copy(), start.world_from_window.copy()
        lens = start.map_intrinsics.copy()
        cameras[frames] = state.world_from_camera.numpy()
        zoom = state.focal.numpy()[:, None]
        lens[frames, 0, 0:2] *= zoom
        lens[frames, 1, 1:2] *= zoom
        free = self._freedom.groups.numpy()
        matrices = state.world_from_group.numpy().copy()
        matrices[:, :3, :3] *= state.scale.numpy()[:, None, None]
        placed[np.array(windows)[free]] = matrices[free]
        # The field is beside the owner's scale, which has changed too.
        scale = torch.ones(len(start.world_from_window)).double()
        scale[windows] = state.scale / self.state.scale
        grown = scale.log()[torch.from_numpy(start.owner[frames])]
        changes = changes_of(start, self._config.controls).copy()
        field = (state.log_change - grown[:, None]).numpy()
        changes[frames] = field.reshape(len(frames), *self._config.controls)
        return replace(
            start,
            world_from_camera=cameras,
            world_from_window=placed,
            map_intrinsics=lens,
            log_depth_change=changes,
        )


def changes_of(
    placements: Placements, controls: tuple[int, int]
) -> Float32[np.ndarray, "frame rows columns"]:
    """The changes of depth that placements have; 0 where they have none.

    Raises:
        ValueError: If they are on another grid.
    """
    changes = placements.log_depth_change
    if changes is None:
        return np.zeros((len(placements.owner), *controls), dtype=np.float32)
    if changes.shape[1:] != controls:
        raise ValueError(
            f"changes of depth have {changes.shape[1:]} rows and columns; adjust with "
            f"controls={changes.shape[1:]}, not {controls}"
        )
    return changes
