"""From rendered clips to training samples: frames, order, reference, crop, mirror, photometry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynapoint.errors import ConfigError
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.models.layers.frame_index import constant, on_device
from dynapoint.synthetic.clip import ClipBatch
from dynapoint.types import TruthSample

Reference = Literal["random", "central"]
"""The frame whose camera is the world: any, in a random order of frames, or the middle one, with
the others after it in the order of time."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How samples are drawn from clips."""

    frames: int = 2
    reference: Reference = "random"
    # Chosen frames span at least and at most so many frames of the clip.
    smallest_span: int = 1
    largest_span: int = 8
    mirror: bool = True
    photometric: float = 1.0
    # Least share of either side of the images that is kept, about the centre; 1 keeps all.
    centre_crop: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.centre_crop <= 1:
            raise ConfigError(
                f"centre_crop is the least share of an image's sides that is kept, above 0 and at "
                f"most 1, got {self.centre_crop:g}"
            )


def choose_frames(
    clips: int, available: int, config: SamplingConfig, generator: torch.Generator
) -> Int[Tensor, "clip frame"]:
    """Distinct frames of each clip; the first one becomes the reference.

    The span is drawn evenly, then the start among those that fit, then the frames in between.

    Raises:
        ConfigError: the clips are too short for so many frames.
    """
    least = max(config.frames - 1, config.smallest_span)
    most = min(config.largest_span, available - 1)
    if least > most:
        raise ConfigError(
            f"{config.frames} frames that span {least} to {most} frames do not fit into clips of "
            f"{available}; render longer clips"
        )
    # All clips at once: a loop of small calls for each takes longer than a step's launches.
    ends = torch.rand(clips, 2, generator=generator)
    span = least + (ends[:, :1] * (most - least + 1)).long().clamp_max(most - least)
    start = (ends[:, 1:] * (available - span)).long().minimum(available - span - 1)
    # The frames between the ends that have the smallest of random keys.
    place = torch.arange(available)
    keys = torch.rand(clips, available, generator=generator)
    keys = torch.where((place > 0) & (place < span), keys, 2.0)
    inner = keys.argsort(dim=1)[:, : config.frames - 2]
    offsets = torch.cat([torch.zeros_like(span), span, inner], dim=1)[:, : config.frames]
    if config.reference == "central":
        middle = config.frames // 2
        order = torch.tensor([middle, *range(middle), *range(middle + 1, config.frames)])
        return start + offsets.sort(dim=1).values[:, order]
    order = torch.rand(clips, config.frames, generator=generator).argsort(dim=1)
    return start + offsets.gather(1, order)


def draw_sample(
    clips: ClipBatch, config: SamplingConfig, generator: torch.Generator
) -> TruthSample:
    """One sample of `config.frames` frames from every clip, in the camera of its first frame.

    With `centre_crop` every clip keeps a share of its own of all its images, drawn evenly from that
    to 1 (DePT3R's augmentation, which varies the intrinsics; its distribution is UNCONFIRMED).
    """
    device = clips.images.device
    count, available = clips.images.shape[:2]
    frames = on_device(choose_frames(count, available, config, generator), device)
    if config.centre_crop < 1:
        drawn = on_device(torch.rand(count, generator=generator), device)
        clips = clips.centre_cropped(frames, config.centre_crop + (1 - config.centre_crop) * drawn)
        frames = torch.arange(config.frames, device=device).expand(count, -1)
    rows = torch.arange(count, device=device)[:, None]
    images = clips.images[rows, frames].permute(0, 1, 4, 2, 3).float() / 255
    world_from_camera = clips.world_from_camera[rows, frames].float()
    reference_from_world = invert_rigid(world_from_camera[:, 0])
    truth = clips.truth(frames, frames)
    flat = transform_points(reference_from_world, truth.points.flatten(1, 4))
    points = flat.view(truth.points.shape)
    every = torch.ones(count, config.frames, config.frames, dtype=torch.bool, device=device)
    sample = TruthSample(
        images=images,
        points=torch.where(truth.valid[:, None, ..., None], points, 0.0),
        valid=truth.valid,
        visible=truth.visible,
        moving=truth.moving,
        supervised=every,
        world_from_camera=reference_from_world[:, None] @ world_from_camera,
        intrinsics=clips.intrinsics[rows, frames].float(),
    )
    return augmented(sample, config, generator)


def augmented(
    sample: TruthSample, config: SamplingConfig, generator: torch.Generator
) -> TruthSample:
    """The sample with changes of brightness and colour, and half of its clips in a mirror."""
    images = _photometric(sample.images, config.photometric, generator)
    changed = replace(sample, images=images)
    if not config.mirror:
        return changed
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return mirror_some(changed, on_device(chosen, images.device))


def stacked(samples: Sequence[TruthSample]) -> TruthSample:
    """One batch of several."""
    return TruthSample(
        **{
            part.name: torch.cat([getattr(each, part.name) for each in samples])
            for part in fields(TruthSample)
        }
    )


def every(sample: TruthSample, change: Callable[[Tensor], Tensor]) -> TruthSample:
    """The sample with all of its tensors changed in the same way."""
    return TruthSample(
        **{part.name: change(getattr(sample, part.name)) for part in fields(TruthSample)}
    )


def mirror_some(sample: TruthSample, chosen: Bool[Tensor, " batch"]) -> TruthSample:
    """The sample with some of its clips seen in a mirror."""
    mirrored = mirror(sample)
    mixed = {}
    for part in fields(TruthSample):
        plain, other = getattr(sample, part.name), getattr(mirrored, part.name)
        mixed[part.name] = torch.where(chosen.view(-1, *[1] * (plain.dim() - 1)), other, plain)
    return TruthSample(**mixed)


def mirror(sample: TruthSample) -> TruthSample:
    """The sample seen in a mirror: columns reversed, x negated everywhere."""
    flip = constant((-1.0, 1.0, 1.0), sample.points.device, torch.float32)
    both = torch.diag(constant((-1.0, 1.0, 1.0, 1.0), sample.points.device, torch.float32))
    intrinsics = sample.intrinsics.clone()
    intrinsics[..., 0, 2] = sample.images.shape[-1] - intrinsics[..., 0, 2]
    return TruthSample(
        images=sample.images.flip(-1),
        points=sample.points.flip(-2) * flip,
        valid=sample.valid.flip(-1),
        visible=sample.visible.flip(-1),
        moving=sample.moving.flip(-1),
        supervised=sample.supervised,
        world_from_camera=both @ sample.world_from_camera @ both,
        intrinsics=intrinsics,
    )


def _photometric(
    images: Float[Tensor, "clip frame 3 height width"], strength: float, generator: torch.Generator
) -> Float[Tensor, "clip frame 3 height width"]:
    """Exposure, contrast, colour and gamma per clip, with a little drift per frame."""
    if strength == 0:
        return images
    clips, frames = images.shape[:2]

    def normal(*shape: int) -> Tensor:
        return on_device(torch.randn(*shape, generator=generator), images.device) * strength

    gain = torch.exp(0.15 * normal(clips, 1, 1, 1, 1) + 0.08 * normal(clips, 1, 3, 1, 1))
    drift = torch.exp(0.03 * normal(clips, frames, 1, 1, 1) + 0.01 * normal(clips, frames, 3, 1, 1))
    gamma = torch.exp(0.15 * normal(clips, 1, 1, 1, 1))
    grey = images.mean(dim=2, keepdim=True)
    saturation = torch.exp(0.2 * normal(clips, 1, 1, 1, 1))
    coloured = (grey + (images - grey) * saturation).clamp(1e-3, 1)
    return (coloured**gamma * gain * drift).clamp(0, 1)
