"""A solution on the grid brought back to cameras and maps of the network's size."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from dynapoint.geometry.arrays import points_on_rays
from dynapoint.models.kept.correction import UNKNOWN
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.setting import Answer, Setting
from dynapoint.refinement.views import Views


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """An answer that agrees with the pictures, or the network's where nothing better was found.

    Attributes:
        answer: Cameras and own-time maps.
        depth_ratio: By how much depths along the cameras' axes became larger.
        evidence: What matches tell of each pixel of the maps (`models.kept.correction`).
        found: What was found.
    """

    answer: Answer
    depth_ratio: Float32[np.ndarray, "frame map_height map_width"]
    evidence: UInt8[np.ndarray, "frame map_height map_width"]
    found: Findings


@dataclass(frozen=True, kw_only=True, eq=False)
class OnGrid:
    """What was solved for.

    Attributes:
        views: Cameras, and depths of the grid's pixels.
        change: By how much the logarithms of depths change.
        evidence: What matches tell of each pixel.
    """

    views: Views
    change: Float64[np.ndarray, "frame rows columns"]
    evidence: UInt8[np.ndarray, "frame rows columns"]


def unchanged(answer: Answer, found: Findings) -> Refined:
    """The network's answer."""
    shape = answer.confidence.shape
    return Refined(
        answer=answer,
        depth_ratio=np.ones(shape, dtype=np.float32),
        evidence=np.full(shape, UNKNOWN, dtype=np.uint8),
        found=found,
    )


def brought_back(setting: Setting, answer: Answer, solved: OnGrid, found: Findings) -> Refined:
    """A solution on the maps of the answer."""
    change, evidence = solved.change, solved.evidence
    if evidence.shape != answer.confidence.shape:
        change, evidence = _resized(change, answer.map_hw), _resized(evidence, answer.map_hw)
    ratio = np.exp(change)
    poses = np.linalg.inv(solved.views.camera_from_world)
    poses[0] = np.eye(4)
    intrinsics = setting.intrinsics_of(answer.map_hw, solved.views.log_lens)
    depth = answer.depth
    # What is behind its camera was never seen by it, and is best left alone.
    ahead = depth > 0
    ratio = np.where(ahead, ratio, 1.0)
    points = _points(np.where(ahead, depth, 1.0) * ratio, intrinsics, poses)
    points = np.where(ahead[..., None], points, answer.points)
    return Refined(
        answer=replace(answer, world_from_camera=poses, intrinsics=intrinsics, points=points),
        depth_ratio=ratio.astype(np.float32),
        evidence=evidence,
        found=found,
    )


def _resized(
    maps: Float[np.ndarray, "frame rows columns"] | UInt8[np.ndarray, "frame rows columns"],
    hw: tuple[int, int],
) -> np.ndarray:
    """Maps of another size: numbers bilinearly, labels from the nearest."""
    import cv2  # noqa: PLC0415 - slow to import.

    way = cv2.INTER_NEAREST if maps.dtype == np.uint8 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(each, hw[::-1], interpolation=way) for each in maps])


def _points(
    depth: Float64[np.ndarray, "frame height width"],
    intrinsics: Float64[np.ndarray, "frame 3 3"],
    poses: Float64[np.ndarray, "frame 4 4"],
) -> Float32[np.ndarray, "frame height width xyz=3"]:
    """The world's points at the pixels of maps."""
    points = np.empty((*depth.shape, 3), dtype=np.float32)
    for place, *given in zip(points, depth, intrinsics, poses, strict=True):
        place[:] = points_on_rays(*given)
    return points
