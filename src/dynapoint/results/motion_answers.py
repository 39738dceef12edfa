"""What of a scene moves, and how each thing moves as one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float32

from dynapoint.errors import InputError
from dynapoint.progress import steps
from dynapoint.results.asking import (
    as_numpy,
    as_tensor,
    frames_in_span,
    maps_at_two_times,
    maps_in_span,
    span_of,
)
from dynapoint.results.checked import checked_index, checked_mask
from dynapoint.results.scene_maps import SceneMaps, maps_of_frames, times_with_bar

if TYPE_CHECKING:
    from dynapoint.reductions.instances import MovingObjects
    from dynapoint.reductions.rigid_objects import RigidObject
    from dynapoint.reductions.segmentation import MotionSegmentation

# As likely as not.
_MOVES = 0.5


def motion_between(
    scene: SceneMaps,
    *,
    frame: SupportsIndex,
    to_time: SupportsIndex,
    from_time: SupportsIndex | None = None,
) -> "MotionSegmentation[np.ndarray]":
    """The probability that each pixel's point moved in the world between two times.

    Args:
        scene: The scene.
        frame: The frame whose pixels are judged.
        to_time: One time.
        from_time: The other time; the frame's own by default.

    Returns:
        Probability in [0, 1] and displacement in scene units, for each pixel of the map.

    Raises:
        InputError: An index is not that of a frame used.
    """
    from dynapoint.reductions.segmentation import segment_pair  # noqa: PLC0415

    start, end = maps_at_two_times(scene, frame, from_time, to_time)
    return as_numpy(
        segment_pair(
            start[0],
            end[0],
            world_from_camera=as_tensor(scene.world_from_camera[frame].astype(np.float32)),
            confidence_from=start[1],
            confidence_to=end[1],
        )
    )


def motion(scene: SceneMaps, *, frame: SupportsIndex = 0) -> "MotionSegmentation[np.ndarray]":
    """The probability that each pixel's point moved in the world at any time of the clip.

    In a long clip, at any time for which a network saw the frame.

    Args:
        scene: The scene.
        frame: The frame whose pixels are judged.

    Returns:
        Probability in [0, 1] and displacement in scene units, for each pixel of the map.

    Raises:
        InputError: An index is not that of a frame used.
    """
    from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415

    points, confidence = maps_in_span(scene, frame)
    return as_numpy(
        segment_clip(
            points,
            own_time=int(frame) - span_of(scene, int(frame)).start,
            world_from_camera=as_tensor(scene.world_from_camera[frame].astype(np.float32)),
            confidence=confidence,
        )
    )


def moving_at_ends(
    scene: SceneMaps, frames: Sequence[int] | None = None
) -> Float32[np.ndarray, "frame map_height map_width"]:
    """The larger probability, for each pixel of some frames or all, of motion to either end.

    That is, to the first or the last time, of a long clip of those for which a network saw the
    frame; frames of one span are decoded together, once for each.
    """
    from dynapoint.reductions.segmentation import segment_pair  # noqa: PLC0415

    chosen = list(range(scene.frame_count)) if frames is None else list(frames)
    moving = np.zeros((len(chosen), *scene.map_hw), dtype=np.float32)
    ends: dict[int, list[int]] = {}
    for place, frame in enumerate(chosen):
        times = span_of(scene, frame)
        for time in {times[0], times[-1]} - {frame}:
            ends.setdefault(time, []).append(place)
    for time, places in ends.items():
        points, confidence = maps_of_frames(scene, [chosen[place] for place in places], time)
        for at, place in enumerate(places):
            frame = chosen[place]
            found = segment_pair(
                as_tensor(scene.own_time_points[frame]),
                as_tensor(points[at]),
                world_from_camera=as_tensor(scene.world_from_camera[frame].astype(np.float32)),
                confidence_from=as_tensor(scene.own_time_confidence[frame]),
                confidence_to=as_tensor(confidence[at]),
            ).probability.numpy()
            np.maximum(moving[place], found, out=moving[place])
    return moving


def maps_without_seams(
    scene: SceneMaps, frames: Sequence[int], time: int, *, keep: bool = True
) -> tuple[
    list[Float32[np.ndarray, "map_height map_width xyz=3"]],
    Float32[np.ndarray, "frame map_height map_width"],
]:
    """`maps_of_frames`, which of a long clip hands nothing over from window to window.

    Of a frame that no network saw together with the time, what stands still is where it is, and the
    rest has confidence 0: frames beside the time show what moves. Each frame's pixels would have to
    be handed over through all windows between.
    """
    near = [frame for frame in frames if time in span_of(scene, frame)]
    far = [frame for frame in frames if time not in span_of(scene, frame)]
    found = {}
    if near:
        points, known = maps_of_frames(scene, near, time, keep=keep)
        found = dict(zip(near, zip(points, known, strict=True), strict=True))
    for frame, moving in zip(far, moving_at_ends(scene, far), strict=True):
        sure = np.where(moving < _MOVES, scene.own_time_confidence[frame], np.float32(0))
        found[frame] = scene.own_time_points[frame], sure
    return [found[frame][0] for frame in frames], np.stack([found[frame][1] for frame in frames])


def objects(
    scene: SceneMaps, *, frames: Sequence[int] | None = None, time: SupportsIndex = 0
) -> "MovingObjects[np.ndarray]":
    """Masks of moving objects; an object has the same id in all frames.

    Frames are decoded together, once for every time. With three frames or more, specks are
    dropped, and so are small or doubtful objects that only one frame shows.

    Args:
        scene: The scene.
        frames: The frames to search; all by default. In a long clip, by default those that a
            network saw together with `time`; others are handed over to it.
        time: The time at which masks of two frames are compared, to join them to one object.

    Returns:
        Ids (frame, map height, map width), 0 where nothing moves, and a score for each object.

    Raises:
        InputError: No frame is given, or an index is not that of a frame used.
    """
    import torch  # noqa: PLC0415

    from dynapoint.reductions.instances import moving_objects, moving_regions  # noqa: PLC0415
    from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415

    moment = checked_index(time, "time", scene.frame_count)
    chosen = span_of(scene, moment) if frames is None else frames
    chosen = [checked_index(frame, "frames", scene.frame_count) for frame in chosen]
    if not chosen:
        raise InputError("no frame is given to look for objects in; give at least one")
    regions, likely, points, confidence = [], [], [], []
    for frame, maps, known in steps(frames_in_span(scene, chosen), "frame", total=len(chosen)):
        first = span_of(scene, frame).start
        pose = as_tensor(scene.world_from_camera[frame].astype(np.float32))
        probability = segment_clip(
            maps, own_time=frame - first, world_from_camera=pose, confidence=known
        ).probability
        found = moving_regions(
            maps, probability, own_time=frame - first, world_from_camera=pose, confidence=known
        )
        regions.append(found.region)
        likely.append(probability)
        if moment in span_of(scene, frame):
            there, sure = maps[moment - first], known[moment - first]
        else:
            there, sure = map(as_tensor, scene.maps(frame=frame, time=moment))
        points.append(there)
        confidence.append(sure)
    return as_numpy(
        moving_objects(
            torch.stack(regions),
            torch.stack(points),
            torch.stack(likely),
            world_from_camera=as_tensor(scene.world_from_camera[moment].astype(np.float32)),
            intrinsics=as_tensor(scene.map_intrinsics[moment].astype(np.float32)),
            confidence=torch.stack(confidence),
        )
    )


def rigid_object(
    scene: SceneMaps,
    *,
    frame: SupportsIndex,
    mask: Bool[np.ndarray, "map_height map_width"],
    fit_scale: bool = False,
) -> "RigidObject[np.ndarray]":
    """The rigid motion of the object under a mask, and a box that follows it.

    Args:
        scene: The scene.
        frame: The frame that the mask belongs to.
        mask: The object's pixels in the frame's map, e.g. one id of `objects`.
        fit_scale: Let the object also grow or shrink (Sim(3) instead of SE(3)).

    Returns:
        Its motion from the frame's own time to every time, in the world and scene units, and a box
        at every time.

    Raises:
        InputError: `frame` is not the index of a frame used.
        ShapeError: The mask does not have the size of the maps.
    """
    import torch  # noqa: PLC0415

    from dynapoint.reductions import rigid_objects  # noqa: PLC0415

    shown = as_tensor(checked_mask(mask, scene.map_hw))
    # Of a long clip the object's pixels alone fit into memory.
    maps = (scene.maps(frame=frame, time=time) for time in times_with_bar(scene))
    pixels = [(as_tensor(points)[shown], as_tensor(known)[shown]) for points, known in maps]
    points, confidence = (torch.stack(part) for part in zip(*pixels, strict=True))
    return as_numpy(
        rigid_objects.rigid_object(
            points,
            confidence,
            source_time=int(frame),
            fit_scale=fit_scale,
        )
    )
