"""How far to trust the cameras of a scene: what matches between its frames say of them."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from dynapoint.geometry.arrays import typical_depth
from dynapoint.reductions.camera_grade import camera_error, path_roughness
from dynapoint.reductions.grades import grade_of_error
from dynapoint.results.scene_maps import SceneMaps

# The longer side of pictures that are matched.
_SIDE = 256


@dataclass(frozen=True, kw_only=True)
class CameraCheck:
    """What is known of cameras without ground truth; NaN where there was nothing to look at.

    Attributes:
        cameras_grade: From 0 to 1, larger is better; one half stands for a fifth of turning and
            path that is wrong (`reductions.camera_grade`).
        matches_explained: Share of reliable matches between neighbouring frames that still points
            and the cameras explain.
        matches_missed: Median distance by which they miss, over the distance that matches go.
        path_roughness: Mean second difference of the cameras' places over their mean step.
    """

    cameras_grade: float = math.nan
    matches_explained: float = math.nan
    matches_missed: float = math.nan
    path_roughness: float = math.nan


def check_cameras(
    scene: SceneMaps, pictures: UInt8[np.ndarray, "frame map_height map_width rgb=3"]
) -> CameraCheck:
    """Match frames with their neighbours and grade the cameras; a single frame has no grade.

    `pictures` are what the maps show (`results.pictures.map_pictures`).
    """
    from dynapoint.refinement.agreement import agreement  # noqa: PLC0415 - loads OpenCV.
    from dynapoint.refinement.setting import Answer  # noqa: PLC0415

    if scene.frame_count < 2:
        return CameraCheck()
    found = agreement(
        _small(pictures),
        Answer(
            world_from_camera=scene.world_from_camera,
            intrinsics=scene.map_intrinsics,
            points=np.asarray(scene.own_time_points),
            confidence=np.asarray(scene.own_time_confidence),
        ),
    )
    rough = path_roughness(scene.world_from_camera, typical_depth(scene.depth_of(0)))
    error = camera_error(explained=found.explained, missed=found.missed, roughness=rough)
    return CameraCheck(
        cameras_grade=grade_of_error(error),
        matches_explained=found.explained,
        matches_missed=found.missed,
        path_roughness=rough,
    )


def _small(
    pictures: UInt8[np.ndarray, "frame height width rgb=3"],
) -> UInt8[np.ndarray, "frame small_height small_width rgb=3"]:
    """The same, no longer than is matched."""
    import cv2  # noqa: PLC0415 - slow to import.

    height, width = pictures.shape[1:3]
    scale = _SIDE / max(height, width)
    if scale >= 1:
        return pictures
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in pictures])
