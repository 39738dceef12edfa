"""One tiny clip of the data engine with all its truth, as arrays."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineClip:
    """World = the camera of frame 0; pixel centres at half-integers; NaN at sky.

    `points[t, i]` is where the surface of frame i is at time t; `instance` is a body's index, -1
    at sky; `moving` marks bodies that move or deform; `visible[t, i]` as in `ClipTruth`.
    """

    images: np.ndarray  # frame height width rgb, uint8
    depth: np.ndarray  # frame height width, float64, along z
    points: np.ndarray  # time frame height width xyz, float64
    visible: np.ndarray  # time frame height width, bool
    instance: np.ndarray  # frame height width, int
    moving: np.ndarray  # frame height width, bool
    world_from_camera: np.ndarray  # frame 4 4, float64
    intrinsics: np.ndarray  # frame 3 3, float64

    @property
    def frame_count(self):
        return len(self.images)

    @property
    def image_hw(self):
        return self.images.shape[1:3]


@cache
def engine_clip(seed=38, frames=6, image_hw=(24, 32), focal_per_width=None):
    """A clip in which bodies and the camera move and a little is sky, the same at every call.

    The lens is the scene's own unless a focal length is given, in widths of the picture.
    """
    height, width = image_hw
    scene = random_scene(seed, SceneConfig(frames=frames, still_camera=0.0), aspect=width / height)
    if focal_per_width is not None:
        scene = replace(scene, focal_per_height=focal_per_width * width / height)
    clip = render_clips([scene], image_hw=image_hw, seed=seed)
    every = torch.arange(frames)[None]
    truth = clip.truth(every, every)
    return EngineClip(
        images=clip.images[0].numpy(),
        depth=clip.depth(every)[0].double().numpy(),
        points=truth.points[0].double().numpy(),
        visible=truth.visible[0].numpy(),
        instance=clip.instance(every)[0].numpy(),
        moving=truth.moving[0].numpy(),
        world_from_camera=clip.world_from_camera[0].double().numpy(),
        intrinsics=clip.intrinsics[0].double().numpy(),
    )
