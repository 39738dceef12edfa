"""How the points of a frame's pixels move between two times, in the world and as cameras see it."""

from dataclasses import replace
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from dynapoint.geometry.arrays import pixel_centres
from dynapoint.results.asking import as_numpy, as_tensor, maps_at_two_times
from dynapoint.results.checked import checked_index
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.seen_places import seen_flow

if TYPE_CHECKING:
    from dynapoint.reductions.flow import ObjectFlow, OpticalFlow, SceneFlow


def object_flow(
    scene: SceneMaps,
    *,
    frame: SupportsIndex,
    to_time: SupportsIndex,
    from_time: SupportsIndex | None = None,
) -> "ObjectFlow[np.ndarray]":
    """Motion of each pixel's point in the world between two times.

    Args:
        scene: The scene.
        frame: The frame whose pixels are followed.
        to_time: The time at which the motion ends.
        from_time: The time at which it begins; the frame's own by default.

    Returns:
        Flow in scene units, one vector for each pixel of the map.

    Raises:
        InputError: An index is not that of a frame used.
    """
    from dynapoint.reductions import flow  # noqa: PLC0415

    start, end = maps_at_two_times(scene, frame, from_time, to_time)
    return as_numpy(
        flow.object_flow(start[0], end[0], confidence_from=start[1], confidence_to=end[1])
    )


def scene_flow(
    scene: SceneMaps,
    *,
    frame: SupportsIndex,
    to_time: SupportsIndex,
    from_time: SupportsIndex | None = None,
) -> "SceneFlow[np.ndarray]":
    """Motion of each pixel's point as the moving camera sees it, between two times.

    Args:
        scene: The scene.
        frame: The frame whose pixels are followed.
        to_time: The time at which the motion ends.
        from_time: The time at which it begins; the frame's own by default.

    Returns:
        Position in the camera of `to_time` minus position in the camera of `from_time`, in scene
        units, one vector for each pixel of the map.

    Raises:
        InputError: An index is not that of a frame used.
    """
    from dynapoint.reductions import flow  # noqa: PLC0415

    start, end = maps_at_two_times(scene, frame, from_time, to_time)
    begin = frame if from_time is None else from_time
    poses = as_tensor(scene.world_from_camera.astype(np.float32))
    return as_numpy(
        flow.scene_flow(
            start[0],
            end[0],
            world_from_camera_from=poses[begin],
            world_from_camera_to=poses[to_time],
            confidence_from=start[1],
            confidence_to=end[1],
        )
    )


def optical_flow(
    scene: SceneMaps, *, frame: SupportsIndex, to_time: SupportsIndex
) -> "OpticalFlow[np.ndarray]":
    """Motion of each pixel's point in the image, from a frame to another time.

    If the scene keeps pictures, flow is measured in them and starts from the projected points;
    otherwise the points are projected.

    Args:
        scene: The scene.
        frame: The frame whose pixels are followed.
        to_time: The time whose image they are followed to.

    Returns:
        Flow in pixels of the original images: the place in the image of `to_time` minus the place
        in the frame's own image. One vector for each pixel of the map.

    Raises:
        InputError: An index is not that of a frame used.
    """
    source = checked_index(frame, "frame", scene.frame_count)
    target = checked_index(to_time, "time", scene.frame_count)
    flow = seen_flow(scene, source, target)
    start = pixel_centres(scene.map_hw)
    end = scene.pixel_map.to_picture(target, start + flow.flow_px)
    moved = end - scene.pixel_map.to_picture(source, start)
    if scene.distortion is not None:
        # No lens sees what lies too far beside it.
        seen = np.isfinite(moved).all(axis=-1)
        width_height = scene.pixel_map.picture_hw[target, ::-1]
        inside = flow.inside & ((end >= 0) & (end <= width_height)).all(axis=-1)
        flow = replace(flow, valid=flow.valid & seen, inside=inside)
    moved = np.where(flow.valid[..., None], moved, 0.0)
    return replace(flow, flow_px=moved.astype(np.float32))
