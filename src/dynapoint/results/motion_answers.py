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
    frames_at_all_times,
    maps_at_all_times,
    maps_at_two_times,
)
from dynapoint.results.checked import checked_index, checked_mask
from dynapoint.results.scene_maps import SceneMaps, maps_of_frames

if TYPE_CHECKING:
    from dynapoint.reductions.instances import MovingObjects
    from dynapoint.reductions.rigid_objects import RigidObject
    from dynapoint.reductions.segmentation import MotionSegmentation


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

    Args:
        scene: The scene.
        frame: The frame whose pixels are judged.

    Returns:
        Probability in [0, 1] and displacement in scene units, for each pixel of the map.

    Raises:
        InputError: An index is not that of a frame used.
    """
    from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415

    points, confidence = maps_at_all_times(scene, frame)
    return as_numpy(
        segment_clip(
            points,
            own_time=int(frame),
            world_from_camera=as_tensor(scene.world_from_camera[frame].astype(np.float32)),
            confidence=confidence,
        )
    )


def moving_at_ends(
    scene: SceneMaps, frames: Sequence[int] | None = None
) -> Float32[np.ndarray, "frame map_height map_width"]:
    """The larger probability, for each pixel of some frames or all, of motion to either end.

    That is, to the first or the last time; frames are decoded together, once for each.
    """
    from dynapoint.reductions.segmentation import segment_pair  # noqa: PLC0415

    chosen = list(range(scene.frame_count)) if frames is None else list(frames)
    moving = np.zeros((len(chosen), *scene.map_hw), dtype=np.float32)
    for time in {0, scene.frame_count - 1}:
        points, confidence = maps_of_frames(scene, chosen, time)
        for place, frame in enumerate(chosen):
            if frame == time:
                continue
            found = segment_pair(
                as_tensor(scene.own_time_points[frame]),
                as_tensor(points[place]),
                world_from_camera=as_tensor(scene.world_from_camera[frame].astype(np.float32)),
                confidence_from=as_tensor(scene.own_time_confidence[frame]),
                confidence_to=as_tensor(confidence[place]),
            ).probability.numpy()
            np.maximum(moving[place], found, out=moving[place])
    return moving


def objects(
    scene: SceneMaps, *, frames: Sequence[int] | None = None, time: SupportsIndex = 0
) -> "MovingObjects[np.ndarray]":
    """Masks of moving objects; an object has the same id in all frames.

    Frames are decoded together, once for every time. With three frames or more, specks are
    dropped, and so are small or doubtful objects that only one frame shows.

    Args:
        scene: The scene.
        frames: The frames to search; all by default.
        time: The time at which masks of two frames are compared, to join them to one object.

    Returns:
        Ids (frame, map height, map width), 0 where nothing moves, and a score for each object.

    Raises:
        InputError: No frame is given, or an index is not that of a frame used.
    """
    import torch  # noqa: PLC0415

    from dynapoint.reductions.instances import moving_objects, moving_regions  # noqa: PLC0415
    from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415

    chosen = range(scene.frame_count) if frames is None else frames
    chosen = [checked_index(frame, "frames", scene.frame_count) for frame in chosen]
    if not chosen:
        raise InputError("no frame is given to look for objects in; give at least one")
    moment = checked_index(time, "time", scene.frame_count)
    regions, likely, points, confidence = [], [], [], []
    for frame, maps, known in steps(frames_at_all_times(scene, chosen), "frame", total=len(chosen)):
        pose = as_tensor(scene.world_from_camera[frame].astype(np.float32))
        probability = segment_clip(
            maps, own_time=frame, world_from_camera=pose, confidence=known
        ).probability
        found = moving_regions(
            maps, probability, own_time=frame, world_from_camera=pose, confidence=known
        )
        regions.append(found.region)
        likely.append(probability)
        points.append(maps[moment])
        confidence.append(known[moment])
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
    from dynapoint.reductions import rigid_objects  # noqa: PLC0415

    shown = as_tensor(checked_mask(mask, scene.map_hw))
    points, confidence = maps_at_all_times(scene, frame)
    return as_numpy(
        rigid_objects.rigid_object(
            points[:, shown],
            confidence[:, shown],
            source_time=int(frame),
            fit_scale=fit_scale,
        )
    )
