"""Scenes for tests of the refinement: exact matches in closed form, and rendered clips."""

from functools import lru_cache

import numpy as np
import torch

from dynapoint.refinement.adjustment import Problem
from dynapoint.refinement.setting import Answer
from dynapoint.refinement.views import Lens, Views, rigid_places, rotation_from_vector
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene


def angle_deg(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles between rotations of 4 x 4 or 3 x 3 matrices."""
    relative = first[..., :3, :3].swapaxes(-1, -2) @ second[..., :3, :3]
    cosine = (np.trace(relative, axis1=-2, axis2=-1) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def exact_problem(
    frames: int = 4, pixels: int = 40, *, seed: int = 0, log_lens: float = 0.1, dtype=np.float64
) -> tuple[Views, Problem]:
    """Views, and where they put pixels of all frames in up to four others."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[1:, :3, :3] = rotation_from_vector(0.08 * rng.normal(size=(frames - 1, 3)))
    poses[1:, :3, 3] = 0.3 * rng.normal(size=(frames - 1, 3))
    lens = Lens(
        focal_px=250 + 5 * rng.normal(size=(frames, 2)),
        centre_px=np.array([128.0, 96.0]) + rng.normal(size=(frames, 2)),
    )
    normal = lens.normal(rng.uniform([5, 5], [250, 185], size=(pixels, 2)))
    log_depth = np.log(rng.uniform(2, 5, size=(frames, pixels)))
    reach = (-2, -1, 1, 2)
    target = np.array(
        [[i + step if 0 <= i + step < frames else i for step in reach] for i in range(frames)]
    )
    views = Views(camera_from_world=poses, log_lens=log_lens, log_depth=log_depth)
    places, _ = rigid_places(views, normal, lens, target)
    weight = rng.uniform(0.5, 1.0, size=places.shape[:3])
    weight[target == np.arange(frames)[:, None]] = 0.0
    return views, Problem(
        lens=lens,
        normal=normal,
        target=target,
        place_px=places.astype(dtype),
        weight=weight.astype(dtype),
        prior_log_depth=log_depth,
        depth_sigma=0.5,
        lens_sigma=1.0,
    )


def placed(depth, poses, intrinsics, confidence):
    """An answer with these depths on the rays of its pixels."""
    height, width = depth.shape[1:]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    points = np.empty((*depth.shape, 3))
    for frame, (pose, lens) in enumerate(zip(poses, intrinsics, strict=True)):
        ray = np.stack(
            [(x - lens[0, 2]) / lens[0, 0], (y - lens[1, 2]) / lens[1, 1], 0 * x + 1], -1
        )
        points[frame] = (ray * depth[frame][..., None]) @ pose[:3, :3].T + pose[:3, 3]
    return Answer(
        world_from_camera=poses,
        intrinsics=intrinsics,
        points=points.astype(np.float32),
        confidence=confidence,
    )


@lru_cache
def rendered(
    seed: int = 1_000_600_040,
    *,
    frames: int = 4,
    image_hw: tuple[int, int] = (96, 128),
    difficulty: float = 1.0,
) -> tuple[np.ndarray, Answer, np.ndarray]:
    """Pictures, the exact answer of a rendered clip, and which pixels move."""
    scene = random_scene(
        seed,
        SceneConfig(frames=frames, difficulty=difficulty, still_camera=0.0),
        aspect=image_hw[1] / image_hw[0],
    )
    clip = render_clips([scene], image_hw=image_hw, seed=seed)
    every = torch.arange(frames)[None]
    own = torch.stack(
        [clip.points(every[:, [i]], every[:, [i]])[0, 0, 0] for i in range(frames)]
    ).numpy()
    known = np.isfinite(own).all(-1)
    answer = Answer(
        world_from_camera=clip.world_from_camera[0].double().numpy(),
        intrinsics=clip.intrinsics[0].double().numpy(),
        points=np.where(known[..., None], own, 0.0).astype(np.float32),
        confidence=known.astype(np.float32),
    )
    return clip.images[0].numpy(), answer, clip.moving(every)[0].numpy()
