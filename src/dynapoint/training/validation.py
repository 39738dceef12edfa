"""Quick validation in memory: pairs of frames, scored by the metrics that users see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dynapoint.evaluation.metrics import PairScores, score_pairs
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.protocol import PairMaps
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.training.data_stream import HELD_OUT_SEEDS, image_size
from dynapoint.training.samples import SamplingConfig, draw_sample
from dynapoint.training.trainees import TrainedNetwork

PIXELS = 6144


@dataclass(frozen=True, kw_only=True)
class ValidationPairs:
    """Pairs of frames of one size; truth on a grid of its own, NaN where there is no surface."""

    images: Float[Tensor, "pair frame=2 rgb=3 height width"]
    truth: Float[Tensor, "pair time=2 frame=2 grid_rows grid_columns xyz=3"]


def engine_pairs(
    *,
    difficulty: float,
    count: int,
    first_seed: int = 0,
    image_hw: tuple[int, int] = image_size(4 / 3, PIXELS),
    device: str = "cpu",
) -> ValidationPairs:
    """Pairs eight frames apart from held-out scenes of the data engine.

    They are rendered on `device`, where the images stay; the truth is on the CPU, which scores.
    """
    height, width = image_hw
    config = SceneConfig(frames=9, difficulty=difficulty)
    scenes = [
        random_scene(HELD_OUT_SEEDS + first_seed + k, config, aspect=width / height)
        for k in range(count)
    ]
    clips = render_clips(scenes, image_hw=(height, width), seed=0, device=device)
    sampling = SamplingConfig(
        frames=2, smallest_span=8, largest_span=8, mirror=False, photometric=0.0
    )
    sample = draw_sample(clips, sampling, torch.Generator().manual_seed(0))
    truth = torch.where(sample.valid[:, None, ..., None], sample.points, torch.nan)
    return ValidationPairs(images=sample.images, truth=truth.cpu())


def bench_pairs(
    folder: Path,
    *,
    starts: Sequence[int] = (0, 1),
    margin: int = 8,
    pixels: int = PIXELS,
    multiple: int = 8,
) -> list[ValidationPairs]:
    """Pairs of the clips of a folder in the bench format, one group per image size."""
    # Reading images needs Pillow, which a machine that only trains may lack.
    from dynapoint.evaluation.clips import find_clips, read_clip  # noqa: PLC0415

    groups: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
    for path in find_clips(folder):
        clip = read_clip(path)
        for start in starts:
            if start + margin >= len(clip.images):
                continue
            frames = [start, start + margin]
            images = torch.from_numpy(np.ascontiguousarray(clip.images[frames]))
            images = images.permute(0, 3, 1, 2).float() / 255
            size = image_size(images.shape[-1] / images.shape[-2], pixels, multiple)
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
            truth = torch.from_numpy(clip.points[np.ix_(frames, frames)]).float()
            world = torch.from_numpy(clip.world_from_camera[start]).float()
            reference = invert_rigid(world)
            truth = truth @ reference[:3, :3].T + reference[:3, 3]
            groups.setdefault(tuple(images.shape), []).append((images.clamp(0, 1), truth))
    return [
        ValidationPairs(
            images=torch.stack([images for images, _ in group]),
            truth=torch.stack([truth for _, truth in group]),
        )
        for group in groups.values()
    ]


def four_maps(
    network: TrainedNetwork, images: Float[Tensor, "pair frame=2 rgb=3 height width"]
) -> PairMaps:
    """Both frames of each pair at both times, in the camera of its first frame."""
    if isinstance(network, DpmNetwork):
        return network(images)
    encoded: Any = network.encode(images)
    maps = [network.decode(encoded, time=time, frames=[0, 1]) for time in (0, 1)]
    return PairMaps(
        points=torch.stack([each.points for each in maps], dim=1),
        confidence=torch.stack([each.confidence for each in maps], dim=1),
    )


@torch.inference_mode()
def predict_pairs(
    network: TrainedNetwork, pairs: ValidationPairs, *, chunk: int = 16
) -> tuple[Tensor, Tensor]:
    """All four maps of each pair on the truth's grid, and their confidence."""
    device = next(network.parameters()).device
    points, confidences = [], []
    rows, columns = pairs.truth.shape[3:5]
    for start in range(0, len(pairs.images), chunk):
        maps = four_maps(network, pairs.images[start : start + chunk].to(device))
        joined = torch.cat([maps.points, maps.confidence[..., None]], dim=-1)
        lead = joined.shape[:3]
        joined = joined.flatten(0, 2).permute(0, 3, 1, 2)
        joined = functional.interpolate(joined, size=(rows, columns), mode="nearest-exact")
        joined = joined.permute(0, 2, 3, 1).unflatten(0, lead).cpu()
        points.append(joined[..., :3])
        confidences.append(joined[..., 3])
    return torch.cat(points), torch.cat(confidences)


def validate(network: TrainedNetwork, groups: Sequence[ValidationPairs]) -> PairScores:
    """Score a network on groups of pairs, pooled."""
    was_training = network.training
    network.eval()
    total = PairScores()
    for pairs in groups:
        points, confidence = predict_pairs(network, pairs)
        total += score_pairs(pairs.truth, points, confidence)
    network.train(was_training)
    return total
