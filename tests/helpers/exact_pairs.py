"""A pair network that knows: exact maps of rendered clips, each pair's in units of its own."""

from collections.abc import Sequence

import numpy as np
import torch

from dynapoint.models.protocol import PairMaps
from dynapoint.synthetic.clip import ClipBatch
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

SURE, SURE_ELSEWHEN, UNSURE = 8.0, 4.0, 1.0


def exact_clip(
    seed: int,
    *,
    frames: int,
    image_hw: tuple[int, int] = (32, 40),
    poses: np.ndarray | None = None,
) -> ClipBatch:
    """One clip of one scene; `poses` (frame, 4, 4) puts its cameras elsewhere in camera 0."""
    height, width = image_hw
    scene = random_scene(seed, SceneConfig(frames=frames, difficulty=1.0), aspect=width / height)
    if poses is not None:
        scene.world_from_camera[:] = poses
    return render_clips([scene], image_hw=image_hw, seed=seed)


class ExactPairs:
    """The truth of a clip as the maps of pairs.

    Every pair's maps are scaled by a random factor of its own, within `scales` times either way.
    `noise` is the relative standard deviation of depth along each map's own rays, drawn for every
    map of every pair. Where nothing is seen maps are far off and without confidence.
    """

    patch_size = 8
    name = "exact-pairs"

    def __init__(
        self,
        clip: ClipBatch,
        *,
        scales: float = 3.0,
        noise: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.image_side = max(clip.images.shape[2:4])
        self.frames = clip.images.shape[1]
        self.noise, self.scales, self.dtype, self.seed = noise, scales, dtype, seed
        order = torch.arange(self.frames)[None]
        truth = clip.truth(order, order)
        self.valid = truth.valid[0]
        self.moving = truth.moving[0]
        self.poses = clip.world_from_camera[0].double()
        self.intrinsics = clip.intrinsics[0].double()
        self.points = truth.points[0].double().nan_to_num(0.0)
        self.decoded: list[tuple[int, int]] = []
        self.encoded_frames = 0

    def encode_frames(self, images: torch.Tensor) -> torch.Tensor:
        self.encoded_frames += len(images)
        return images

    def decode_frame_pairs(
        self, encoded: torch.Tensor, *, firsts: Sequence[int], seconds: Sequence[int]
    ) -> PairMaps:
        self.decoded += zip(firsts, seconds, strict=True)
        maps = [self.pair(a, b) for a, b in zip(firsts, seconds, strict=True)]
        points, confidence = zip(*maps, strict=True)
        return PairMaps(points=torch.stack(points), confidence=torch.stack(confidence))

    def pair(self, a: int, b: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Points and confidence of one pair, the same whenever it is asked for."""
        generator = torch.Generator().manual_seed(1000 * self.seed + 37 * a + b)
        both, scale = [a, b], self.scales ** (2 * torch.rand((), generator=generator) - 1)
        world = self.points[both][:, both]
        rotation, position = self.poses[a, :3, :3], self.poses[a, :3, 3]
        # What is seen in b at any time lies, but for its motion, along the rays of b.
        eyes = self.poses[both, :3, 3][None, :, None, None]
        noise = torch.randn(world.shape[:-1], generator=generator, dtype=torch.float64)
        world = eyes + (world - eyes) * (1 + self.noise * noise[..., None])
        camera = (world - position) @ rotation
        valid = self.valid[both].expand(2, -1, -1, -1)
        far = torch.randn(camera.shape, generator=generator, dtype=torch.float64) + 20
        points = torch.where(valid[..., None], camera, far) * scale
        sureness = torch.tensor([[SURE, SURE_ELSEWHEN], [SURE_ELSEWHEN, SURE]])[..., None, None]
        confidence = torch.where(valid, sureness, UNSURE)
        return points.to(self.dtype), confidence.to(self.dtype)

    @property
    def depth(self) -> torch.Tensor:
        """True depths of all frames at their own times; 0 at sky."""
        index = range(self.frames)
        own = torch.stack([self.points[i, i] for i in index]) - self.poses[:, None, None, :3, 3]
        return (own * self.poses[:, None, None, :3, 2]).sum(-1) * self.valid


def turn_between_deg(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Angles between rotations (…, 3, 3), exact for small ones too."""
    difference = (found.double() - true.double()).flatten(-2).norm(dim=-1) / 8**0.5
    return torch.rad2deg(2 * torch.asin(difference.clamp_max(1.0)))
