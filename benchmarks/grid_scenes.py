"""Scenes on the grid of a clip with truth: what is asked of them is what users ask, and comparable.

A scene of the truth and scenes of networks have the same maps (the grid pixels of the clip), so
that one code measures all, through the methods of `Reconstruction` that users call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import dynapoint
from dynapoint.data.frames import load_frames
from dynapoint.evaluation.clips import TruthClip
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction


@dataclass(frozen=True, kw_only=True)
class CubeDecoder:
    """Answers from points of every frame at every time, `points[time, frame]`."""

    points: np.ndarray
    confidence: np.ndarray

    def decode(
        self, frames: Sequence[int], time: int, *, keep: bool = True
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The maps of some frames at a time."""
        return [(self.points[time, frame], self.confidence[time, frame]) for frame in frames]


def cube_scene(
    images: np.ndarray,
    points: np.ndarray,
    confidence: np.ndarray,
    *,
    world_from_camera: np.ndarray,
    intrinsics: np.ndarray,
    pixel_map: PixelMap,
    name: str,
) -> Reconstruction:
    """A scene whose maps are `points[time, frame]` (world); NaN becomes confidence 0."""
    known = np.isfinite(points).all(axis=-1)
    points = np.where(known[..., None], points, 0).astype(np.float32)
    confidence = np.where(known, confidence, 0).astype(np.float32)
    own = range(len(images))
    return Reconstruction(
        frames=load_frames(images),
        world_from_camera=world_from_camera.astype(np.float64),
        intrinsics=intrinsics.astype(np.float64),
        own_time_points=points[own, own],
        own_time_confidence=confidence[own, own],
        pixel_map=pixel_map,
        decoder=CubeDecoder(points=points, confidence=confidence),
        model_name=name,
    )


def grid_map(clip: TruthClip) -> PixelMap:
    """The grid of a clip as a map: the first grid pixel's centre is the first map pixel's."""
    shape = (clip.frame_count, 2)
    offset = 0.5 - (clip.stride // 2 + 0.5) / clip.stride
    return PixelMap(
        scale=np.full(shape, 1 / clip.stride),
        offset=np.full(shape, offset),
        picture_hw=np.full(shape, clip.image_hw, dtype=np.int64),
        map_hw=(int(clip.points.shape[2]), int(clip.points.shape[3])),
    )


def true_scene(clip: TruthClip) -> Reconstruction:
    """The truth as a scene."""
    return cube_scene(
        clip.images,
        clip.points,
        np.ones(clip.points.shape[:-1]),
        world_from_camera=clip.world_from_camera,
        intrinsics=np.tile(clip.intrinsics, (clip.frame_count, 1, 1)),
        pixel_map=grid_map(clip),
        name="truth",
    )


def network_scene(clip: TruthClip, model: Any) -> Reconstruction:
    """What a network says of the grid pixels, in one scale with the truth.

    One number scales each clip: the median over own-time pixels of the ratio of the distances of
    the true and the predicted point from the camera of frame 0.
    """
    rec = dynapoint.reconstruct(clip.images, model)
    shape = clip.points.shape
    points, confidence = np.empty(shape, np.float32), np.empty(shape[:-1], np.float32)
    for time in range(clip.frame_count):
        # Decodes all frames of a time at once, where that is quicker.
        rec.maps_at(time=time)
        for frame in range(clip.frame_count):
            answer = rec.query(frame=frame, xy=clip.grid_xy, time=time)
            points[time, frame] = answer.points.reshape(shape[2:])
            confidence[time, frame] = answer.confidence.reshape(shape[2:4])
    own = range(clip.frame_count)
    true_far, far = (np.linalg.norm(cube[own, own], axis=-1) for cube in (clip.points, points))
    scale = float(np.nanmedian(true_far / np.maximum(far, 1e-12)))
    poses = rec.world_from_camera.copy()
    poses[:, :3, 3] *= scale
    return cube_scene(
        clip.images,
        points * scale,
        confidence,
        world_from_camera=poses,
        intrinsics=rec.intrinsics,
        pixel_map=grid_map(clip),
        name=rec.model_name,
    )
