"""What can be scored: a model, the truth, and the trivial answers that a model must beat."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from dynapoint.errors import ShapeError
from dynapoint.evaluation.clips import TruthClip


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Where the grid pixels of some frames are at some times, and the cameras of all frames.

    `points[t, i]` belongs to the t-th time and i-th source frame asked for, in the camera of the
    first frame shown and any unit; `confidence` (larger is better) goes with it where there is
    one. `world_from_camera` (world: camera of the first frame shown) and `focal_px` (fx in pixels
    of the clip's images) belong to all frames shown.
    """

    points: Float[np.ndarray, "time source_frame grid xyz=3"]
    world_from_camera: Float[np.ndarray, "frame 4 4"]
    focal_px: Float[np.ndarray, " frame"]
    confidence: Float[np.ndarray, "time source_frame grid"] | None = None


@runtime_checkable
class Predictor(Protocol):
    """Answers for some frames of a clip."""

    def predict(
        self,
        clip: TruthClip,
        frames: Sequence[int],
        times: Sequence[int] | None = None,
        source_frames: Sequence[int] | None = None,
    ) -> Prediction:
        """Predict from the images of `frames` alone.

        Args:
            clip: images, and truth for those predictors that know it.
            frames: frame numbers of the clip; the first gives the camera that points are in.
            times: positions in `frames` at whose times points are wanted; None means all.
            source_frames: positions in `frames` whose pixels are wanted; None means all.
        """
        ...


class TruthPredictor:
    """Answers the truth, in the camera of the first frame shown: perfect scores."""

    def predict(
        self,
        clip: TruthClip,
        frames: Sequence[int],
        times: Sequence[int] | None = None,
        source_frames: Sequence[int] | None = None,
    ) -> Prediction:
        """The truth, re-referenced."""
        times, source_frames = _positions(frames, times), _positions(frames, source_frames)
        return Prediction(
            points=truth_points(
                clip,
                times=[frames[t] for t in times],
                source_frames=[frames[i] for i in source_frames],
                reference=frames[0],
            ),
            world_from_camera=truth_poses(clip, frames=frames, reference=frames[0]),
            focal_px=np.full(len(frames), float(clip.intrinsics[0, 0])),
        )


class FlatScene:
    """Answers the plane of unit depth for every frame and time, seen by a camera that stands still.

    The focal length is the longer side of the image.
    """

    def predict(
        self,
        clip: TruthClip,
        frames: Sequence[int],
        times: Sequence[int] | None = None,
        source_frames: Sequence[int] | None = None,
    ) -> Prediction:
        """The plane."""
        times, source_frames = _positions(frames, times), _positions(frames, source_frames)
        height, width = clip.image_hw
        focal_px = float(max(height, width))
        plane = (clip.grid_xy - np.array([width, height]) / 2) / focal_px
        points = np.concatenate([plane, np.ones((len(plane), 1))], axis=1)
        shape = (len(times), len(source_frames), *points.shape)
        return Prediction(
            points=np.broadcast_to(points, shape),
            world_from_camera=np.broadcast_to(np.eye(4), (len(frames), 4, 4)),
            focal_px=np.full(len(frames), focal_px),
        )


@dataclass(frozen=True)
class OwnGeometryNothingMoved:
    """Answers another predictor's own-time maps for every time: its geometry without motion."""

    inner: Predictor

    def predict(
        self,
        clip: TruthClip,
        frames: Sequence[int],
        times: Sequence[int] | None = None,
        source_frames: Sequence[int] | None = None,
    ) -> Prediction:
        """The own-time maps P of `inner` at every time asked for."""
        times, source_frames = _positions(frames, times), _positions(frames, source_frames)
        # The same question as for the score of `inner` itself, so that `Remembered` works once.
        answer = self.inner.predict(clip, frames, source_frames=source_frames)
        own = np.stack([answer.points[frame, row] for row, frame in enumerate(source_frames)])
        confidence = None
        if answer.confidence is not None:
            held = [answer.confidence[frame, row] for row, frame in enumerate(source_frames)]
            confidence = np.broadcast_to(np.stack(held), (len(times), *np.shape(held)))
        return replace(
            answer,
            points=np.broadcast_to(own, (len(times), *own.shape)),
            confidence=confidence,
        )


class TrueGeometryNothingMoved(OwnGeometryNothingMoved):
    """Answers the true own-time maps and cameras, as if nothing had moved."""

    def __init__(self) -> None:
        super().__init__(inner=TruthPredictor())


@dataclass(frozen=True)
class ModelPredictor:
    """Answers what `dynapoint.reconstruct` makes of the images of the frames.

    `model` is a model's name, or a loaded model; `refine` as of `dynapoint.reconstruct`.
    """

    model: Any
    refine: bool | None = None

    def predict(
        self,
        clip: TruthClip,
        frames: Sequence[int],
        times: Sequence[int] | None = None,
        source_frames: Sequence[int] | None = None,
    ) -> Prediction:
        """Reconstruct from the frames and look the clip's grid pixels up.

        Raises:
            ModelError: the model is unknown or cannot be loaded.
        """
        # The networks' code is loaded only where a network is scored.
        from dynapoint.inference.pipeline import reconstruct  # noqa: PLC0415

        times, source_frames = _positions(frames, times), _positions(frames, source_frames)
        rec = reconstruct(clip.images[list(frames)], model=self.model, refine=self.refine)
        grid_xy = clip.grid_xy
        answers = [
            [rec.query(frame=frame, xy=grid_xy, time=time) for frame in source_frames]
            for time in times
        ]
        return Prediction(
            points=np.stack([np.stack([answer.points for answer in row]) for row in answers]),
            confidence=np.stack(
                [np.stack([answer.confidence for answer in row]) for row in answers]
            ),
            world_from_camera=np.asarray(rec.world_from_camera),
            focal_px=np.asarray(rec.intrinsics)[:, 0, 0],
        )


@dataclass
class Remembered:
    """Keeps the last answer of a predictor, for others that are derived from it."""

    inner: Predictor
    _asked: tuple[Any, ...] | None = field(default=None, init=False)
    _answer: Prediction | None = field(default=None, init=False)

    def predict(
        self,
        clip: TruthClip,
        frames: Sequence[int],
        times: Sequence[int] | None = None,
        source_frames: Sequence[int] | None = None,
    ) -> Prediction:
        """The answer of `inner`, which is asked once for the same question in a row."""
        wanted = (tuple(_positions(frames, times)), tuple(_positions(frames, source_frames)))
        # The clip itself is kept, not its id, which a later clip could have again.
        asked = (clip, tuple(frames), *wanted)
        same = self._asked is not None and self._asked[0] is clip and self._asked[1:] == asked[1:]
        if self._answer is None or not same:
            self._answer = self.inner.predict(clip, frames, times, source_frames)
            self._asked = asked
        return self._answer


def truth_points(
    clip: TruthClip, *, times: Sequence[int], source_frames: Sequence[int], reference: int
) -> Float[np.ndarray, "time source_frame grid xyz=3"]:
    """True points of some frames at some times, float64, in the camera of frame `reference`.

    All arguments are frame numbers of the clip; NaN where a pixel sees no surface.
    """
    maps = clip.points[np.ix_(list(times), list(source_frames))].astype(np.float64)
    camera_from_world = np.linalg.inv(clip.world_from_camera[reference])
    moved = maps @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    return moved.reshape(len(times), len(source_frames), -1, 3)


def truth_poses(
    clip: TruthClip, *, frames: Sequence[int], reference: int
) -> Float[np.ndarray, "frame 4 4"]:
    """True camera poses of some frames, the world being the camera of frame `reference`."""
    return np.linalg.inv(clip.world_from_camera[reference]) @ clip.world_from_camera[list(frames)]


def check_prediction(
    prediction: Prediction, *, times: int, source_frames: int, grid: int, frames: int
) -> None:
    """Refuse an answer whose shapes are not those asked for, which broadcasting could hide.

    Raises:
        ShapeError: naming the array, its shape and the shape wanted.
    """
    wanted: dict[str, tuple[int, ...]] = {
        "points": (times, source_frames, grid, 3),
        "world_from_camera": (frames, 4, 4),
        "focal_px": (frames,),
    }
    if prediction.confidence is not None:
        wanted["confidence"] = (times, source_frames, grid)
    for name, shape in wanted.items():
        found = getattr(prediction, name).shape
        if found != shape:
            raise ShapeError(f"the prediction's {name} has shape {found}; wanted {shape}.")


def _positions(frames: Sequence[int], chosen: Sequence[int] | None) -> list[int]:
    return list(range(len(frames))) if chosen is None else list(chosen)
