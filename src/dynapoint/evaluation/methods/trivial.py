"""Answers that cost nothing, beside which every number is shown."""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from dynapoint.evaluation.methods.method import Method, MethodInfo, Question
from dynapoint.evaluation.methods.truth import TruthMethod
from dynapoint.evaluation.protocols.task import Answer, Task


class FlatScene:
    """The plane of unit depth for every frame and time, seen by a camera that stands still.

    The focal length is the longer side of the picture, or that of the lens that is told.
    """

    info = MethodInfo(name="flat scene")

    def answer(self, question: Question) -> Answer:
        """The plane."""
        task = question.task
        lenses = question.intrinsics
        if lenses is None:
            lenses = np.tile(guessed_lens(question.image_hw), (len(task.frames), 1, 1))
        grid_xy = task.grid_xy(question.image_hw)
        planes = [_plane(grid_xy, lens) for lens in lenses]
        grid, count = grid_xy.shape[:2], len(task.frames)
        maps = np.stack([planes[source] for source, _ in task.maps]) if task.maps else None
        tracks = None
        if task.track_xy:
            starts = _plane(np.array(task.track_xy), lenses[0])
            tracks = np.broadcast_to(starts, (count, *starts.shape)).copy()
        return Answer(
            points=maps,
            # One confidence for all says nothing.
            confidence=None if maps is None else np.ones(maps.shape[:3], np.float32),
            swapped_points=maps if task.swapped else None,
            depth=np.ones((count, *grid), np.float32) if task.depth else None,
            world_from_camera=np.tile(np.eye(4), (count, 1, 1)) if task.cameras else None,
            intrinsics=lenses if task.cameras else None,
            moving=np.zeros((count, *grid), bool) if task.moving else None,
            tracks=tracks,
            tracks_visible=None if tracks is None else np.ones(tracks.shape[:2], bool),
        )


class TrueGeometryNothingMoved:
    """The true own-time maps and cameras, as if nothing had moved."""

    info = MethodInfo(name="true geometry, nothing moved")

    def answer(self, question: Question) -> Answer:
        """The truth of the frames' own times at every time.

        Raises:
            InputError: As the truth.
        """
        task = question.task
        own = replace(task, maps=tuple((source, source) for source, _ in task.maps))
        answer = TruthMethod().answer(replace(question, task=own))
        return _without_motion(answer)


def nothing_moved(task: Task, answer: Answer) -> Answer:
    """An answer's own-time maps for every time: its geometry without its motion.

    What has a map at another time but none at its own cannot be said, and is None.
    """
    own = [_place(task.maps, (source, source)) for source, _ in task.maps]
    if None in own:
        answer = replace(answer, points=None, confidence=None, swapped_points=None)
    else:
        places = [place for place in own if place is not None]
        names = ("points", "confidence", "swapped_points")
        maps = {name: getattr(answer, name) for name in names}
        taken: dict[str, Any] = {
            name: None if each is None else each[places] for name, each in maps.items()
        }
        answer = replace(answer, **taken)
    return _without_motion(answer)


def asks_for_motion(task: Task) -> bool:
    """Whether an answer without motion differs from one with it."""
    return bool(task.track_xy) or task.moving or any(a != b for a, b in task.maps)


def trivial_methods() -> tuple[Method, ...]:
    """Those that stand beside every number, and the truth, whose numbers must be perfect."""
    return FlatScene(), TrueGeometryNothingMoved(), TruthMethod()


def _without_motion(answer: Answer) -> Answer:
    """Tracks that stay where they begin, always seen; nothing that moves."""
    tracks, moving = answer.tracks, answer.moving
    return replace(
        answer,
        tracks=None if tracks is None else np.broadcast_to(tracks[:1], tracks.shape).copy(),
        tracks_visible=None if tracks is None else np.ones(tracks.shape[:2], bool),
        moving=None if moving is None else np.zeros_like(moving),
    )


def _place(maps: tuple[tuple[int, int], ...], wanted: tuple[int, int]) -> int | None:
    return maps.index(wanted) if wanted in maps else None


def guessed_lens(image_hw: tuple[int, int]) -> Float64[np.ndarray, "3 3"]:
    """A lens whose focal length is the longer side of the picture, in its middle."""
    height, width = image_hw
    focal = float(max(height, width))
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def _plane(
    xy: Float64[np.ndarray, "*places xy=2"], lens: Float64[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "*places xyz=3"]:
    """Points of unit depth seen at places of a picture."""
    rays = np.concatenate([xy, np.ones((*xy.shape[:-1], 1))], axis=-1) @ np.linalg.inv(lens).T
    return (rays / rays[..., 2:]).astype(np.float32)
