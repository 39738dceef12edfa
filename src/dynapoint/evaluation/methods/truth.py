"""The truth as a method, which scores perfectly in every protocol."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.methods.method import MethodInfo, Question
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.geometry.arrays import points_in_camera, project


class TruthMethod:
    """Answers what the sequence knows; NaN in maps, and None, where it does not."""

    info = MethodInfo(name="truth")

    def answer(self, question: Question) -> Answer:
        """All that is asked and known.

        Raises:
            InputError: A file of the set is missing or damaged.
        """
        task, truth = question.task, question.truth
        grid, holds = _Grid(task, question.image_hw), truth.holds
        given: dict[str, Any] = {}
        if task.maps:
            given["points"] = grid.maps(truth, camera=0)
            given["confidence"] = np.ones(given["points"].shape[:3], np.float32)
            if task.swapped:
                given["swapped_points"] = grid.maps(truth, camera=1)
        if task.depth and holds.depth:
            maps = [truth.depth(frame)[grid.pixels] for frame in task.frames]
            given["depth"] = np.stack(maps).astype(np.float32)
        if task.cameras and holds.poses:
            poses = np.stack([truth.world_from_camera(frame) for frame in task.frames])
            given["world_from_camera"] = np.linalg.inv(poses[0]) @ poses
        if task.cameras and holds.lens:
            given["intrinsics"] = np.stack([truth.intrinsics(frame) for frame in task.frames])
        if task.moving and holds.moving:
            given["moving"] = np.stack([truth.moving(each)[grid.pixels] for each in task.frames])
        if task.track_xy:
            given["tracks"], given["tracks_visible"] = (
                _followed(task, truth) if holds.tracks else _pixels_followed(task, truth)
            )
        return Answer(**given, metric=holds.metric)


class _Grid:
    """The pixels that a task asks of."""

    def __init__(self, task: Task, image_hw: tuple[int, int]) -> None:
        self._task = task
        self._hw = task.grid_hw(image_hw)
        every = slice(task.stride // 2, None, task.stride)
        self.pixels = every, every

    def maps(self, truth: TruthSequence, *, camera: int) -> Float32[np.ndarray, "map r c xyz=3"]:
        """The task's maps in the camera of a frame shown, by its position."""
        frames = self._task.frames
        pose = _pose(truth, frames[camera])
        maps = np.full((len(self._task.maps), *self._hw, 3), np.nan, np.float32)
        for place, (source, time) in enumerate(self._task.maps):
            if source == time or truth.holds.motion != "own_time":
                world = truth.points(frames[source], frames[time])[self.pixels]
                maps[place] = points_in_camera(world.astype(np.float64), pose)
        return maps


def _followed(
    task: Task, truth: TruthSequence
) -> tuple[Float32[np.ndarray, "frame track xyz=3"], Bool[np.ndarray, "frame track"]]:
    """Of the set's tracks, those that start nearest to the pixels asked of.

    Where several start in one place, each is taken for one of the equal pixels asked of, in order.
    """
    tracks, first = truth.tracks(), task.frames[0]
    places = tracks.xyz[first].astype(np.float64)
    xy = project(points_in_camera(places, _pose(truth, first)), truth.intrinsics(first))
    usable = np.isfinite(xy).all(axis=-1) & tracks.visible[first]
    free = np.where(usable, 0.0, np.inf)
    chosen = []
    for asked in task.track_xy:
        apart = np.linalg.norm(xy - np.array(asked), axis=-1)
        apart = np.where(np.isfinite(apart), apart, np.inf) + free
        nearest = int(apart.argmin())
        chosen.append(nearest)
        # Taken ones come last among those that are equally near.
        free[nearest] += 1e-3
    frames = list(task.frames)
    camera = _pose(truth, first)
    xyz = points_in_camera(tracks.xyz[frames][:, chosen].astype(np.float64), camera)
    return xyz.astype(np.float32), tracks.visible[frames][:, chosen]


def _pixels_followed(
    task: Task, truth: TruthSequence
) -> tuple[Float32[np.ndarray, "frame track xyz=3"], Bool[np.ndarray, "frame track"]]:
    """The points of the pixels asked of, by the maps of a set without tracks."""
    first = task.frames[0]
    column, row = np.floor(np.array(task.track_xy)).astype(int).T
    shape = (len(task.frames), len(task.track_xy))
    xyz, visible = np.full((*shape, 3), np.nan, np.float32), np.ones(shape, bool)
    for place, time in enumerate(task.frames):
        if time == first or truth.holds.motion != "own_time":
            world = truth.points(first, time)[row, column]
            xyz[place] = points_in_camera(world.astype(np.float64), _pose(truth, first))
        if truth.holds.visible:
            visible[place] = truth.visible(first, time)[row, column]
    return xyz, visible


def _pose(truth: TruthSequence, frame: int) -> Float64[np.ndarray, "4 4"]:
    """A frame's camera; where a set has no poses, points are in the one camera that it has."""
    return truth.world_from_camera(frame) if truth.holds.poses else np.eye(4)
