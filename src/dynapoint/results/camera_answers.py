"""What the maps of a scene say of its cameras."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np

from dynapoint.geometry.arrays import typical_depth
from dynapoint.results.asking import as_numpy, as_tensor, camera_points, span_of
from dynapoint.results.checked import checked_index
from dynapoint.results.motion_answers import motion_between
from dynapoint.results.scene_maps import SceneMaps, maps_of_frames
from dynapoint.results.thinning import even_choice

if TYPE_CHECKING:
    from dynapoint.reductions.camera_motion import (
        CameraDisagreement,
        PnpCameraMotion,
        ProcrustesCameraMotion,
    )
    from dynapoint.reductions.intrinsics import FittedIntrinsics

# Frames whose maps are held together.
_AT_ONCE = 120


def fit_intrinsics(
    scene: SceneMaps, *, shared: bool = True, principal_point: bool = False
) -> "FittedIntrinsics[np.ndarray]":
    """Fit the focal lengths under which own-time points project onto their pixels.

    One lens of more than 120 frames is fitted to an even choice of them; the residual of the others
    is NaN, and `used` 0.

    Args:
        scene: The scene.
        shared: Fit one lens to all frames whose images have one size. Images of different sizes
            come from different cameras, or from one that was turned or zoomed.
        principal_point: Fit the principal point too; by default that of `intrinsics` is kept.

    Returns:
        Intrinsics in pixels of the original images, one per frame; the residual is in map pixels.
    """
    from dynapoint.reductions import intrinsics as fitting  # noqa: PLC0415

    count = scene.frame_count
    placing = scene.pixel_map.map_from_image.reshape(count, 9)
    alike = np.concatenate([scene.pixel_map.picture_hw, placing], axis=1)
    camera_of_frame = np.unique(alike, axis=0, return_inverse=True)[1].reshape(count)
    if not shared:
        camera_of_frame = np.arange(count)
    intrinsics = np.empty((count, 3, 3), dtype=np.float32)
    residual_px = np.full(count, np.nan, dtype=np.float32)
    used = np.zeros(count, dtype=np.int64)
    for camera in np.unique(camera_of_frame):
        alike = np.flatnonzero(camera_of_frame == camera)
        frames = alike[even_choice(len(alike))]
        cameras = as_tensor(np.stack([camera_points(scene, int(k)) for k in frames]))
        weight = as_tensor(scene.own_time_confidence[frames])
        if principal_point:
            fitted = fitting.fit_focal_and_principal_point(
                cameras, weight, square_pixels=False, shared=shared
            )
        else:
            x, y = scene.map_intrinsics[frames, :2, 2].mean(axis=0).tolist()
            fitted = fitting.fit_focal(
                cameras, weight, principal_point_px=(x, y), square_pixels=False, shared=shared
            )
        fitted = as_numpy(fitted)
        image_from_map = np.linalg.inv(scene.pixel_map.map_from_image[frames])
        intrinsics[alike] = (image_from_map @ fitted.intrinsics)[0]
        intrinsics[frames] = image_from_map @ fitted.intrinsics
        residual_px[frames], used[frames] = fitted.residual_px, fitted.used
    return fitting.FittedIntrinsics(intrinsics=intrinsics, residual_px=residual_px, used=used)


def camera_motion(scene: SceneMaps) -> "PnpCameraMotion[np.ndarray]":
    """Solve each frame's pose by robust perspective-n-point on its own-time points.

    Things that move do no harm, because a frame sees all its pixels at one time.

    Returns:
        `world_from_camera` (frame, 4, 4), translations in scene units; residuals in map pixels.
    """
    from dynapoint.reductions import camera_motion as solving  # noqa: PLC0415

    lenses = scene.map_intrinsics.astype(np.float32)
    poses = scene.world_from_camera.astype(np.float32)
    parts = [
        as_numpy(
            solving.camera_motion_by_pnp(
                as_tensor(scene.own_time_points[some]),
                as_tensor(scene.own_time_confidence[some]),
                as_tensor(lenses[some]),
                start_world_from_camera=as_tensor(poses[some]),
            )
        )
        for some in _blocks(scene.frame_count)
    ]
    return _joined(parts)


def camera_motion_by_procrustes(
    scene: SceneMaps, *, time: SupportsIndex = 0
) -> "ProcrustesCameraMotion[np.ndarray]":
    """Solve each frame's pose by Procrustes on still pixels at one common time (DPM, A.4).

    The points in a frame's own camera come from the estimated pose. The answer therefore tells
    whether the network's points at the common time agree with its cameras. In a long clip a frame's
    time is that nearest to the common one of those for which a network saw the frame.

    Args:
        scene: The scene.
        time: The common time, as a frame index.

    Returns:
        `world_from_camera` (frame, 4, 4), translations and residuals in scene units.

    Raises:
        InputError: `time` is not the index of a frame used.
    """
    from dynapoint.reductions import camera_motion as solving  # noqa: PLC0415

    moment, count = checked_index(time, "time", scene.frame_count), scene.frame_count
    at = [min(max(moment, span[0]), span[-1]) for span in (span_of(scene, k) for k in range(count))]
    parts = []
    for some in _blocks(count, at):
        frames, common = range(count)[some], at[some][0]
        points, confidence = maps_of_frames(scene, frames, common, from_tracks=False)
        moving = [
            motion_between(scene, frame=frame, from_time=frame, to_time=common).probability
            for frame in frames
        ]
        found = solving.camera_motion_by_procrustes(
            as_tensor(np.stack(points)),
            as_tensor(np.stack([camera_points(scene, frame) for frame in frames])),
            as_tensor(np.minimum(confidence, scene.own_time_confidence[some])),
            moving=as_tensor(np.stack(moving)),
        )
        parts.append(as_numpy(found))
    return _joined(parts)


def camera_disagreement(
    scene: SceneMaps, *, method: Literal["pnp", "procrustes"] = "pnp"
) -> "CameraDisagreement[np.ndarray]":
    """Compare the scene's cameras with those solved from its maps.

    Args:
        scene: The scene.
        method: "pnp" for `camera_motion`, "procrustes" for `camera_motion_by_procrustes`.

    Returns:
        For each frame the rotation between the two in degrees, and the distance between their
        centres as a share of the scene's depth.
    """
    from dynapoint.reductions import camera_motion as solving  # noqa: PLC0415

    found = camera_motion(scene) if method == "pnp" else camera_motion_by_procrustes(scene)
    return as_numpy(
        solving.camera_disagreement(
            as_tensor(scene.world_from_camera),
            as_tensor(found.world_from_camera.astype(np.float64)),
            scene_depth=typical_depth(
                np.stack([scene.depth_of(frame) for frame in even_choice(scene.frame_count)])
            ),
        )
    )


def _blocks(count: int, key: Sequence[int] | None = None) -> list[slice]:
    """All frames in blocks that memory holds, each of frames side by side with one key."""
    edges = [frame for frame in range(1, count) if key is not None and key[frame] != key[frame - 1]]
    blocks = []
    for start, stop in pairwise([0, *edges, count]):
        blocks += [slice(k, min(k + _AT_ONCE, stop)) for k in range(start, stop, _AT_ONCE)]
    return blocks


def _joined(parts: Sequence[Any]) -> Any:
    """Answers for blocks of frames as that for all of them."""
    if len(parts) == 1:
        return parts[0]
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(parts[0])
    }
    return replace(parts[0], **arrays)
