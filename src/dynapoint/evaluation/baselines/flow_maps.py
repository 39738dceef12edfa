"""Maps of their own time made to move by optical flow, in the manner of MonST3R's cross-time maps.

DPM (Table 3) compares with still point maps whose pixels are looked up where flow says they are in
the other frame: P_i(t_j) at a pixel is P_j(t_j) at the place that flow from frame i to frame j
gives. There the flow is RAFT's; here it is classical (Kroeger et al., Fast Optical Flow using Dense
Inverse Search, ECCV 2016), and where there and back do not agree a point stays where it was, which
is the better guess for what is hidden.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dynapoint.evaluation.methods.method import Method, MethodInfo, Question
from dynapoint.evaluation.methods.network import NetworkMethod
from dynapoint.evaluation.methods.truth import TruthMethod
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.refinement.flow import FlowField, FlowMeter, PairToMeasure, sample

# Half of what a flow that comes home exactly weighs.
_RELIABLE = 0.5


class FlowedMaps:
    """Another method's own-time maps and cameras; motion is what flow says."""

    def __init__(self, inner: Method) -> None:
        self._inner = inner

    @property
    def info(self) -> MethodInfo:
        """The other method's, with the flow."""
        inner = self._inner.info
        return replace(
            inner,
            name=f"{inner.name} own time + flow",
            options=f"{inner.options}; DIS flow, forward-backward checked".lstrip("; "),
        )

    def answer(self, question: Question) -> Answer:
        """Ask for own-time maps, and look pixels of other times up in them.

        Raises:
            DynapointError: As the other method.
        """
        task = question.task
        asked = (
            set(range(len(task.frames))) if task.track_xy else {k for at in task.maps for k in at}
        )
        frames = sorted(asked)
        own_task = replace(task, maps=tuple((k, k) for k in frames), track_xy=(), moving=False)
        own = self._inner.answer(replace(question, task=own_task))
        looked_up = _LookedUp(question, frames)
        answer = replace(own, points=None, confidence=None, swapped_points=None)
        if own.points is None:
            return answer
        if task.maps:
            answer = replace(
                answer,
                points=looked_up.maps(own.points),
                swapped_points=None
                if own.swapped_points is None
                else looked_up.maps(own.swapped_points),
            )
        if task.track_xy:
            tracks, seen = looked_up.tracks(own.points)
            answer = replace(answer, tracks=tracks, tracks_visible=seen)
        return answer


class _LookedUp:
    """Places of pixels in other frames, and what other frames' maps have there.

    Own-time maps, in any one camera, are those of `frames`, in this order.
    """

    def __init__(self, question: Question, frames: list[int]) -> None:
        self._task: Task = question.task
        self._row = {frame: row for row, frame in enumerate(frames)}
        # The last two frames and the flow there and back: mostly both ways are asked for in turn.
        self._last: tuple[tuple[int, int], tuple[FlowField, FlowField]] | None = None
        grey = np.stack([_grey(picture) for picture in question.images])
        self._meter = FlowMeter(pictures=grey, usable=np.ones(grey.shape, np.float32))
        self._xy = question.task.grid_xy(question.image_hw)

    def maps(
        self, points: Float32[np.ndarray, "frame row column xyz=3"]
    ) -> Float32[np.ndarray, "map row column xyz=3"]:
        """The task's maps."""
        return np.stack([self._map(points, *each) for each in self._task.maps])

    def _map(
        self, points: Float32[np.ndarray, "frame row column xyz=3"], source: int, time: int
    ) -> Float32[np.ndarray, "row column xyz=3"]:
        stays = points[self._row[source]]
        if source == time or not self._meter.possible:
            return stays
        place, sure = _followed(self._flow(source, time), self._xy)
        there = self._at(points[self._row[time]], place)
        known = sure & np.isfinite(there).all(axis=-1)
        return np.where(known[..., None], there, stays)

    def tracks(
        self, points: Float32[np.ndarray, "frame row column xyz=3"]
    ) -> tuple[Float32[np.ndarray, "frame track xyz=3"], Bool[np.ndarray, "frame track"]]:
        """Pixels of the first frame followed from each frame shown to the next.

        One that is lost stays where it was last, unseen.
        """
        place = np.array(self._task.track_xy, np.float64)
        seen = np.ones(len(place), bool)
        tracks = [self._at(points[self._row[0]], place)]
        visible = [seen]
        for frame in range(1, len(self._task.frames)):
            if self._meter.possible:
                further, sure = _followed(self._flow(frame - 1, frame), place)
                seen = seen & sure
                place = np.where(seen[:, None], further, place)
            else:
                seen = np.zeros_like(seen)
            there = self._at(points[self._row[frame]], place)
            known = seen & np.isfinite(there).all(axis=-1)
            tracks.append(np.where(known[:, None], there, tracks[-1]))
            visible.append(seen)
        return np.stack(tracks), np.stack(visible)

    def _flow(self, source: int, target: int) -> FlowField:
        first, second = pair = min(source, target), max(source, target)
        if self._last is None or self._last[0] != pair:
            measured = self._meter.measure([PairToMeasure(first=first, second=second)])
            self._last = pair, measured[0]
        return self._last[1][source > target]

    def _at(
        self,
        values: Float32[np.ndarray, "row column xyz=3"],
        xy: Float64[np.ndarray, "*places xy=2"],
    ) -> Float32[np.ndarray, "*places xyz=3"]:
        """The nearest entry of the grid: between two surfaces there is no point to blend."""
        step = self._task.stride
        column, row = (
            np.clip(np.rint((xy[..., k] - 0.5 - step // 2) / step), 0, values.shape[1 - k] - 1)
            for k in (0, 1)
        )
        return values[row.astype(int), column.astype(int)]


def make_method() -> Method:
    """The flow baseline on `nano`'s own-time maps."""
    return FlowedMaps(NetworkMethod("nano"))


def make_method_on_truth() -> Method:
    """The flow baseline on the true own-time maps and cameras: what flow alone leaves wrong."""
    return FlowedMaps(TruthMethod())


def _followed(
    field: FlowField, xy: Float64[np.ndarray, "*places xy=2"]
) -> tuple[Float64[np.ndarray, "*places xy=2"], Bool[np.ndarray, "*places"]]:
    """Where places go, and whether flow there and back agree."""
    both = np.concatenate([field.flow, field.weight[..., None]], axis=-1)
    # OpenCV looks up grids, whose sides it limits.
    grid = xy if xy.ndim == 3 else xy[:, None]
    found = sample(both, grid).reshape(*xy.shape[:-1], 3)
    return xy + found[..., :2], found[..., 2] > _RELIABLE


def _grey(picture: np.ndarray) -> np.ndarray:
    import cv2  # noqa: PLC0415 - slow to import.

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
