"""V-DPM's loss of a training sample (arXiv 2601.09499 §3.4): P, Q and cameras."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.training.losses import (
    PublishedLoss,
    PublishedLossParts,
    camera_term,
    confidence_weighted_regression,
    mean_distance,
)
from dynapoint.training.objective import camera_truth, own_time_truth
from dynapoint.types import PointMaps, TruthSample


def choose_targets(
    examples: int, frames: int, loss: PublishedLoss, generator: torch.Generator
) -> Int[Tensor, "example frame"]:
    """A target time for every frame of every example, its own time among the possible ones."""
    if loss.target_times == "per_frame":
        return torch.randint(frames, (examples, frames), generator=generator)
    return torch.randint(frames, (examples, 1), generator=generator).expand(-1, frames)


def published_loss(
    network: PublishedNetwork,
    sample: TruthSample,
    loss: PublishedLoss,
    targets: Int[Tensor, "batch frame"],
) -> PublishedLossParts:
    """Encode once, decode every frame at its target time, compare all with the truth.

    Frame 0 of the sample is the reference: the truth and what the network answers are in its
    camera. One unit of length per example, the mean distance of the true own-time points, scales
    the truth of P, Q and cameras; it cannot depend on the target times, which the network does not
    know when it answers P.
    """
    encoded = network.encode(sample.images)
    batch, frames = sample.images.shape[:2]
    decoded = network.decode_views(encoded, targets, frames=range(frames))
    rows = torch.arange(batch, device=sample.points.device)[:, None]
    sources = torch.arange(frames, device=sample.points.device)
    times = targets.to(sample.points.device)
    own_mask = sample.valid & sample.supervised[:, sources, sources][..., None, None]
    decoded_mask = sample.valid & sample.supervised[rows, times, sources][..., None, None]
    own_truth = own_time_truth(sample)
    unit = mean_distance(own_truth, own_mask, clip_at_medians=None)

    def regression(maps: PointMaps, truth: Tensor, mask: Tensor) -> Float[Tensor, ""]:
        return confidence_weighted_regression(
            maps.points,
            maps.confidence,
            truth,
            mask,
            alpha=loss.alpha,
            normalise_prediction=False,
            per_example=True,
            unit=unit,
        )

    own_time = regression(encoded.own_time, own_truth, own_mask)
    moved = regression(decoded, sample.points[rows, times, sources], decoded_mask)
    camera = camera_term(encoded.encodings, camera_truth(sample, unit))
    return PublishedLossParts(
        total=own_time + moved + loss.camera * camera,
        own_time=own_time.detach(),
        decoded=moved.detach(),
        camera=camera.detach(),
    )
