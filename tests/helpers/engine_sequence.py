"""An engine clip as a sequence of a data set, and the answer that says any sequence's truth."""

from functools import cached_property

import numpy as np

from dynapoint.datasets.sequence import Holds, TruthSequence, WorldTracks
from dynapoint.evaluation.protocols.task import Answer
from miniatures.engine_clip import EngineClip

TRACK_STEP = 4
# Farther than this from where a rigid motion takes them, points deform (the clip is float32).
_RIGID_WITHIN = 1e-4
_FEWEST_PIXELS = 12


class EngineSequence(TruthSequence):
    """All truth of an engine clip, from memory.

    Instance k + 1 is the engine's body k, the surroundings too. Bodies that deform, and those that
    show too few pixels, have no pose. Tracks start at every fourth pixel of frame 0.
    """

    def __init__(self, clip: EngineClip, *, dataset: str = "engine", name: str = "clip"):
        self.clip = clip
        self.dataset = dataset
        self.name = name
        self.frame_count = clip.frame_count
        self.image_hw = tuple(clip.image_hw)
        self.holds = Holds(
            lens=True,
            poses=True,
            depth=True,
            motion="dense",
            visible=True,
            moving=True,
            instances=True,
            object_poses=True,
            tracks=True,
            metric=True,
        )

    def image(self, frame):
        return self.clip.images[frame]

    def intrinsics(self, frame):
        return self.clip.intrinsics[frame]

    def world_from_camera(self, frame):
        return self.clip.world_from_camera[frame]

    def depth(self, frame):
        return self.clip.depth[frame].astype(np.float32)

    def points(self, frame, time):
        return self.clip.points[time, frame].astype(np.float32)

    def visible(self, frame, time):
        return self.clip.visible[time, frame]

    def moving(self, frame):
        return self.clip.moving[frame]

    def instances(self, frame):
        return (self.clip.instance[frame] + 1).astype(np.int32)

    def object_poses(self):
        return self._object_poses

    @cached_property
    def _object_poses(self):
        bodies = int(self.clip.instance.max()) + 1
        return np.stack([self._poses_of(body) for body in range(bodies)])

    def _poses_of(self, body):
        """world_from_object, the object's origin being the middle of what its best frame shows."""
        shown = (self.clip.instance == body) & np.isfinite(self.clip.depth)
        frame = int(shown.sum(axis=(1, 2)).argmax())
        tracks = self.clip.points[:, frame, shown[frame]]
        nothing = np.full((self.frame_count, 4, 4), np.nan)
        if tracks.shape[1] < _FEWEST_PIXELS or not np.isfinite(tracks).all():
            return nothing
        middle = np.eye(4)
        middle[:3, 3] = tracks[frame].mean(axis=0)
        fits = [rigid_fit(tracks[frame], there) for there in tracks]
        if max(residual for _, residual in fits) > _RIGID_WITHIN:
            return nothing
        return np.stack([motion @ middle for motion, _ in fits])

    def tracks(self):
        starts = np.s_[TRACK_STEP // 2 :: TRACK_STEP, TRACK_STEP // 2 :: TRACK_STEP]
        xyz = self.clip.points[:, 0][:, *starts].reshape(self.frame_count, -1, 3)
        seen = self.clip.visible[:, 0][:, *starts].reshape(self.frame_count, -1)
        there = np.isfinite(xyz[0]).all(axis=-1)
        return WorldTracks(xyz=xyz[:, there].astype(np.float32), visible=seen[:, there])


def rigid_fit(before, after):
    """The rigid motion between two clouds (4, 4), and the largest distance it leaves."""
    a, b = before.mean(axis=0), after.mean(axis=0)
    u, _, vt = np.linalg.svd((after - b).T @ (before - a))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, b - turn @ a
    residual = np.linalg.norm(before @ turn.T + motion[:3, 3] - after, axis=-1).max()
    return motion, float(residual)


def true_answer(task, sequence):
    """What a perfect method says: all that the task asks and the sequence knows."""
    grid = np.s_[task.stride // 2 :: task.stride, task.stride // 2 :: task.stride]
    frames, holds = task.frames, sequence.holds
    poses = None
    if holds.poses:
        poses = np.stack([sequence.world_from_camera(frame) for frame in frames])
    given = {}
    if task.maps:
        given["points"] = _maps(task, sequence, poses[0], grid)
        given["confidence"] = np.ones(given["points"].shape[:3], np.float32)
        if task.swapped:
            given["swapped_points"] = _maps(task, sequence, poses[1], grid)
    if task.depth and holds.depth:
        given["depth"] = np.stack([sequence.depth(frame)[grid] for frame in frames])
    if task.cameras and holds.poses:
        given["world_from_camera"] = np.linalg.inv(poses[0]) @ poses
    if task.cameras and holds.lens:
        given["intrinsics"] = np.stack([sequence.intrinsics(frame) for frame in frames])
    if task.moving and holds.moving:
        given["moving"] = np.stack([sequence.moving(frame)[grid] for frame in frames])
    if task.track_xy:
        given |= _tracks(task, sequence, poses)
    return Answer(metric=holds.metric, **given)


def _maps(task, sequence, camera, grid):
    """The maps in a camera; NaN where the sequence does not know a map."""
    dense = sequence.holds.motion != "own_time"
    maps = []
    for source, time in task.maps:
        if dense or source == time:
            world = sequence.points(task.frames[source], task.frames[time])[grid]
        else:
            world = np.full((*task.grid_hw(sequence.image_hw), 3), np.nan)
        maps.append(_in_camera(world, camera))
    return np.stack(maps).astype(np.float32)


def _tracks(task, sequence, poses):
    """The tracks that start nearest to the pixels asked, or else the points of those pixels."""
    if not sequence.holds.tracks:
        return _tracks_of_pixels(task, sequence, poses)
    tracks = sequence.tracks()
    camera = np.eye(4) if poses is None else poses[0]
    xyz = _in_camera(tracks.xyz[list(task.frames)], camera)
    lens = sequence.intrinsics(task.frames[0])
    start = xyz[0] @ lens.T
    xy = start[:, :2] / start[:, 2:]
    apart = np.linalg.norm(np.array(task.track_xy)[:, None] - xy, axis=-1)
    # Of tracks that start on one pixel, the one that is seen there.
    apart = np.where(np.isfinite(apart) & tracks.visible[task.frames[0]], apart, np.inf)
    chosen = apart.argmin(axis=1)
    return {
        "tracks": xyz[:, chosen].astype(np.float32),
        "tracks_visible": tracks.visible[list(task.frames)][:, chosen],
    }


def _tracks_of_pixels(task, sequence, poses):
    columns, rows = np.floor(np.array(task.track_xy)).astype(int).T
    first = task.frames[0]
    xyz = [sequence.points(first, time)[rows, columns] for time in task.frames]
    given = {"tracks": _in_camera(np.stack(xyz), poses[0]).astype(np.float32)}
    if sequence.holds.visible:
        seen = [sequence.visible(first, time)[rows, columns] for time in task.frames]
        given["tracks_visible"] = np.stack(seen)
    return given


def _in_camera(points, world_from_camera):
    camera_from_world = np.linalg.inv(world_from_camera)
    return points.astype(np.float64) @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
